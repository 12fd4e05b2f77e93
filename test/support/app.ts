import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { buildApp, type Kernel } from '#core/app.ts'
import { AuditLog } from '#core/audit/service.ts'
import { type Auth, type AuthOptions, createAuth } from '#core/auth/auth.ts'
import { type Clock, systemClock } from '#core/clock.ts'
import type { EdgeOptions } from '#core/http/edge/index.ts'
import { createLog, type Log } from '#core/log.ts'
import { coreMigrations } from '#core/migrations.ts'
import { type App, migrationsOf, type Seat } from '#core/plugin.ts'
import { createTenant, type NewTenant } from '#core/tenants/tenants.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { type TestDb, type TestDbOptions, testDb } from './db.ts'

export interface TestTenant {
  tenantId: string
  slug: string
  /** An API key with the wanted scopes (default `*`). */
  key: string
  headers: { authorization: string }
}

export interface TestApp extends TestDb {
  app: App
  auth: Auth
  clock: Clock
  log: Log
  /** Every line that was logged, as text. */
  lines: string[]
  makeTenant(options?: Partial<NewTenant> & { scopes?: string[] }): Promise<TestTenant>
  makeKey(tenantId: string, scopes: string[]): Promise<TestTenant['headers'] & { key: string }>
}

/** Parts of a kernel that stand on the ones that testApp makes: bus, actors, jobs... */
type MoreParts = (base: Kernel & TestDb) => Promise<Partial<Kernel>> | Partial<Kernel>

export interface TestAppOptions {
  rooms?: Seat[]
  clock?: Clock
  parts?: MoreParts
  kernelPorts?: string[]
  open?: TestDbOptions['open']
  edge?: EdgeOptions
  auth?: Pick<AuthOptions, 'issuer' | 'limits'>
}

/**
 * The real app on a database of its own: all core migrations, those of `rooms`, no listener (use `app.inject`, or
 * `await app.listen({ port: 0 })` where sockets matter). Closed at the end of `t`.
 */
export async function testApp(t: Pick<Test, 'teardown'>, options: TestAppOptions = {}): Promise<TestApp> {
  const { rooms = [], clock = systemClock } = options
  const base = await testDb(t, { rooms: [...coreMigrations, ...migrationsOf(rooms)], open: options.open ?? {} })
  const lines: string[] = []
  const log = createLog({ level: 'debug', destination: { write: (line: string) => void lines.push(line) } })
  const auth = createAuth({
    db: base.db,
    clock,
    pepper: base.secrets.apiKeyPepper,
    userTokenKey: base.secrets.userTokenKey,
    log,
    ...options.auth
  })
  const vault = new Vault({ db: base.db, clock, log, keys: vaultKeys(base.secrets.kek) })
  const audit = new AuditLog({ db: base.db, clock, log, keySeed: base.secrets.auditKeySeed })
  const kernel: Kernel = { log, clock, db: base.db, auth, audit, vault }
  Object.assign(kernel, await options.parts?.({ ...base, ...kernel }))
  const app = await buildApp({
    kernel,
    rooms,
    kernelPorts: options.kernelPorts ?? [],
    version: '0.0.0-test',
    edge: options.edge ?? {}
  })
  t.teardown(() => app.close())

  const makeKey = async (tenantId: string, scopes: string[]) => {
    const made = await base.db.tenant(tenantId, (tx) => auth.createKey(tx, { name: 'test', scopes }))
    const key = made.key.reveal()
    return { key, authorization: `Bearer ${key}` }
  }
  const makeTenant: TestApp['makeTenant'] = async ({ scopes = ['*'], ...wanted } = {}) => {
    const slug = wanted.slug ?? `t-${randomBytes(6).toString('hex')}`
    const tenant = await base.db.system((tx) => createTenant(tx, { name: slug, plan: 'pro', ...wanted, slug }))
    const { key, authorization } = await makeKey(tenant.id, scopes)
    return { tenantId: tenant.id, slug, key, headers: { authorization } }
  }
  return { ...base, app, auth, clock, log, lines, makeTenant, makeKey }
}
