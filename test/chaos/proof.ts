import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { arch, cpus, platform } from 'node:os'
import { systemClock } from '#core/clock.ts'
import { CRASH_POINTS } from '#core/crash-point.ts'
import { type StormReport, summary } from './storm.ts'

const page = new URL('../../docs/proofs/chaos.md', import.meta.url)

const HEAD = `# Sessions under SIGKILL

Written by \`npm run test:chaos -- --proof\`; \`npm test\` runs a shorter one and a kill at every crash point of every
operation (test/chaos). Server processes over one Postgres; a random one is killed every 1 to 2 seconds, all of them at
once at the end, and in between they kill themselves at named crash points; each is started again at once. Clients repeat
what got no answer. The checker compares the database with what clients were told:

- lost: an acknowledged operation or a recorded step that is not there
- doubled: a session, journal row, checkpoint or event that should be there once
- illegal: a move outside docs/spec/session-machine.json, a gap in a history, an older epoch writing after a newer one
- repeated: a step that was called again after its outcome had been recorded. (A call whose outcome was not recorded yet
  is repeated with the same effect key: recording is exactly once, calls are at least once.)
- stuck: not final 60 s after the last kill
`

/** Writes the run into docs/proofs/chaos.md; a run of the same kind (functions or skills) is replaced. */
export async function writeProof(report: StormReport): Promise<void> {
  const kind = report.options.skills ? 'Sandboxed skills' : 'Functions of the host'
  const old = await readFile(page, 'utf8').catch(() => '')
  const others = old.split(/^(?=## )/m).filter((part) => part.startsWith('## ') && !part.startsWith(`## ${kind}`))
  await mkdir(new URL('./', page), { recursive: true })
  await writeFile(
    page,
    [HEAD, ...[...others, section(kind, report)].sort()]
      .map((part) => part.trimEnd())
      .join('\n\n')
      .concat('\n')
  )
}

function section(kind: string, report: StormReport): string {
  const { nemesis, findings, options } = report
  const table = (rows: [string, unknown][]) => rows.map(([name, value]) => `| ${name} | ${value} |`).join('\n')
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, n]) => `${name} ${n}`)
      .join(', ')
  return `## ${kind} as tools

${summary(report)}

| | |
|---|---|
${table([
  ['run', new Date(systemClock.now()).toISOString().slice(0, 16)],
  ['machine', `${platform()} ${arch()}, ${cpus().length} CPUs, node ${process.version}`],
  [
    'replay',
    `\`npm run test:chaos -- --sessions ${options.sessions} --seconds ${options.seconds} --hosts ${options.hosts} --seed ${options.seed}${options.skills ? ' --skills' : ''}\``
  ],
  ['starts of a host', nemesis.starts],
  ['kills at random', nemesis.kills],
  ...CRASH_POINTS.map((point): [string, unknown] => [`kills at \`${point}\``, nemesis.hits[point] ?? 0]),
  ['what the clients did', list(report.scripts)],
  ['how the sessions ended', list(report.states)],
  ['requests', report.requests],
  ['acknowledged operations', report.acknowledged],
  ['moves recorded', report.transitions],
  ['events', report.events],
  [
    'calls seen by the world',
    options.skills ? 'not counted' : `${report.calls}, of them repeated ${report.repeatedCalls}`
  ],
  ...Object.entries(findings).map(([name, found]): [string, unknown] => [name, found.length]),
  ['settled after the last kill', `${report.settledAfterSeconds.toFixed(1)} s`]
])}
`
}
