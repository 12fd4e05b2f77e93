import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createAuth } from '#core/auth/auth.ts'
import { systemClock } from '#core/clock.ts'
import { deriveSecrets, loginUrl, openDb } from '#core/db/index.ts'
import { readPostmaster } from '#core/db/postmaster.ts'
import { createLog } from '#core/log.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { adminConnection } from '#test/support/db.ts'
import { spawnServer } from '#test/support/server-process.ts'
import { until } from '#test/support/until.ts'
import { once } from './client.ts'
import { readLedgers } from './ledger.ts'
import { readCalls } from './tools.ts'

const STEPS = 12
const STEP_MS = 150

t.test('a server killed in the middle of a session goes on with it within 2 s of its next start', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'agentos-restart-'))
  t.teardown(() => rm(home, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }))
  const callsFile = join(home, 'calls.jsonl')
  const start = () => {
    const server = spawnServer(new URL('./host.ts', import.meta.url), ['functions', callsFile], { AGENTOS_HOME: home })
    t.teardown(() => server.kill())
    return server
  }
  // The embedded database goes with its server: each life of it is connected to anew.
  const admin = async () => {
    const server = must(await readPostmaster(join(home, 'postgres/data')), 'the embedded database')
    const password = await readFile(join(home, 'postgres/password'), 'utf8')
    return `postgres://postgres:${password}@127.0.0.1:${server.port}/agentos`
  }

  const first = start()
  const firstUrl = await first.ready
  const tenant = await makeTenant(home, await admin())
  const steps = Array.from({ length: STEPS }, (_, index) => ({
    id: `s${index + 1}`,
    kind: 'tool',
    tool: 'host.count',
    input: { n: index === 0 ? 0 : { $ref: `steps.s${index}.output.n` }, ms: STEP_MS }
  }))
  const created = await once(firstUrl, tenant, 'POST', '/v1/sessions', { name: 'long', steps })
  const id = String(created?.body.id)

  const before = adminConnection(await admin())
  const recorded = async () => {
    const [row] = await before<{ done: number }[]>`select count(*)::int as done from core.journal
        where actor_id = ${id} and starts_with(key, 'step:')`
    return row?.done ?? 0
  }
  await until(async () => (await recorded()) >= 2, 'the middle of the session')
  // However slowly this machine starts a server, nobody but the lease's owner may go on before this hour is over.
  const [lease] = await before<{ until: Date }[]>`
    update pulse.session set lease_until = clock_timestamp() + interval '1 hour' where id = ${id}
    returning lease_until as until`
  const done = await recorded()
  await first.kill()
  await before.end({ timeout: 1 })

  const second = start()
  await second.ready
  const after = adminConnection(await admin())
  t.teardown(() => after.end({ timeout: 1 }))
  const [ready] = await after<{ now: Date }[]>`select clock_timestamp() as now`
  await until(async () => {
    const [row] = await after`select 1 from pulse.session where id = ${id} and ended_at is not null`
    return row
  }, 'the session ends')
  const [next] = await after<{ at: Date }[]>`
    select at from core.journal where actor_id = ${id} and starts_with(key, 'step:') order by at offset ${done + 1} limit 1`
  const at = must(next, 'a step after the restart').at
  const { until: ran } = must(lease, 'the lease')
  t.ok(at < ran, `recorded at ${at.toISOString()}, the lease would have run until ${ran.toISOString()}`)
  t.ok(at.getTime() - must(ready, 'now').now.getTime() < 2000, 'within 2 s of ready')

  const [ledger] = await readLedgers(after)
  t.match(ledger, { state: 'COMPLETE', result: { n: STEPS }, held: false, epoch: 2 })
  t.strictSame(
    ledger?.journal.map(({ key, status }) => `${key} ${status}`),
    steps.map((step) => `step:${step.id} done`)
  )
  t.strictSame(
    ledger?.checkpoints,
    steps.map((step) => step.id)
  )
  const progress = ledger?.events.filter(({ type }) => type === 'session.progress') ?? []
  t.strictSame(
    progress.map(({ step }) => step),
    steps.map((step) => step.id)
  )
  t.ok(readCalls([callsFile]).length <= STEPS + 1, 'at most the step that was cut off was called again')
})

async function makeTenant(home: string, url: string) {
  const secrets = deriveSecrets(new Secret((await readFile(join(home, 'secret'), 'utf8')).trim()))
  const db = await openDb({
    appUrl: loginUrl(url, 'agentos_app', secrets.appPassword),
    systemUrl: loginUrl(url, 'agentos_system', secrets.systemPassword),
    tenantHmacKey: secrets.tenantHmacKey,
    appPool: 1,
    systemPool: 1
  })
  const auth = createAuth({
    db,
    clock: systemClock,
    pepper: secrets.apiKeyPepper,
    userTokenKey: secrets.userTokenKey,
    log: createLog({ level: 'silent' })
  })
  const { id: tenantId } = await db.system((tx) => createTenant(tx, { name: 'one', slug: 'one', plan: 'pro' }))
  const made = await db.tenant(tenantId, (tx) => auth.createKey(tx, { name: 'test', scopes: ['*'] }))
  await db.close()
  return { tenantId, plan: 'pro', key: made.key.reveal() }
}
