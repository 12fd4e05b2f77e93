import { systemClock } from '#core/clock.ts'
import type { Acknowledged, Client, History, Reply } from './client.ts'
import type { Random } from './random.ts'
import type { Tenant } from './world.ts'

/** What a client does with one session. */
export const SCRIPTS = [
  'plain',
  'gates',
  'gate-fails',
  'gate-pauses',
  'rolls-back',
  'flaky',
  'pauses',
  'cancels',
  'starts-by-hand'
] as const
export type Script = (typeof SCRIPTS)[number]

/** One planned session: everything about it is drawn from the seed before the run. */
export interface Planned {
  readonly key: string
  readonly tenant: Tenant
  readonly script: Script
  readonly startAfterMs: number
  /** When the script's command is sent, after the session was acknowledged. */
  readonly commandAfterMs: number
  readonly config: object
}

export const STEPS = 5
const FINAL = ['COMPLETE', 'FAILED', 'ROLLED_BACK']
const LOOK_MS = 300

interface PlanOptions {
  readonly sessions: number
  readonly tenants: readonly Tenant[]
  readonly overMs: number
  readonly random: Random
  readonly skills: boolean
  /** Number of the first session. */
  readonly from?: number
}

/** Draws the sessions of a run. */
export function planSessions(options: PlanOptions): Planned[] {
  const { sessions, tenants, overMs, random, skills, from = 0 } = options
  const withoutHost: readonly Script[] = SCRIPTS.filter((script) => script !== 'flaky' && script !== 'rolls-back')
  return Array.from({ length: sessions }, (_, index) => {
    const script = random.next() < 0.4 ? 'plain' : random.pick(skills ? withoutHost : SCRIPTS)
    const key = `chaos-${from + index}`
    return {
      key,
      tenant: random.pick(tenants),
      script,
      startAfterMs: Math.floor((overMs * index) / sessions),
      commandAfterMs: random.between(0, 600),
      config: configOf(key, script, random, skills)
    }
  })
}

// Five steps in a chain, so that the result says whether each was counted once and in its order.
function configOf(key: string, script: Script, random: Random, skills: boolean): object {
  const alias = skills ? 'count' : 'host'
  const broken = random.between(2, STEPS)
  const steps = Array.from({ length: STEPS }, (_, index) => {
    const n = index === 0 ? { $ref: 'input.n' } : { $ref: `steps.s${index}.output.n` }
    const tool = script === 'flaky' && index + 1 === broken ? 'flaky' : script === 'rolls-back' ? 'book' : 'count'
    const input = skills ? { n } : { n, ms: random.between(10, 150) }
    return {
      id: `s${index + 1}`,
      kind: 'tool',
      tool: `${alias}.${tool}`,
      input,
      // A cell dies with its host's call in it: such a call is worth another attempt.
      retry: { attempts: 3, backoffMs: 50 }
    }
  })
  const expression = (name: string, after: string, text: string, onFail = 'fail') => ({
    name,
    after,
    check: { kind: 'expression', expression: text },
    onFail
  })
  const gates = {
    gates: [
      expression('early', 's2', 'output.n == 2'),
      { name: 'shape', after: 'end', check: { kind: 'schema', schema: { type: 'object', required: ['n'] } } }
    ],
    'gate-fails': [expression('never', 'end', 'output.n > 5')],
    'gate-pauses': [expression('look', 's3', 'output.n > 3', 'pause')],
    'rolls-back': [expression('never', 's4', 'output.n > 4', 'rollback')]
  }
  return {
    name: key,
    ...(skills ? { skills: ['@chaos/count@^1'] } : {}),
    input: { n: 0 },
    steps,
    gates: script in gates ? gates[script as keyof typeof gates] : [],
    checkpoints: { every: random.next() < 0.8 ? 'step' : 'end' },
    ...(script === 'starts-by-hand' ? { start: 'manual' } : {})
  }
}

/** Plays one session's client: ends when everything it wanted was acknowledged. */
export async function play(planned: Planned, client: Client, history: History): Promise<void> {
  const { key, tenant, script, commandAfterMs, config } = planned
  await systemClock.sleep(planned.startAfterMs)
  const created = await client.ask(tenant, 'POST', '/v1/sessions', config, key)
  if (created.status !== 202 && created.status !== 201) throw new Error(`${key}: ${JSON.stringify(created)}`)
  const sessionId = String(created.body.id)
  const note = (op: Acknowledged['op'], reply: Reply, state: string) =>
    history.add({ op, key, tenantId: tenant.tenantId, sessionId, status: reply.status, state })
  note('create', created, String(created.body.state))

  const command = async (op: Exclude<Acknowledged['op'], 'create'>): Promise<string> => {
    const reply = await client.ask(tenant, 'POST', `/v1/sessions/${sessionId}/${op}`)
    if (reply.status !== 200 && reply.status !== 202 && reply.status !== 409) {
      throw new Error(`${key}: ${op} got ${JSON.stringify(reply)}`)
    }
    const state = String(reply.body.state) // a 409 says it too
    if (reply.status !== 409) note(op, reply, state)
    return state
  }
  const look = async () => (await client.ask(tenant, 'GET', `/v1/sessions/${sessionId}`)).body

  if (script === 'starts-by-hand') {
    await systemClock.sleep(commandAfterMs)
    await command('run')
  }
  if (script === 'cancels') {
    await systemClock.sleep(commandAfterMs)
    // Taken or refused, but not left open: 202 is only a promise, which a session that completes first does not keep.
    while (!FINAL.includes(await command('cancel'))) await systemClock.sleep(LOOK_MS)
  }
  if (script === 'pauses') {
    await systemClock.sleep(commandAfterMs)
    for (let state = 'QUEUED'; state !== 'PAUSED' && !FINAL.includes(state); state = await command('pause')) {
      await systemClock.sleep(LOOK_MS)
    }
  }
  if (script === 'pauses' || script === 'gate-pauses') {
    // A pause that was repeated because its answer got lost may be taken twice: whoever pauses sees it to its end.
    for (let session = await look(); !FINAL.includes(session.state); session = await look()) {
      if (session.state === 'PAUSED' && !session.resumeQueued) await command('resume')
      await systemClock.sleep(LOOK_MS)
    }
  }
}
