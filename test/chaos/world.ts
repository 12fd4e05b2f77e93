import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrations, seats } from '#config/plugins.ts'
import { createAuth } from '#core/auth/auth.ts'
import { systemClock } from '#core/clock.ts'
import { createLog } from '#core/log.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { type TestDb, testDb } from '#test/support/db.ts'
import { type ServerProcess, spawnServer } from '#test/support/server-process.ts'

export interface Tenant {
  readonly tenantId: string
  readonly plan: string
  readonly key: string
}

/** One database and one folder, in which any number of hosts of one installation live and die. */
export interface World extends TestDb {
  readonly dir: string
  makeTenant(plan: string): Promise<Tenant>
  /** The folder that is host `name`'s AGENTOS_HOME. */
  home(name: string): string
  callsFile(name: string): string
  /** What the database is doing, for a host that hangs. */
  activity(): Promise<string>
  /** Starts host `name`; the same name again is the same host, restarted. */
  spawn(name: string, options?: { crashAt?: string | undefined }): ServerProcess
}

const entry = new URL('./host.ts', import.meta.url)

/** The rooms of a host: with `skills` those of config, else pulse alone, with functions as its tools. */
export type Rooms = 'skills' | 'functions'

/** @param t what is left is removed by its teardown */
export async function makeWorld(t: { teardown(run: () => unknown): unknown }, kind: Rooms): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), 'agentos-chaos-'))
  t.teardown(() => rm(dir, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }))
  const all = seats({ home: dir, sandboxRequire: 'best' })
  const rooms = kind === 'skills' ? all : all.filter(({ room }) => room.name !== 'skills-registry')
  const base = await testDb(t, { rooms: migrations(rooms) })
  const log = createLog({ level: 'silent' })
  const auth = createAuth({
    db: base.db,
    clock: systemClock,
    pepper: base.secrets.apiKeyPepper,
    userTokenKey: base.secrets.userTokenKey,
    log
  })
  const running = new Set<ServerProcess>()
  t.teardown(() => Promise.all([...running].map((host) => host.kill())))
  const home = (name: string) => join(dir, name)
  const callsFile = (name: string) => join(dir, `calls-${name}.jsonl`)
  await mkdir(join(dir, 'objects'))
  return {
    ...base,
    dir,
    home,
    callsFile,
    async activity() {
      const rows = await base.sql`
        select pid, application_name, state, wait_event_type, wait_event, left(query, 200) as query,
          pg_blocking_pids(pid)::text as blockers
        from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
      return rows.map((row) => JSON.stringify(row)).join(' | ')
    },
    async makeTenant(plan) {
      const slug = `t-${randomBytes(6).toString('hex')}`
      const { id: tenantId } = await base.db.system((tx) => createTenant(tx, { name: slug, slug, plan }))
      const made = await base.db.tenant(tenantId, (tx) => auth.createKey(tx, { name: 'chaos', scopes: ['*'] }))
      return { tenantId, plan, key: made.key.reveal() }
    },
    spawn(name, { crashAt } = {}) {
      const args = kind === 'skills' ? [kind] : [kind, callsFile(name)]
      const host = spawnServer(entry, args, {
        DATABASE_URL: base.url,
        AGENTOS_SECRET: base.secret.reveal(),
        RATE_LIMITS: new URL('./no-limits.json', import.meta.url).pathname,
        AGENTOS_HOME: home(name),
        OBJECTS_DIR: join(dir, 'objects'),
        ...(crashAt === undefined ? {} : { AGENTOS_CRASH_AT: crashAt })
      })
      running.add(host)
      void host.exited.then(() => running.delete(host))
      return host
    }
  }
}
