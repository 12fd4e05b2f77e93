// The sandbox beside isolated-vm in the same process, same run, rounds interleaved. `node bench/sandbox.ts [rounds]`
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import ivm from 'isolated-vm'
import { systemClock } from '#core/clock.ts'
import { Sandbox, type SandboxCall } from '#sandbox/index.ts'

const HANDLER =
  'export function run(input) { let sum = 0; for (const n of input.numbers) sum += n; return { ...input, sum } }'
const INPUT = JSON.stringify({ numbers: Array.from({ length: 150 }, (_, i) => i * 7), note: 'x'.repeat(400) })
const ROUND_MS = 500

if (process.argv[2] === 'echo') {
  process.send?.('ready')
  process.exit()
}

const rounds = Number(process.argv[2] ?? 7)
const box = new Sandbox({ clock: systemClock, recycleAfter: 1e9 })
const cold = new Sandbox({ clock: systemClock, spareCells: 0, maxCells: 2 })
await box.warm('jit')
await cold.ready()
process.stdout.write(`isolation ${JSON.stringify(box.status().isolation)}\n`)

let unique = 0
function call(verified: boolean, tenantId: string, sessionId: string): SandboxCall {
  return {
    tenantId,
    sessionId,
    skill: { digest: 'bench', entry: 'dist/index.js', files: new Map([['dist/index.js', HANDLER]]), verified },
    export: 'run',
    input: INPUT,
    limits: { cpuMs: 1000, wallMs: 5000, memoryMb: 32, hostCalls: 0 },
    session: { id: sessionId, tenantId, step: 's', attempt: 1, effectKey: 'k' },
    time: 0,
    seed: 's',
    capabilities: []
  }
}

async function perSecond(concurrency: number, once: () => unknown): Promise<number> {
  const started = performance.now()
  let done = 0
  const work = async () => {
    while (performance.now() - started < ROUND_MS) {
      await once()
      done++
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  return (done * 1000) / (performance.now() - started)
}

async function inProcess() {
  const isolate = new ivm.Isolate({ memoryLimit: 32 })
  const context = await isolate.createContext()
  const source = `${HANDLER.replace('export ', '')}; globalThis.plain = (text) => JSON.stringify(run(JSON.parse(text))); globalThis.later = async (text) => plain(text)`
  await context.eval(source)
  const plain = await context.global.get('plain', { reference: true })
  const later = await context.global.get('later', { reference: true })
  return {
    sync: () => plain.applySync(undefined, [INPUT], { timeout: 1000 }),
    async: () => later.apply(undefined, [INPUT], { timeout: 1000, result: { promise: true } }),
    dispose: () => isolate.dispose()
  }
}

async function fresh(): Promise<void> {
  const { async: once, dispose } = await inProcess()
  await once()
  dispose()
}

function forked(): Promise<void> {
  return new Promise((resolve) => {
    fork(fileURLToPath(import.meta.url), ['echo']).once('exit', () => resolve())
  })
}

const warm = await inProcess()
const many = await Promise.all(Array.from({ length: 16 }, inProcess))
const sessions = Array.from({ length: 16 }, (_, i) => `warm-${i}`)
let turn = 0
const next = (verified: boolean) => box.run(call(verified, 'warm', sessions[turn++ % 16] ?? ''))
const contenders: [string, () => Promise<number>][] = [
  ['in process, applySync + timeout            calls/s', () => perSecond(1, warm.sync)],
  ['in process, async apply, 16 at once        calls/s', () => perSecond(16, warm.async)],
  ['in process, 16 isolates, 16 at once        calls/s', () => perSecond(16, () => many[turn++ % 16]?.async())],
  ['cell, JIT, 16 at once                      calls/s', () => perSecond(16, () => next(true))],
  ['cell, JIT, one at a time                   calls/s', () => perSecond(1, () => next(true))],
  ['cell, jitless, 16 at once                  calls/s', () => perSecond(16, () => next(false))],
  ['new isolate per call, in process, 4 at once calls/s', () => perSecond(4, fresh)],
  [
    'new session per call, cell, JIT, 4 at once  calls/s',
    () => perSecond(4, () => box.run(call(true, 'new', `n${++unique}`)))
  ],
  [
    'new session per call, jitless, 4 at once    calls/s',
    () => perSecond(4, () => box.run(call(false, 'new', `n${++unique}`)))
  ],
  ['fork per call, one at a time               calls/s', () => perSecond(1, forked)],
  ['new tenant -> first result, no spare            ms', () => first(cold)],
  ['new tenant -> first result, warm spare          ms', () => spare()]
]

async function first(sandbox: Sandbox): Promise<number> {
  const started = performance.now()
  await sandbox.run(call(true, `t${++unique}`, 's'))
  return performance.now() - started
}

async function spare(): Promise<number> {
  while (!box.status().cells.some((cell) => cell.tenantId === null && cell.kind === 'jit' && cell.rssMb > 0))
    await new Promise((resolve) => setTimeout(resolve, 20))
  await new Promise((resolve) => setTimeout(resolve, 200))
  return first(box)
}

const results = new Map<string, number[]>()
for (let round = 0; round <= rounds; round++) {
  for (const [name, run] of contenders) {
    const value = await run()
    if (round > 0) results.set(name, [...(results.get(name) ?? []), value]) // round 0 warms up
  }
}
const median = (name: string): number => {
  const sorted = [...(results.get(name) ?? [])].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}
for (const [name, values] of results) {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(Math.round)
  process.stdout.write(`${name}  ${Math.round(median(name))}  (${low}-${high})\n`)
}
const at = (index: number) => median(contenders[index]?.[0] ?? '')
const ratio = (what: string, a: number, b: number) => process.stdout.write(`${what}: ${(at(a) / at(b)).toFixed(2)}x\n`)
ratio('warm JIT cell / async in process, one isolate', 3, 1)
ratio('warm JIT cell / async in process, an isolate per session as in the cell', 3, 2)
ratio('warm JIT cell / applySync in process', 3, 0)
ratio('warm jitless cell / warm JIT cell', 5, 3)
ratio('new session in a cell / new isolate in process', 7, 6)
ratio('new session in a cell / fork per call', 7, 9)
for (const one of [warm, ...many]) one.dispose()
await Promise.all([box.close(), cold.close()])
