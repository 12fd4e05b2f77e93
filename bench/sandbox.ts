// node bench/sandbox.ts [--rounds 7] [--quick] [--proof] [--only cell,workerd]: the sandbox beside what people use instead, in one run, in turn,
// round by round. Only ratios count: machines differ, and this one may be shared.
import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { HEAVY, quiet } from './sandbox/fairness.ts'
import { perSecond } from './sandbox/handler.ts'
import { memory } from './sandbox/memory.ts'
import { call, open, spareReady } from './sandbox/ours.ts'
import { forks, freshIsolatedVm, isolatedVm, quickJs, workerd } from './sandbox/peers.ts'
import { recoveries } from './sandbox/recovery.ts'
import { type Goal, goals, type Lines, lineOf } from './sandbox/report.ts'

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    quick: { type: 'boolean', default: false },
    proof: { type: 'boolean', default: false },
    only: { type: 'string' }
  }
})
const rounds = flags.quick ? 2 : Math.max(1, Number(flags.rounds))
const roundMs = flags.quick ? 200 : 500
const say = (line: string) => process.stdout.write(`${line}\n`)

const box = await open({ queuePerTenant: 2000 })
// Every death has a tenant of its own; their idle cells would take the place of the spare.
const mortals = await open({ idleMs: 3000, maxCells: 40 })
const inProcess = await isolatedVm()
const isolates = await Promise.all(Array.from({ length: 16 }, isolatedVm))
const quickjs = await quickJs()
const warmWorker = await workerd('warm')
const forked = await forks()
say(`${cpus().length} cores, node ${process.versions.node}, ${rounds} rounds in turn after one to warm up`)
say(`isolation ${JSON.stringify(box.status().isolation)}\n`)

let turn = 0
const warm = (verified: boolean) => box.run(call({ verified }))
const sixteen = () => box.run(call({ sessionId: `warm-${turn++ % 16}` }))
const isolateInTurn = () => isolates[turn++ % 16]?.once()
const fresh = (verified: boolean) => box.run(call({ verified, tenantId: 'new', sessionId: `new-${turn++}` }))

/** Values per round: one per second, or one per call in ms. */
const contenders: Record<string, { what: string; unit: '/s' | 'ms'; run: () => Promise<number[]> }> = {
  cell: { what: 'cell, JIT, 16 at once', unit: '/s', run: () => rate(16, () => warm(true)) },
  isolatedVm: { what: 'isolated-vm in process', unit: '/s', run: () => rate(1, inProcess.once) },
  workerd: { what: 'workerd, HTTP keep-alive, 16 at once', unit: '/s', run: () => rate(16, warmWorker.once) },
  quickjs: { what: 'quickjs-emscripten in process', unit: '/s', run: () => rate(1, quickjs.once) },
  sessions: { what: 'cell, JIT, 16 sessions in turn', unit: '/s', run: () => rate(16, sixteen) },
  isolates: { what: 'isolated-vm in process, 16 isolates in turn', unit: '/s', run: () => rate(1, isolateInTurn) },
  jitless: { what: 'cell, jitless, 16 at once', unit: '/s', run: () => rate(16, () => warm(false)) },
  one: { what: 'cell, JIT, one at a time', unit: '/s', run: () => rate(1, () => warm(true)) },
  fresh: { what: 'new session, cell, JIT, 4 at once', unit: '/s', run: () => rate(4, () => fresh(true)) },
  loader: { what: 'new isolate, workerd Worker Loader, 4 at once', unit: '/s', run: loader },
  freshVm: { what: 'new isolate, isolated-vm in process', unit: '/s', run: () => rate(1, freshIsolatedVm) },
  freshJitless: { what: 'new session, cell, jitless, 4 at once', unit: '/s', run: () => rate(4, () => fresh(false)) },
  fork: { what: 'fork per call, 2 at once', unit: '/s', run: () => rate(2, forked.once) },
  alone: { what: 'a quiet tenant alone', unit: 'ms', run: () => quiet(box, quietCalls) },
  besideHeavy: {
    what: 'the same beside 1,000 queued heavy calls',
    unit: 'ms',
    run: () => quiet(box, quietCalls, { source: HEAVY })
  },
  besideLight: {
    what: 'the same beside 1,000 queued light calls',
    unit: 'ms',
    run: () => quiet(box, quietCalls, { source: undefined })
  },
  killed: {
    what: 'kill -9 of a cell -> next good result',
    unit: 'ms',
    run: () => recoveries(mortals, 'SIGKILL', deaths)
  },
  hostile: {
    what: 'cell killed by its own call -> the same',
    unit: 'ms',
    run: () => recoveries(mortals, 'hostile', deaths)
  }
}
const quietCalls = flags.quick ? 50 : 120
const deaths = flags.quick ? 3 : 8

async function rate(concurrency: number, once: () => unknown): Promise<number[]> {
  return [await perSecond(concurrency, roundMs, once)]
}

// A process per round: its loaded isolates stay in memory.
async function loader(): Promise<number[]> {
  const peer = await workerd('loader')
  try {
    return await rate(4, peer.once)
  } finally {
    await peer.end()
  }
}

const asked = flags.only?.split(',')
const lines: Lines = new Map()
for (let round = 0; round <= rounds; round++) {
  for (const [key, { what, unit, run }] of Object.entries(contenders)) {
    if (asked && !asked.includes(key)) continue
    await spareReady(box)
    const values = await run()
    const line = lines.get(key) ?? { what, unit, values: [] }
    if (round > 0) line.values.push(values) // round 0 warms up
    lines.set(key, line)
  }
  process.stderr.write(round === 0 ? 'warm\n' : `round ${round}\n`)
}
for (const peer of [inProcess, ...isolates, quickjs, warmWorker, forked]) await peer.end()
await Promise.all([box.close(), mortals.close()])
const used = asked ? undefined : await memory()

const table = [...lines.values()].map(lineOf)
const verdicts: Goal[] = goals(lines, used)
for (const line of table) say(line)
if (used)
  say(
    `\n${used.sessions} sessions of ${used.tenants} tenants: ${used.rssMb} MB RSS, ${used.pssMb} MB PSS; ${used.cells} cells and the engine (${used.engineMb} MB)\n`
  )
for (const { goal, wanted, measured, verdict } of verdicts)
  say(`${goal.padEnd(62)} ${wanted.padStart(10)}  ${measured.padEnd(28)} ${verdict}`)
if (flags.proof) {
  const facts = { cores: cpus().length, cpu: cpus()[0]?.model, node: process.versions.node, rounds }
  const proof = { ...facts, lines: Object.fromEntries(lines), memory: used, goals: verdicts }
  await writeFile(new URL('../docs/proofs/bench-sandbox.json', import.meta.url), `${JSON.stringify(proof, null, 1)}\n`)
}
