import type { Clock } from '#core/clock.ts'
import type { DoctorCheck, Verdict } from '#core/doctor/doctor.ts'
import { errorMessage } from '#core/errors.ts'
import { type Sandbox, type SandboxCall, SandboxError } from '#sandbox/index.ts'
import { SANDBOX_LIMIT_MS } from './doctor.ts'

export interface ProbeDeps {
  sandbox: Pick<Sandbox, 'ready' | 'status' | 'run' | 'endSession'>
  clock: Clock
  /** How long a hostile probe may take from its deadline to its end, ms: killing takes `graceMs` (250) and a busy machine. */
  patienceMs?: number
}

const CODE = `
  export const add = (numbers) => numbers.reduce((sum, one) => sum + one, 0)
  export const loop = () => { while (true); }
  export const hang = () => [].indexOf.call({ length: 2 ** 53 - 1 }, 1)`
const CPU_MS = 200
const WALL_MS = 1000

/** What a probe's call came to. `after`: the next call of the same tenant, ms; undefined where that one failed. */
interface Probed {
  outcome: string
  ms: number
  after: number | undefined
}

/**
 * What `agentos doctor sandbox` does to cells of its own, under tenants that nobody is: an honest call, a loop, a built-in
 * that nothing can interrupt. A limit that is silently not applied is the usual failure, so each is met for real.
 */
export function probeChecks(deps: ProbeDeps): DoctorCheck[] {
  const { sandbox, patienceMs = 5000 } = deps
  const check = (name: string, title: string, run: () => Promise<Verdict>): DoctorCheck => ({
    name,
    title,
    limitMs: SANDBOX_LIMIT_MS,
    run
  })
  const ended = async (name: 'loop' | 'hang', codes: readonly string[], fix: string): Promise<Verdict> => {
    const { outcome, ms, after } = await probe(deps, name, patienceMs)
    const detail = `${outcome} after ${ms} ms; the next call took ${after ?? 'for ever'} ms`
    if (codes.includes(outcome) && ms < WALL_MS + patienceMs && after !== undefined) return { ok: true, detail }
    return { ok: false, detail: `${detail}; ${codes.join(' or ')} was due within ${WALL_MS} ms`, fix }
  }
  return [
    check('sandbox.call', 'a cell starts and gives the right answer, with JIT and without', async () => {
      const told: string[] = []
      for (const verified of [true, false]) {
        const first = await add(deps, verified)
        const warm = await add(deps, verified)
        told.push(`${verified ? 'JIT' : 'jitless'} ${first} ms, warm ${warm} ms`)
      }
      deps.sandbox.endSession(tenantOf('call'), SESSION)
      return { ok: true, detail: told.join('; ') }
    }),
    check('sandbox.deadline', 'a call that loops is ended in time, and the next one of its tenant runs', () =>
      ended('loop', ['SANDBOX_TIMEOUT', 'SANDBOX_KILLED'], 'stop this server and report this: limits do not hold here')
    ),
    check(
      'sandbox.kill',
      'a call that nothing can interrupt is killed with its cell, and the next one gets another',
      () => ended('hang', ['SANDBOX_KILLED'], 'see that this server may send signals to its own children')
    ),
    check('sandbox.spares', 'a blank cell is kept warm for the next tenant', async () => {
      await add(deps, true)
      const blank = () => sandbox.status().cells.filter(({ tenantId }) => tenantId === null).length
      const until = deps.clock.monotonic() + patienceMs
      while (blank() === 0 && deps.clock.monotonic() < until) await deps.clock.sleep(20)
      const { cells, waiting, counts } = sandbox.status()
      const detail = `${cells.length} alive, ${blank()} blank, ${waiting} calls wait, ${counts.kills} killed since the start`
      if (blank() > 0) return { ok: true, detail }
      return { ok: false, detail, fix: 'every cell is in use: raise maxCells of the room tools, or add a host' }
    })
  ]
}

const SESSION = 'doctor'
const tenantOf = (name: string) => `doctor-${name}`

/** @returns ms. @throws what the call failed with, or that it answered wrong */
async function add(deps: ProbeDeps, verified: boolean): Promise<number> {
  const began = deps.clock.monotonic()
  const { output } = await deps.sandbox.run(callOf(deps, 'call', 'add', '[1,2,39]', verified))
  if (output !== '42') throw new Error('a call that adds three numbers gave another sum')
  return Math.round(deps.clock.monotonic() - began)
}

async function probe(deps: ProbeDeps, name: 'loop' | 'hang', patienceMs: number): Promise<Probed> {
  const { sandbox, clock } = deps
  await sandbox.ready()
  await sandbox.run(callOf(deps, name, 'add', '[1]', true)) // the cell is there: what is measured is the end of the call
  const late = new AbortController()
  const timer = clock.after(WALL_MS + patienceMs, () => late.abort())
  const began = clock.monotonic()
  const outcome = await sandbox.run({ ...callOf(deps, name, name, 'null', true), signal: late.signal }).then(
    () => 'a result',
    (error) => (error instanceof SandboxError ? error.code : errorMessage(error))
  )
  timer.cancel()
  const ms = Math.round(clock.monotonic() - began)
  if (late.signal.aborted) return { outcome, ms, after: undefined }
  const next = clock.monotonic()
  await sandbox.run(callOf(deps, name, 'add', '[1]', true))
  const after = Math.round(clock.monotonic() - next)
  sandbox.endSession(tenantOf(name), SESSION)
  return { outcome, ms, after }
}

function callOf({ clock }: ProbeDeps, tenant: string, name: string, input: string, verified: boolean): SandboxCall {
  const tenantId = tenantOf(tenant)
  const hostile = name !== 'add'
  return {
    tenantId,
    sessionId: SESSION,
    skill: { digest: 'doctor', entry: 'dist/index.js', files: new Map([['dist/index.js', CODE]]), verified },
    export: name,
    input,
    limits: { cpuMs: hostile ? CPU_MS : 5000, wallMs: hostile ? WALL_MS : 20_000, memoryMb: 64, hostCalls: 0 },
    session: { id: SESSION, tenantId, step: name, attempt: 1, effectKey: `${SESSION}:${name}` },
    time: clock.now(),
    seed: 'doctor',
    capabilities: []
  }
}
