// npm run bench -- [sessions] [startup] [sandbox] [rls] [bus] [--rounds 7] [--quick] [--json] [--proof]; all but bus by default.
// Ours and the peers on one PostgreSQL, in turn, round by round. Only the ratios of one run count: machines differ.
import { spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Contender, enter } from './contender.ts'
import { type BenchDatabase, benchDatabase } from './database.ts'
import { type Facts, jsonReport, markdownReport, type Outcome, textReport } from './report.ts'
import { measureStartUp, type StartUp } from './startup.ts'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '7' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    proof: { type: 'boolean', default: false }
  }
})

/** One line of the table: which contender does what, and how much of it in one round (about a second's work). */
const lines = [
  {
    key: 'sessions.one',
    what: 'agentos: sessions, admitted one by one',
    file: './sessions.ts',
    measure: 'one',
    size: 1500
  },
  { key: 'dbos.one', what: 'DBOS: 1-step workflows, awaited', file: './dbos.ts', measure: 'one', size: 800 },
  {
    key: 'dbos.started',
    what: 'DBOS: the same, started without awaiting',
    file: './dbos.ts',
    measure: 'started',
    size: 800
  },
  {
    key: 'sessions.fifty',
    what: 'agentos: sessions, admitted 50 at a time',
    file: './sessions.ts',
    measure: 'fifty',
    size: 2000
  },
  { key: 'graphile.run', what: 'graphile-worker: waiting jobs', file: './graphile.ts', measure: 'run', size: 2000 },
  {
    key: 'graphile.one',
    what: 'graphile-worker: jobs added one by one',
    file: './graphile.ts',
    measure: 'one',
    size: 1000
  },
  {
    key: 'sessions.latency',
    what: 'agentos: admit -> step, idle',
    file: './sessions.ts',
    measure: 'latency',
    size: 30
  },
  {
    key: 'graphile.latency',
    what: 'graphile-worker: add -> task, idle',
    file: './graphile.ts',
    measure: 'latency',
    size: 30
  }
] as const

const rounds = flags.quick ? 2 : Math.max(1, Number(flags.rounds))
const shrink = flags.quick ? 0.2 : 1
const parts = positionals.length > 0 ? positionals : ['sessions', 'startup', 'sandbox', 'rls']
const say = (line: string) => process.stderr.write(`${line}\n`)

const database = await benchDatabase(process.env.DATABASE_URL)
try {
  const facts = factsOf(database)
  say(`${facts.cores} cores, node ${facts.node}, PostgreSQL ${facts.postgres}; ${rounds} rounds`)
  const raced: Outcome['lines'] = parts.includes('sessions') ? await race(database) : new Map()
  const outcome: Outcome = { facts, rounds, lines: raced, startUp: parts.includes('startup') ? await startUps() : [] }
  process.stdout.write(flags.json ? jsonReport(outcome) : textReport(outcome))
  if (flags.proof) await writeProof(markdownReport(outcome))
} finally {
  await database.end()
}
if (parts.includes('sandbox'))
  alone(
    './sandbox.ts',
    `--rounds=${rounds}`,
    ...(['quick', 'proof'] as const).filter((on) => flags[on]).map((on) => `--${on}`)
  )
if (parts.includes('rls')) alone('./rls.ts', String(rounds))
if (parts.includes('bus')) alone('./bus.ts')

async function writeProof(text: string): Promise<void> {
  const file = new URL('../docs/proofs/bench.md', import.meta.url)
  await mkdir(new URL('./', file), { recursive: true })
  await writeFile(file, text)
}

// These print tables of their own: their contenders share no database with the others.
function alone(file: string, ...args: string[]): void {
  const script = fileURLToPath(new URL(file, import.meta.url))
  spawnSync(process.execPath, [script, ...args], { stdio: flags.json ? ['ignore', 2, 2] : 'inherit' })
}

async function race(stage: BenchDatabase): Promise<Outcome['lines']> {
  const contenders = new Map<string, Contender>()
  const measured = new Map<string, { what: string; values: number[][] }>()
  try {
    for (const { file } of lines) {
      if (contenders.has(file)) continue
      contenders.set(file, await enter(file, await stage.make(file.replaceAll(/\W|ts$/g, ''))))
    }
    for (let round = 0; round <= rounds; round++) {
      for (const { key, what, file, measure, size } of lines) {
        const value = (await contenders.get(file)?.measure(measure, atLeast(size * shrink))) ?? []
        if (round === 0)
          measured.set(key, { what, values: [] }) // warms up: connections, plans, compiled code
        else measured.get(key)?.values.push([value].flat())
      }
      say(round === 0 ? 'warm' : `round ${round}`)
    }
    return measured
  } finally {
    for (const contender of contenders.values()) await contender.end()
  }
}

/** Whole transactions of 50. */
function atLeast(size: number): number {
  return size < 50 ? Math.ceil(size) : Math.ceil(size / 50) * 50
}

async function startUps(): Promise<StartUp[]> {
  const all: StartUp[] = []
  for (let n = 0; n < Math.min(rounds, 3); n++) all.push(await measureStartUp())
  return all
}

function factsOf({ version, settings, embedded }: BenchDatabase): Facts {
  const [cpu] = cpus()
  return {
    cores: cpus().length,
    cpu: cpu?.model.trim() ?? 'unknown',
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    postgres: `${version} (${embedded ? 'embedded' : 'given'}; ${settings})`,
    date: new Date().toISOString().slice(0, 10)
  }
}
