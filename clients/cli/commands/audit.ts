import { createReadStream, createWriteStream } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { type Api, reasonOf } from '../api.ts'
import { type FileReport, type Known, verifyFile } from '../audit-file.ts'
import { json, line, paint, plain, type Screen, table } from '../print.ts'
import { Exit, Stop } from '../stop.ts'

interface Entry {
  id: string
  at: string
  action: string
  subject: string
  actor: { kind: string; id: string }
  from: string | null
}

interface Verified {
  ok: boolean
  sealedThrough: number
  entries: number
  unsealed: number
  faults: number
  firstFault: { seq: number | null; what: string } | null
  key: { id: string; publicKey: string }
}

type Start = () => { api: Api; screen: Screen }
interface VerifyOptions {
  key?: string
  since?: string
}
interface Offline {
  screen: Screen
}

const HELP = `
Examples:
  agentos audit list --action 'key.*'     who made and revoked keys, newest first
  agentos audit verify                    does the whole chain still hold? exit code 1 where it does not
  agentos audit verify audit.ndjson       does this export still hold? asks nobody
  agentos audit export -o audit.ndjson    the signed chain, to be kept and verified elsewhere`

const VERIFY_HELP = `
Examples:
  agentos audit verify                    the line to keep: through which row, and by which key
  agentos audit verify audit.ndjson --key "$KEY_ID"
  agentos audit verify --since audit.ndjson     does the chain still go on from where that export ended?
  gunzip < audit.ndjson.gz | agentos audit verify -`

export function addAudit(program: Command, start: Start, offline: () => Offline): void {
  const audit = program
    .command('audit')
    .summary('what was done in this tenant, by whom')
    .description('Reads, verifies and exports the audit log of the tenant. Needs a key with audit:read.')
    .addHelpText('after', HELP)
  addList(audit, start)
  audit
    .command('verify')
    .description(
      'Says whether a row was changed, removed or reordered. Without a file the server walks its chain, and its export is ' +
        'verified here as well; with one nobody is asked.'
    )
    .argument('[file]', 'an export; - for stdin')
    .option('--key <key>', "the server's public key or its id, which `agentos audit verify` shows: trust no other")
    .option(
      '--since <link>',
      'a former export, or the <row>:<hash> that verify showed then: the chain must still hold that row. A chain that ' +
        'was set back to an earlier end is found by nothing else'
    )
    .addHelpText('after', VERIFY_HELP)
    .action((file: string | undefined, options: VerifyOptions) =>
      file === undefined ? verify(start(), options) : verifyOffline(offline(), file, options)
    )
  audit
    .command('export')
    .description('Writes the whole chain as signed lines of JSON, to stdout or to a new file.')
    .option('-o, --output <file>', 'a file that is not there yet (mode 0600)')
    .addHelpText(
      'after',
      '\nExamples:\n  agentos audit export -o audit.ndjson\n  agentos audit export | gzip > audit.ndjson.gz'
    )
    .action(({ output }: { output?: string }) => exportTo(start(), output))
}

function addList(audit: Command, start: Start): void {
  audit
    .command('list')
    .description('What was done, newest first.')
    .option('--action <action>', "an action (key.created) or a family ('key.*')")
    .option('--actor <actor>', 'key, user, skill, rule, operator or system, with :<id> where one is meant')
    .option('--subject <subject>', 'what it was done to, like key:<id>')
    .option('--from <time>', 'rows of this time (ISO 8601) and later')
    .option('--to <time>', 'rows before this time')
    .option('--limit <n>', 'rows, 1 to 200', '50')
    .option('--cursor <cursor>', 'go on where the last list ended')
    .addHelpText(
      'after',
      "\nExamples:\n  agentos audit list --limit 10\n  agentos audit list --action 'member.*' --json"
    )
    .action(async (query: Record<string, string | undefined>) => {
      const { api, screen } = start()
      const page = await api.get<{ data: Entry[]; nextCursor: string | null }>('/v1/audit', { query })
      if (screen.json) return json(screen, page)
      if (page.data.length === 0) return line(screen, 'nothing was done that fits')
      table(
        screen,
        ['AT', 'ACTION', 'SUBJECT', 'BY', 'FROM'],
        page.data.map(({ at, action, subject, actor, from }) => {
          return [at.replace(/\.\d+/, ''), action, subject, `${actor.kind}:${actor.id}`, from ?? '']
        })
      )
      if (page.nextCursor !== null) line(screen, paint(screen, 'dim', `more: --cursor ${plain(page.nextCursor)}`))
    })
}

/** What the server says of its chain, and what its export says here. */
async function verify({ api, screen }: ReturnType<Start>, { key, since }: VerifyOptions): Promise<void> {
  const known = since === undefined ? undefined : await knownLink(since, key)
  const server = await api.get<Verified>('/v1/audit/verify', { query: { ...known }, patienceMs: 600_000 })
  const { body } = await api.ask('/v1/audit/export', { patienceMs: 600_000 })
  const file = await verifyFile(linesOf(bytesOf(body)), key ?? server.key.id, known).catch(brokenOff)
  const faults = [...(server.firstFault ? [server.firstFault] : []), ...file.faults]
  const ok = server.ok && file.ok
  if (screen.json) json(screen, { ...server, ok, export: file })
  else if (ok) {
    const { entries, sealedThrough, unsealed } = server
    line(screen, `ok: ${entries} rows, sealed through ${sealedThrough}, ${unsealed} wait for their seal`)
    line(
      screen,
      `the export holds too: ${file.entries} rows${headOf(file)}, signed by the key ${plain(file.keyId ?? '')}`
    )
  } else failed(screen, Math.max(server.faults, file.faults.length), faults[0]?.what)
  if (!ok) throw new Stop(Exit.failed, '')
}

async function verifyOffline({ screen }: Offline, path: string, { key: trusted, since }: VerifyOptions): Promise<void> {
  const known = since === undefined ? undefined : await knownLink(since, trusted)
  const report = await readExport(path, trusted, known)
  const { ok, entries, sealedThrough, unsealed, keyId, tenantId, faults } = report
  if (screen.json) json(screen, report)
  else if (ok) {
    line(
      screen,
      `ok: ${entries} rows of tenant ${plain(tenantId ?? '')}, sealed through ${sealedThrough}, ${unsealed} not sealed yet and left out`
    )
    const compare = trusted === undefined ? ': compare it with that of agentos audit verify, or give it as --key' : ''
    line(screen, `signed by the key ${plain(keyId ?? '')}${compare}`)
  } else failed(screen, faults.length, faults[0]?.what)
  if (!ok) throw new Stop(Exit.failed, '')
}

async function readExport(path: string, trusted?: string, since?: Known): Promise<FileReport> {
  try {
    return await verifyFile(linesOf(path === '-' ? process.stdin : createReadStream(path)), trusted, since)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error
    throw new Stop(Exit.usage, `${path} cannot be read (${code}): name a file that agentos audit export wrote`)
  }
}

/** `<row>:<hash>`, or where an export ended. @throws Stop for an export that does not hold: it proves nothing */
async function knownLink(since: string, trusted: string | undefined): Promise<Known> {
  const [, seq, hash] = /^([1-9]\d{0,14}):([0-9a-f]{64})$/.exec(since) ?? []
  if (seq !== undefined && hash !== undefined) return { seq: Number(seq), hash }
  const { ok, faults, sealedThrough, hash: last } = await readExport(since, trusted)
  if (!ok) throw new Stop(Exit.failed, `${since} does not hold itself: ${plain(faults[0]?.what ?? '')}`)
  if (last === null) throw new Stop(Exit.usage, `${since} has no row: there is nothing that the chain must still hold`)
  return { seq: sealedThrough, hash: last }
}

/** What to keep for --since. */
function headOf({ sealedThrough, hash }: FileReport): string {
  return hash === null ? '' : ` through ${sealedThrough}:${hash}`
}

function failed(screen: Screen, faults: number, first = 'unknown'): void {
  line(screen, `FAILED: ${faults} ${faults === 1 ? 'fault' : 'faults'}; the first: ${plain(first)}`)
}

function bytesOf(body: Response['body']): Readable {
  return Readable.fromWeb((body ?? new ReadableStream()) as Parameters<typeof Readable.fromWeb>[0])
}

// readline alone loses the error of its input.
async function* linesOf(input: NodeJS.ReadableStream): AsyncGenerator<string> {
  let broken: unknown
  input.on('error', (error) => {
    broken = error
  })
  yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  if (broken !== undefined) throw broken
}

async function exportTo({ api, screen }: ReturnType<Start>, output: string | undefined): Promise<void> {
  const { body } = await api.ask('/v1/audit/export', { patienceMs: 600_000 })
  const lines = bytesOf(body)
  if (output === undefined) {
    await pipeline(lines, screen.stdout, { end: false }).catch(brokenOff)
    return
  }
  try {
    await pipeline(lines, createWriteStream(output, { flags: 'wx', mode: 0o600 }))
  } catch (error) {
    const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST') throw new Stop(Exit.usage, `${output} is there already: name a new file`)
    // Half a chain would look like one whose end was cut off.
    await unlink(output).catch(() => {})
    if (code === undefined) brokenOff(error)
    throw new Stop(Exit.failed, `${output} could not be written (${code}): run it again`)
  }
}

function brokenOff(error: unknown): never {
  throw new Stop(Exit.unreachable, `the server broke off in its export (${plain(reasonOf(error))}): run it again`)
}
