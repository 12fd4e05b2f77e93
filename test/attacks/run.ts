// The whole attack corpus: `npm run test:attacks`. Each variant alone in five modes, each class twenty at once beside twenty
// victims; the table goes to docs/sandbox-attacks.md. Exit code 1 when anything was not contained.
// `npm run test:attacks -- 60 61` runs these classes and writes nothing.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import * as attacks from './corpus/index.ts'
import type { AttackClass } from './corpus/types.ts'
import { Arena } from './support/arena.ts'
import { percentile } from './support/percentile.ts'

interface Row {
  attack: AttackClass
  outcomes: Set<string>
  slowestMs: number
  peakMb: number
  crowd: string
  victims: string
}

const modes = [
  { name: 'JIT', verified: true, isolation: {} },
  { name: 'jitless', verified: false, isolation: {} },
  { name: 'JIT, after quick calls', verified: true, warmed: true, isolation: {} },
  { name: 'JIT, no namespaces', verified: true, isolation: { namespaces: false, jail: false } },
  { name: 'jitless, no namespaces', verified: false, isolation: { namespaces: false, jail: false } }
]
const wanted = process.argv.slice(2).map(Number)
const isWanted = ({ id }: AttackClass) => wanted.length === 0 || wanted.includes(id)
const corpus = attacks.corpus.filter(isWanted)
const inSandbox = attacks.inSandbox.filter(isWanted)
const throughPort = attacks.throughPort.filter(isWanted)
const rows = new Map<number, Row>(
  corpus.map((attack) => [attack.id, { attack, outcomes: new Set(), slowestMs: 0, peakMb: 0, crowd: '', victims: '' }])
)
const faults: string[] = []
const rowOf = (attack: AttackClass): Row => rows.get(attack.id) as Row
let runs = 0
let engineMb = 0
let isolation = ''

// Two at once: most of an attack's time is waiting for its end.
const queue = [...modes]
const work = async () => {
  for (let mode = queue.shift(); mode; mode = queue.shift()) {
    const arena = await Arena.open({ isolation: mode.isolation })
    isolation ||= arena.isolation
    await alone(arena, inSandbox, mode)
  }
}
await Promise.all([work(), work()])
for (const mode of modes.slice(0, 2)) await alone(await Arena.openApp(), throughPort, mode)

const calmMs: number[] = []
for (const [arena, classes] of [
  [await Arena.open({ maxCells: 40 }), inSandbox],
  [await Arena.openApp(), throughPort]
] as const) {
  calmMs.push(percentile(await arena.latency(20, 20), 99))
  for (const attack of classes) {
    const report = await arena.crowd(attack, 0, 20, 20)
    const row = rowOf(attack)
    row.crowd = report.outcome
    row.victims = `${percentile(report.latencyMs, 50)} / ${percentile(report.latencyMs, 99)}`
    note(`${attack.id} twenty at once`, report.faults)
  }
  engineMb = Math.max(engineMb, arena.engineMb)
  note('twenty at once: processes left', (await arena.close()).map(String))
}

const file = fileURLToPath(new URL('../../docs/sandbox-attacks.md', import.meta.url))
if (wanted.length === 0) {
  writeFileSync(file, document())
  execFileSync('biome', ['format', '--write', file], { stdio: 'ignore' }) // npm has it in the PATH
} else console.log(document())
console.log(`${runs} runs, ${faults.length} not contained`)
process.exitCode = faults.length > 0 ? 1 : 0

function note(what: string, found: readonly string[]): void {
  for (const fault of found) {
    faults.push(`${what}: ${fault}`)
    console.error(`NOT CONTAINED ${what}: ${fault}`)
  }
}

function document(): string {
  const ran = [...rows.values()]
  const line = ({ attack, outcomes, slowestMs, peakMb, crowd, victims }: Row) =>
    `| ${attack.id} | ${attack.title} | ${attack.variants.length} | ${[...outcomes].sort().join(' ')} | ${slowestMs} | ${peakMb} | ${crowd} | ${victims} |`
  return `# The sandbox under attack

Written by \`npm run test:attacks\`; not to be edited. The classes are numbered as in our list of threats, the sources are in [test/attacks/corpus](../test/attacks/corpus).

- ${ran.length} classes with ${ran.reduce((sum, { attack }) => sum + attack.variants.length, 0)} variants; each alone in ${modes.map(({ name }) => name).join('; ')} (those through capabilities, ${throughPort.map(({ id }) => id).join(', ')}, on a whole app in the first two): ${runs} runs. Then the first variant of each class twenty at once from four tenants, beside twenty victims of other tenants.
- Not contained: **${faults.length}**.${faults.map((fault) => `\n  - ${fault}`).join('')}
- An oracle in another process watched by /proc: the outcome is one of those that the class allows; no more CPU is billed than the budget and what its end took; of effects and refusals through capabilities the audit rows are there, in their tenant; nothing that came out shows the host; afterwards no thread works; no process is left; a bystander's isolate lives on; the attacker is served again. With victims: each kept its isolate through all of its calls.
- Slowest ms is wall time of a call with 300 ms of CPU, 900 ms of wall time and 250 ms of grace; peak MB is the largest resident memory of one cell, with 64 MB per isolate and a kill above 512 MB (polled every 50 ms). The engine itself reached ${engineMb} MB.
- Victims p50 / p99 ms beside the attack; ${calmMs.join(' and ')} ms is their p99 without one, in a sandbox alone and in an app. Twenty attackers want all of the CPU for as long as their budgets last, of which each tenant has its share. The machine (${cpus().length} cores, Linux ${release()}, Node ${process.version}) was shared: times are for orientation.
- Isolation of the first three modes: \`${isolation}\`

| class | what | variants | outcomes alone | slowest ms | peak MB | outcomes 20 at once | victims p50 / p99 ms |
| --- | --- | --- | --- | --- | --- | --- | --- |
${ran.map(line).join('\n')}
`
}

async function alone(arena: Arena, classes: readonly AttackClass[], mode: (typeof modes)[number]): Promise<void> {
  for (const attack of classes) {
    const row = rowOf(attack)
    for (const [index, variant] of attack.variants.entries()) {
      const report = await arena.alone(attack, index, mode)
      runs++
      row.outcomes.add(report.outcome)
      row.slowestMs = Math.max(row.slowestMs, report.ms)
      row.peakMb = Math.max(row.peakMb, report.peakMb)
      note(`${attack.id} ${variant.name} (${mode.name})`, report.faults)
    }
  }
  engineMb = Math.max(engineMb, arena.engineMb)
  note(`${mode.name}: processes left`, (await arena.close()).map(String))
  console.log(`${mode.name}, ${classes.length} classes: done`)
}
