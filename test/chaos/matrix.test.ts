import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CRASH_POINTS, type CrashPoint } from '#core/crash-point.ts'
import { until } from '#test/support/until.ts'
import { argument } from '#test/tenancy/support/proof.ts'
import { Client, type Reply } from './client.ts'
import { KeptHost } from './kept-host.ts'
import { type Ledger, readLedgers } from './ledger.ts'
import { Random } from './random.ts'
import { readCalls } from './tools.ts'
import { makeWorld, type Tenant, type World } from './world.ts'

type Verb = 'create' | 'step' | 'pause' | 'resume' | 'cancel'

/** The points that lie on the way of each verb; together they are all points, and a test holds that they are. */
const WAYS: Record<Verb, readonly CrashPoint[]> = {
  create: CRASH_POINTS,
  step: ['before-effect', 'effect-done', 'before-commit', 'after-commit', 'relay-sequenced'],
  pause: ['effect-done', 'before-commit', 'after-commit', 'relay-sequenced'],
  resume: ['claimed', 'before-effect', 'effect-done', 'before-commit', 'after-commit', 'relay-sequenced'],
  cancel: ['before-commit', 'after-commit', 'relay-sequenced']
}

const FINAL = ['COMPLETE', 'FAILED']

/** A world with one host and one client, and the verbs as a client does them. */
class Stage {
  readonly host: KeptHost
  readonly world: World
  private readonly tenant: Tenant
  private readonly client: Client
  private count = 0

  constructor(world: World, tenant: Tenant) {
    this.world = world
    this.tenant = tenant
    this.host = new KeptHost(world, 'host')
    this.client = new Client(() => this.host.url, new Random('matrix'))
  }

  /** Does `verb` with the host dying at `point`, or not at all. @returns what the database says in the end */
  async perform(verb: Verb, point: CrashPoint | null): Promise<Ledger> {
    this.count += 1
    const key = `case-${this.count}`
    const gate = join(this.world.dir, key)
    const arm = async () => {
      if (point) await this.host.arm(point)
    }
    const open = () => writeFile(gate, '')
    await this.host.up()
    if (verb === 'create') {
      await open()
      await arm()
      return await this.ended((await this.create(key, gate)).body.id)
    }
    const { id } = (await this.create(key, gate)).body
    await until(() => this.called(`${id}/s2`), 's2 runs')
    if (verb === 'step') {
      await arm()
      await open()
    }
    if (verb === 'cancel') {
      await arm()
      await this.command(id, 'cancel', FINAL)
    }
    if (verb === 'pause' || verb === 'resume') {
      const paused = this.command(id, 'pause', ['PAUSED'])
      await until(async () => (await this.world.sql`select 1 from core.inbox where actor_id = ${id}`).length, 'pause')
      if (verb === 'pause') await arm()
      await open()
      await paused
      if (verb === 'resume') await arm()
      await this.command(id, 'resume', ['RUNNING', ...FINAL])
    }
    return await this.ended(id)
  }

  async create(key: string, gate: string): Promise<Reply> {
    const step = (id: string, tool: string, input: object) => ({ id, kind: 'tool', tool: `host.${tool}`, input })
    const config = {
      name: key,
      input: { n: 0 },
      steps: [
        step('s1', 'count', { n: { $ref: 'input.n' }, ms: 1 }),
        step('s2', 'hold', { n: { $ref: 'steps.s1.output.n' }, until: gate }),
        step('s3', 'count', { n: { $ref: 'steps.s2.output.n' }, ms: 1 })
      ],
      gates: [{ name: 'three', check: { kind: 'expression', expression: 'output.n == 3' } }]
    }
    return await this.client.ask(this.tenant, 'POST', '/v1/sessions', config, key)
  }

  // Repeated until the session is where the command brings it: a 202 is a promise, a lost answer may have been a yes.
  private async command(id: string, name: string, wanted: readonly string[]): Promise<void> {
    for (;;) {
      const { status, body } = await this.client.ask(this.tenant, 'POST', `/v1/sessions/${id}/${name}`)
      if (wanted.includes(body.state)) return
      if (name === 'resume' && (status === 200 || status === 409)) return // it waits for its slot
    }
  }

  private called(key: string): boolean {
    return readCalls([this.world.callsFile('host')]).some((call) => call.key === key)
  }

  private async ended(id: string): Promise<Ledger> {
    await until(async () => {
      const [row] = await this.world.sql`
        select (select count(*) from pulse.session where id = ${id} and ended_at is null)
          + (select count(*) from core.event where seq is null)
          + (select count(*) from core.inbox where outcome is null) as open`
      return row?.open === 0n
    }, `session ${id} has ended`)
    const ledger = (await readLedgers(this.world.sql)).find((one) => one.id === id)
    if (!ledger) throw new Error(`session ${id} is lost`)
    return ledger
  }
}

async function stage(t: Test): Promise<Stage> {
  const world = await makeWorld(t, 'functions')
  const made = new Stage(world, await world.makeTenant('pro'))
  t.teardown(() => made.host.stop())
  return made
}

/** What must be the same with and without the crash: everything but ids, times and epochs. */
function essence(ledger: Ledger, verb: Verb) {
  const { state, held, result, error, journal, checkpoints, events, transitions } = ledger
  const pauses = verb === 'pause' || verb === 'resume'
  const types = events.map(({ type, pct }) => (pct === null ? type : `${type} ${pct}`))
  return {
    state,
    held,
    result,
    error,
    journal: journal
      .map(({ key, status, output }) => ({ key, status, output }))
      .sort((a, b) => (a.key < b.key ? -1 : 1)),
    checkpoints,
    // The pause is sent while s2 runs, and taken in the middle of s2's outcome or behind it, before or after a crash: each
    // is a pause. That the moves are legal is checked for every session of the storm.
    events: pauses ? types.sort() : types,
    moves: pauses ? null : transitions.map(({ from, to, cause }) => `${from} ${to} ${cause}`)
  }
}

// CI kills at each crash point on the way of one verb, another each time, and at one point of each verb; all of them with
// `npm run test:whole`.
const seed = argument('seed') ?? randomBytes(4).toString('hex')
const whole = argument('whole') !== undefined
t.comment(whole ? 'whole' : `--seed=${seed}`)
const chosen = choose(new Random(seed))

function choose(random: Random): Record<Verb, readonly CrashPoint[]> {
  if (whole) return WAYS
  const verbs = Object.keys(WAYS) as Verb[]
  const taken = new Set<string>()
  for (const point of CRASH_POINTS) {
    const verb = random.pick(verbs.filter((one) => WAYS[one].includes(point)))
    taken.add(`${verb} ${point}`)
  }
  for (const verb of verbs) {
    if (![...taken].some((one) => one.startsWith(`${verb} `))) taken.add(`${verb} ${random.pick(WAYS[verb])}`)
  }
  const ofVerb = (verb: Verb) => WAYS[verb].filter((point) => taken.has(`${verb} ${point}`))
  return {
    create: ofVerb('create'),
    step: ofVerb('step'),
    pause: ofVerb('pause'),
    resume: ofVerb('resume'),
    cancel: ofVerb('cancel')
  }
}

t.test('every crash point lies on the way of a verb, and is met in every run', async (t) => {
  t.strictSame(new Set(Object.values(WAYS).flat()), new Set(CRASH_POINTS))
  t.strictSame(new Set(Object.values(chosen).flat()), new Set(CRASH_POINTS))
  t.notOk(Object.values(chosen).some((points) => points.length === 0))
})

const lanes: Verb[][] = [
  ['create', 'cancel', 'pause'],
  ['step', 'resume']
]

for (const verbs of lanes) {
  t.test(`killed at each crash point of ${verbs.join(', ')}, the ledger is the same in the end`, async (t) => {
    const theatre = await stage(t)
    for (const verb of verbs) {
      const wanted = essence(await theatre.perform(verb, null), verb)
      t.equal(wanted.state, verb === 'cancel' ? 'FAILED' : 'COMPLETE')
      for (const point of chosen[verb]) {
        const deaths = theatre.host.deaths.length
        const found = await theatre.perform(verb, point)
        t.strictSame(essence(found, verb), wanted, `${verb}, killed at ${point}`)
        t.strictSame(theatre.host.deaths.slice(deaths), ['SIGKILL'], `${verb}: it was killed at ${point}, once`)
        const epochs = found.transitions.map(({ epoch }) => epoch)
        t.strictSame(
          epochs,
          [...epochs].sort((a, b) => a - b),
          'no older epoch wrote after a newer one'
        )
      }
    }
    const slots = await theatre.world.sql`select running, queued from core.slot`
    t.strictSame([...slots], [{ running: 0, queued: 0 }])
  })
}

t.test('a crash between the effect and the answer gives the retry the first answer', async (t) => {
  const theatre = await stage(t)
  const { host, world } = theatre
  const gate = join(world.dir, 'open')
  await writeFile(gate, '')
  await host.arm('admitted')
  const reply = await theatre.create('once', gate)
  t.strictSame(host.deaths, ['SIGKILL'], 'the first request got no answer')
  const sessions = await world.sql<{ id: string }[]>`select id from pulse.session`
  const answers = await world.sql<{ status: number; body: object }[]>`select status, body from core.idempotency`
  t.strictSame([...answers], [{ status: 202, body: { id: sessions[0]?.id, state: 'QUEUED' } }])
  t.equal(sessions.length, 1)
  t.strictSame(reply, { status: 202, body: { id: sessions[0]?.id, state: 'QUEUED' }, replayed: true })
  t.ok(existsSync(world.callsFile('host')))
})
