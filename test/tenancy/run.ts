// The whole proof of tenancy: `npm run test:tenancy`. `--proof` writes docs/proofs/tenancy.md from what the files counted,
// `--responses=N` is the size of the canary run.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '#core/clock.ts'
import type { Part } from './support/proof.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

// In the order in which they stand in the proof.
const parts: readonly [file: string, what: string][] = [
  ['lint', 'Rules of `core/db/lint.sql` over the schema of every room; each allowance has a reason and still matches.'],
  [
    'matrix',
    'Every table of pg_catalog x role x what the transaction says of itself (agentos_app: no tenant, empty, garbage, unsigned, wrongly signed, own, another, absent; authenticated: the claims of nobody, garbage, a member, another, a stranger; agentos_system also while a tenant is to be erased) x statement. Each cell expects rows or an SQLSTATE; after each statement that agentos_app gets through, a superuser compares every byte of the rows that were not its own.'
  ],
  [
    'mutation',
    'Each policy dropped or weakened, row level security off or not forced, each right given that was not declared: one at a time, and the lint or the matrix must turn red.'
  ],
  ['strangers', 'Migrations of a stranger that forget about tenants must not boot.'],
  [
    'routes',
    "Every route of the router x identity; another tenant's things are answered like things that are nowhere."
  ],
  [
    'roles',
    'Every route x role of a member, members of another tenant, of two and of none, tokens that are worth nothing any more.'
  ],
  [
    'same-sql',
    "The statements of a request for another tenant's thing and for one that is nowhere: the same, in the same order."
  ],
  ['methods', 'Every method of the WebSocket x identity.'],
  [
    'audit',
    'Every mutating route and WebSocket method is driven; triggers on every table of pg_catalog note what a transaction with an actor writes, and each such transaction has its row in the audit log.'
  ],
  [
    'canary',
    "Tenants at once on few connections, with statements that fail, are cancelled, and connections that are cut: every row holds its tenant's canary."
  ]
]

const dir = await mkdtemp(join(tmpdir(), 'agentos-proof-'))
const [proof, ...others] = process.argv.slice(2).sort((a) => (a === '--proof' ? -1 : 1))
const given = [`--proof=${dir}`, '--whole=1', ...(proof === '--proof' ? others : process.argv.slice(2))]
const files = parts.map(([file]) => `test/${file === 'audit' ? 'audit' : 'tenancy'}/${file}.test.ts`)
const tap = spawn('tap', ['run', '-t1500', '--reporter=terse', ...given.map((arg) => `--test-arg=${arg}`), ...files], {
  cwd: root,
  stdio: 'inherit'
})
const [code] = await once(tap, 'exit')
const counted = await Promise.all(parts.map(async ([file, what]) => ({ what, ...(await read(file)) })))
await rm(dir, { recursive: true })
for (const { part, counts } of counted) console.log(`${part}: ${line(counts)}`)
if (code === 0 && proof === '--proof') {
  const file = join(root, 'docs/proofs/tenancy.md')
  await writeFile(file, document())
}
process.exitCode = code ?? 1

async function read(file: string): Promise<Part> {
  const text = await readFile(join(dir, `${file}.json`), 'utf8').catch(() => undefined)
  return text === undefined ? { part: file, counts: {}, detail: ['did not finish'] } : JSON.parse(text)
}

function line(counts: Part['counts']): string {
  return Object.entries(counts)
    .map(([what, n]) => `${n.toLocaleString('en')} ${what}`)
    .join(', ')
}

function document(): string {
  const sections = counted.map(({ part, what, counts, detail }) =>
    [`## ${part}`, what, `**${line(counts)}**`, ...(detail.length > 0 ? [detail.join('\n')] : [])].join('\n\n')
  )
  const day = new Date(systemClock.now()).toISOString().slice(0, 10)
  return `# Proof of tenancy

Written by \`npm run test:tenancy\` on ${day}, on a real PostgreSQL with the migrations of every room. The same files run in
CI, with fewer responses in the last part.

${sections.join('\n\n')}
`
}
