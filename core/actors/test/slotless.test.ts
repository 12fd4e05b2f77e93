import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { assign, setup } from 'xstate'
import { z } from 'zod'
import { ActorHost, defineMachine, type Effect, type Outcome } from '#core/actors/index.ts'
import { createBus } from '#core/bus/index.ts'
import { systemClock } from '#core/clock.ts'
import { defineEvent, pending } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import { createLog } from '#core/log.ts'
import { coreMigrations } from '#core/migrations.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { type TestDb, testDb } from '#test/support/db.ts'
import { until } from '#test/support/until.ts'

// A bell: asleep until it is wound, then it rings (the effect), counts it and sleeps again.
type BellEvent = { type: 'WIND' } | { type: 'RANG'; tone: string } | { type: 'MELT' }
interface BellContext {
  readonly rings: number
  readonly tone: string | null
}
const machine = setup({ types: { context: {} as BellContext, events: {} as BellEvent } }).createMachine({
  id: 'bell',
  context: { rings: 0, tone: null },
  initial: 'ASLEEP',
  states: {
    ASLEEP: { on: { WIND: 'RINGING', MELT: 'MELTED' } },
    RINGING: {
      on: {
        RANG: {
          target: 'ASLEEP',
          actions: assign(({ context, event }) => ({ rings: context.rings + 1, tone: event.tone }))
        },
        MELT: 'MELTED'
      }
    },
    MELTED: { type: 'final' }
  }
})
const BellRang = defineEvent('bell.rang', { subject: 'bell', data: z.object({ rings: z.int(), tone: z.string() }) })
const bellKind = defineMachine({
  kind: 'bell',
  table: 'slotless.bell',
  columns: [], // nothing beyond the host's own: an empty list must not reach Postgres as a parameter
  machine,
  wants: { RINGING: (context) => ({ effect: 'ring', key: `ring:${context.rings}` }) },
  finals: ['MELTED'],
  interrupts: ['MELT'],
  persist: (context) => context,
  restore: (row) => row.context as unknown as BellContext,
  announce: ({ ref, event, context }) =>
    event.type === 'RANG' ? [pending(BellRang, ref.id, { rings: context.rings, tone: event.tone })] : [],
  rows: ({ event }) => [event.type]
})

const SQL = `create schema slotless;
create table slotless.bell (
  tenant_id uuid not null default core.tenant(), id uuid not null, name text not null, primary key (tenant_id, id));
call core.isolate('slotless.bell', 'select, insert, update, delete');
call core.actor_table('slotless.bell');
create table slotless.note (
  tenant_id uuid not null default core.tenant(), bell_id uuid not null, n bigint generated always as identity,
  what text not null, primary key (tenant_id, bell_id, n),
  foreign key (tenant_id, bell_id) references slotless.bell (tenant_id, id));
call core.isolate('slotless.note', 'select, insert');
`

type Ring = Effect<BellContext, BellEvent>['run']
const ring: Ring = async ({ key, ref }) => rang(`${key} of ${ref.id.slice(0, 4)}`)
const rang = (tone: string): Outcome<BellEvent> => ({ event: { type: 'RANG', tone }, record: { tone } })

interface Tower extends TestDb {
  host(run?: Ring, options?: { capacity?: number }): ActorHost
  tenant(): Promise<string>
  make(host: ActorHost, tenantId: string, events?: BellEvent[]): Promise<string>
  send(host: ActorHost, tenantId: string, id: string, event: BellEvent): ReturnType<ActorHost['send']>
  row(id: string): Promise<{ state: string; context: BellContext; epoch: number; leased: boolean; ended: boolean }>
}

async function tower(t: Test): Promise<Tower> {
  const dir = join(t.testdir(), 'sql')
  await mkdir(dir)
  await writeFile(join(dir, '0001_bell.sql'), SQL)
  const base = await testDb(t, { rooms: [...coreMigrations, { name: 'slotless', dir: pathToFileURL(`${dir}/`) }] })
  const { db, sql } = base
  const log = createLog({ level: 'silent' })
  const bus = createBus({ db })
  const hosts: ActorHost[] = []
  t.teardown(() => Promise.all(hosts.map((host) => host.stop(100))))
  return {
    ...base,
    host(run = ring, { capacity = 64 } = {}) {
      const host = new ActorHost({ hostId: newId(), db, bus, clock: systemClock, log, capacity })
      host.register(bellKind, {
        effects: { ring: { run, replay: (record) => rang((record as { tone: string }).tone).event } },
        async write(tx, entries) {
          for (const { ref, rows } of entries) {
            for (const what of rows) {
              await tx`insert into slotless.note (bell_id, what) values (${ref.id}, ${String(what)})`
            }
          }
        }
      })
      hosts.push(host)
      return host
    },
    async tenant() {
      const slug = `t-${newId().slice(-12)}`
      return (await db.system((tx) => createTenant(tx, { name: slug, slug, plan: 'pro' }))).id
    },
    async make(host, tenantId, events = []) {
      const id = newId()
      const actor = { id, context: { rings: 0, tone: null }, columns: { name: 'big' }, events, by: 'test' }
      await db.tenant(tenantId, (tx) => host.create(tx, 'bell', tenantId, [actor]))
      return id
    },
    send: (host, tenantId, id, event) => db.tenant(tenantId, (tx) => host.send(tx, 'bell', id, event, 'test')),
    async row(id) {
      const [row] = await sql<Awaited<ReturnType<Tower['row']>>[]>`
        select state, context, epoch, lease_until is not null as leased, ended_at is not null as ended
        from slotless.bell where id = ${id}`
      if (!row) throw new Error('no bell')
      return row
    }
  }
}

t.test('an actor without slots sleeps, is woken, acts and sleeps again; nobody counts it', async (t) => {
  const { host: makeHost, sql, ...bells } = await tower(t)
  const host = makeHost()
  await host.start()
  const A = await bells.tenant()
  const id = await bells.make(host, A)
  t.match(await bells.row(id), { state: 'ASLEEP', epoch: 0, leased: false })

  t.match(await bells.send(host, A, id, { type: 'WIND' }), { outcome: 'applied', state: 'RINGING' })
  await until(async () => (await bells.row(id)).context.rings === 1, 'the first ring')
  await until(async () => !(await bells.row(id)).leased, 'its lease given back')
  t.match(await bells.row(id), {
    state: 'ASLEEP',
    epoch: 1,
    ended: false,
    context: { tone: `ring:0 of ${id.slice(0, 4)}` }
  })
  t.strictSame(host.activations(), { bell: 0 }, 'passivated: nothing of it is kept in memory')

  await bells.send(host, A, id, { type: 'WIND' })
  await until(async () => (await bells.row(id)).context.rings === 2, 'the second ring')
  const arrows = await sql`select n, to_state, by from core.transition where actor_id = ${id} order by n`
  t.strictSame(
    arrows.map((row) => [row.n, row.to_state, row.by]),
    [
      [1, 'RINGING', 'test'],
      [2, 'ASLEEP', 'scheduler'],
      [3, 'RINGING', 'test'],
      [4, 'ASLEEP', 'scheduler']
    ]
  )
  const notes = await sql`select what from slotless.note where bell_id = ${id} order by n`
  t.strictSame(notes.map((row) => row.what).join(' '), 'WIND RANG WIND RANG')
  const events = await sql`select data ->> 'rings' as rings from core.event where type = 'bell.rang' order by id`
  t.strictSame(
    events.map((row) => row.rings),
    ['1', '2']
  )
  t.equal((await sql`select from core.slot where class = 'bell'`).length, 0)
})

t.test('an actor that wants something at birth is run at once, and its rows are written with it', async (t) => {
  const { host: makeHost, sql, ...bells } = await tower(t)
  const host = makeHost()
  await host.start()
  const id = await bells.make(host, await bells.tenant(), [{ type: 'WIND' }])
  t.equal((await sql`select from slotless.note where bell_id = ${id} and what = 'WIND'`).length, 1)
  await until(async () => (await bells.row(id)).context.rings === 1, 'the ring')
})

t.test('whoever takes over a cut off activation goes on, and the former one writes nothing more', async (t) => {
  const { host: makeHost, sql, ...bells } = await tower(t)
  let began = () => {}
  let finish = (_outcome: Outcome<BellEvent>) => {}
  const started = new Promise<void>((resolve) => {
    began = resolve
  })
  const dying = makeHost(() => {
    began()
    return new Promise((resolve) => {
      finish = resolve
    })
  })
  await dying.start()
  const A = await bells.tenant()
  const id = await bells.make(dying, A, [{ type: 'WIND' }])
  await started
  // What its death looks like to the others: it claims nothing, and its lease is not renewed any more.
  await dying.stopClaiming()
  await sql`update slotless.bell set lease_owner = ${newId()}, lease_until = now() - interval '1 s' where id = ${id}`
  const heir = makeHost()
  await heir.start()
  await until(async () => (await bells.row(id)).context.rings === 1, 'the ring by the heir')
  finish(rang('too late'))
  await until(() => dying.activations().bell === 0, 'the end of the former activation')
  t.match(await bells.row(id), {
    state: 'ASLEEP',
    epoch: 2,
    context: { rings: 1, tone: `ring:0 of ${id.slice(0, 4)}` }
  })
  t.equal((await sql`select from core.journal where actor_id = ${id}`).length, 1)
  t.equal((await sql`select from core.event where type = 'bell.rang'`).length, 1)
})

t.test('a recorded outcome is replayed, not repeated', async (t) => {
  const { host: makeHost, sql, ...bells } = await tower(t)
  let calls = 0
  const host = makeHost(async () => rang(`call ${++calls}`))
  const id = await bells.make(host, await bells.tenant(), [{ type: 'WIND' }])
  // Recorded by an activation whose commit of the state was then undone by hand: only the journal knows.
  await sql`update slotless.bell set epoch = 1, version = 1 where id = ${id}`
  await sql`insert into core.journal (tenant_id, actor_id, key, record, epoch)
    select tenant_id, id, 'ring:0', '{"tone": "recorded"}', 1 from slotless.bell where id = ${id}`
  await host.start()
  await until(async () => (await bells.row(id)).context.rings === 1, 'the ring')
  t.match(await bells.row(id), { context: { tone: 'recorded' } })
  t.equal(calls, 0)
})

t.test('commands for a running actor wait for its effect, or end it where they interrupt', async (t) => {
  const { host: makeHost, ...bells } = await tower(t)
  const aborted: boolean[] = []
  const host = makeHost(
    ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted.push(true)
          reject(signal.reason)
        })
      })
  )
  await host.start()
  const A = await bells.tenant()
  const id = await bells.make(host, A, [{ type: 'WIND' }])
  await until(() => host.activations().bell === 1, 'the activation')
  const wind = await bells.send(host, A, id, { type: 'WIND' })
  t.equal(wind.outcome, 'pending')
  t.equal((await host.answer({ tenantId: A, id }, wind, 30)).outcome, 'pending', 'it waits for the effect')
  const melt = await bells.send(host, A, id, { type: 'MELT' })
  t.match(await host.answer({ tenantId: A, id }, melt, 5000), { outcome: 'applied', state: 'MELTED' })
  t.match(await host.answer({ tenantId: A, id }, wind, 5000), { outcome: 'refused', state: 'RINGING' })
  t.strictSame(aborted, [true])
  await until(async () => (await bells.row(id)).ended, 'its end')
  t.match(await bells.send(host, A, id, { type: 'WIND' }), { outcome: 'refused', state: 'MELTED' })
})

t.test('a host that goes down hands its actors over', async (t) => {
  const { host: makeHost, ...bells } = await tower(t)
  const first = makeHost(({ signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', reject)))
  await first.start()
  const id = await bells.make(first, await bells.tenant(), [{ type: 'WIND' }])
  await until(() => first.activations().bell === 1, 'the activation')
  await first.stop(1)
  t.match(await bells.row(id), { state: 'RINGING', context: { rings: 0 } })
  const second = makeHost()
  await second.start()
  await until(async () => (await bells.row(id)).context.rings === 1, 'the ring by the second host')
})

t.test('more actors than a host runs at once are all run', async (t) => {
  const { host: makeHost, sql, ...bells } = await tower(t)
  let now = 0
  let most = 0
  const host = makeHost(
    async (call) => {
      most = Math.max(most, ++now)
      await systemClock.sleep(1)
      now -= 1
      return await ring(call)
    },
    { capacity: 4 }
  )
  await host.start()
  const A = await bells.tenant()
  const actors = Array.from({ length: 60 }, () => ({
    id: newId(),
    context: { rings: 0, tone: null },
    columns: { name: 'small' },
    events: [{ type: 'WIND' as const }],
    by: 'test'
  }))
  await bells.db.tenant(A, (tx) => host.create(tx, 'bell', A, actors))
  await until(async () => {
    const rows = await sql`select from slotless.bell where state = 'ASLEEP' and context -> 'rings' = '1'`
    return rows.length === actors.length
  }, 'sixty rings')
  t.ok(most <= 4, `${most} at once`)
})

t.test("another tenant's actor is not there", async (t) => {
  const { host: makeHost, ...bells } = await tower(t)
  const host = makeHost()
  const [A, B] = [await bells.tenant(), await bells.tenant()]
  const id = await bells.make(host, A)
  await t.rejects(bells.send(host, B, id, { type: 'WIND' }), { code: 'ACTORS_NOT_FOUND', status: 404 })
  t.match(await bells.row(id), { state: 'ASLEEP' })
})

t.test('notes are kept with an outcome that is not recorded, once per key, and no host loads them', async (t) => {
  const { tenant, host: makeHost, make, row, send, sql } = await tower(t)
  const seen: string[][] = []
  const host = makeHost(async ({ context, journal }) => {
    seen.push([...journal.keys()])
    const notes = [
      { key: `call:${context.rings}`, record: context.rings },
      { key: 'call:one', record: context.rings }
    ] as const
    return { event: { type: 'RANG', tone: 'plain' }, notes, ...(context.rings === 0 ? {} : { record: {} }) }
  })
  await host.start()
  const tenantId = await tenant()
  const id = await make(host, tenantId)
  for (const rings of [1, 2, 3]) {
    await send(host, tenantId, id, { type: 'WIND' })
    await until(async () => (await row(id)).context.rings === rings && !(await row(id)).leased, `ring ${rings}`)
  }
  const rows = await sql`select key, record from core.journal where actor_id = ${id} order by key`
  t.strictSame(
    rows.map(({ key, record }) => [key, record]),
    [
      ['call:0', 0],
      ['call:1', 1],
      ['call:2', 2],
      ['call:one', 0],
      ['ring:1', {}],
      ['ring:2', {}]
    ]
  )
  t.strictSame(seen, [[], [], ['ring:1']])
})
