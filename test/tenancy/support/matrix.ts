import { Readable, Writable } from 'node:stream'
import postgres from 'postgres'
import { must } from '#core/must.ts'
import { type Role, roles, type Table } from './catalogue.ts'
import { type Cell, denied, mayAsk, type Outcome } from './cell.ts'
import { cellsOf } from './cells.ts'
import {
  type Context,
  contexts,
  contextsOf,
  forgeries,
  isMember,
  isTenant,
  nobody,
  sample,
  settingOf
} from './contexts.ts'
import { erasingCells } from './erasing-cells.ts'
import type { Session } from './full-db.ts'
import { type Seeded, tenantOf } from './seed.ts'

export interface Report {
  cells: number
  /** Byte comparisons of the rows of everybody else, made by the superuser. */
  comparisons: number
  faults: string[]
}

/** Once per connection: a digest of every row that is not of the given tenant. */
export async function prepareDigest(sql: Session, tables: readonly Table[]): Promise<void> {
  const parts = tables.map((table) => {
    const tenant = tenantOf(table)
    const where = tenant === null ? 'true' : `${tenant} is distinct from $1`
    return `select '${table.name}' || t::text as line from ${table.name} t where ${where}`
  })
  await sql.unsafe(`prepare others_rows (uuid) as
    select md5(coalesce(string_agg(line, e'\\n' order by line collate "C"), '')) as digest from (${parts.join(' union all ')}) lines`)
}

/**
 * Every cell of one table, role and context, in savepoints of the open transaction: nothing stays. The superuser takes on
 * the role and, before each savepoint is rolled back, compares what was not the tenant's to change.
 * @param table as declared in the untouched schema
 * @param forgery which one, in the context `forged`
 */
export async function runGroup(
  sql: Session,
  seeded: Seeded,
  table: Table,
  role: Role,
  context: Context,
  forgery?: number
): Promise<Report> {
  const { me, other } = contexts[context]
  const asker = {
    me: role === 'authenticated' && !isMember(context) ? nobody : me,
    other,
    shared: role !== 'authenticated'
  }
  const report: Report = { cells: 0, comparisons: 0, faults: [] }
  const ask = (text: string) => sql.unsafe(text).then(done, failed)
  const before: Promise<unknown>[] = [ask('savepoint around')]
  const setting = settingOf(seeded, table, role, context, forgery)
  if (setting !== undefined) before.push(ask(setting))
  const compared = isTenant(context) ? me : nobody
  const whole = sql.unsafe<{ digest: string }[]>(`execute others_rows ('${compared}')`)
  const tenant = tenantOf(table)
  const [where, ctids] = [tenant === null ? 'true' : `${tenant} = '${other}'`, [] as string[]]
  for (const row of await sql.unsafe(`select ctid::text as ctid from ${table.name} where ${where}`))
    ctids.push(row.ctid)
  await Promise.all(before)
  const digest = (await whole)[0]?.digest

  const cells = context === 'erasing' ? erasingCells(table, asker) : cellsOf(seeded, table, asker, ctids)
  const expected = await Promise.all(cells.map((cell) => expectation(sql, cell, table, role, context)))
  await ask(`set local session authorization ${role}`)
  const run = async (cell: Cell, i: number) => {
    const { actual, after } = await attempt(sql, cell, compared, role === 'agentos_app' || context === 'erasing')
    report.cells++
    if (after !== undefined) report.comparisons++
    const name = `${table.name} | ${role} | ${context} | ${cell.verb}`
    if (actual !== expected[i] && !(expected[i] === 'any' && typeof actual === 'number')) {
      report.faults.push(`${name}: expected ${expected[i]}, got ${actual}`)
    } else if (
      after !== undefined &&
      after !== digest &&
      !(context === 'erasing' && table.declared[role].has('delete'))
    )
      report.faults.push(`${name}: rows of others changed`)
  }
  // All on their way at once; COPY takes the connection for itself.
  await Promise.all(cells.map((cell, i) => (cell.copy === undefined ? run(cell, i) : undefined)))
  for (const [i, cell] of cells.entries()) if (cell.copy !== undefined) await run(cell, i)
  await ask('rollback to around')
  return report
}

async function expectation(sql: Session, cell: Cell, table: Table, role: Role, context: Context): Promise<Outcome> {
  const may = mayAsk(cell, table, role)
  if (may === false) return '42501'
  // A merge stops at a row that it may see and not delete, where a delete passes it by.
  if (may === 'erasing') return cell.verb.startsWith('merge') && table.declared[role].has('select') ? '42501' : 0
  if (!cell.always) {
    if (role === 'agentos_app' && !isTenant(context)) return '42501'
    // auth.uid() of what is no user id, as on Supabase.
    if (role === 'authenticated' && context === 'garbage' && !('outcome' in cell.app && cell.app.outcome === denied))
      return '22P02'
  }
  if (role === 'agentos_system' && cell.system !== undefined) return cell.system
  const narrowed = role !== 'agentos_system' || context === 'erasing'
  if (narrowed && 'outcome' in cell.app) return cell.app.outcome
  const text = narrowed && 'twin' in cell.app ? cell.app.twin : cell.sql
  const { copy: copied, ...plain } = { ...cell, sql: text }
  // COPY of a table under row level security reads that table only, not its partitions.
  if (copied && role === 'agentos_system')
    plain.sql = `select * from ${cell.sql.startsWith('copy (') ? '' : 'only'} ${table.name}`
  return (await attempt(sql, plain, nobody, false)).actual
}

// Sent together and answered in order: one statement between its savepoint and the way back.
async function attempt(sql: Session, cell: Pick<Cell, 'sql' | 'value' | 'copy'>, compared: string, compare: boolean) {
  const ignore = (query: PromiseLike<unknown>) => void query.then(done, failed)
  ignore(sql.unsafe('savepoint cell'))
  const actual =
    cell.copy === undefined ? sql.unsafe(cell.sql).then((rows) => countOf(rows, cell.value), failed) : copy(sql, cell)
  if (cell.copy !== undefined) await actual
  let after: Promise<string | undefined> = Promise.resolve(undefined)
  if (compare) {
    ignore(sql.unsafe('set local session authorization default'))
    after = sql.unsafe<{ digest: string }[]>(`execute others_rows ('${compared}')`).then(
      (rows) => rows[0]?.digest,
      () => undefined
    )
  }
  const back = sql.unsafe('rollback to cell').then(done, failed)
  const result = { actual: await actual, after: await after }
  await back
  return result
}

function countOf(rows: unknown, value = false): Outcome {
  const last = Array.isArray(rows) && Array.isArray(rows[0]) && 'count' in rows[0] ? rows.at(-1) : rows
  if (value) return Number(last?.[0]?.n)
  return Number(last?.count ?? last?.length ?? 0)
}

// postgres.js gives out the stream of a COPY before it knows whether the server goes through with it, and an error that
// follows at once would meet no listener: they are attached where the query resolves.
function copy(sql: Session, cell: Pick<Cell, 'sql' | 'copy'>): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const end = (error: unknown) => {
      try {
        resolve(failed(error))
      } catch (thrown) {
        reject(thrown)
      }
    }
    const query = sql.unsafe(cell.sql)
    const held = query as unknown as { resolve(value: unknown): void }
    const given = held.resolve
    held.resolve = (value) => {
      if (value instanceof Readable) {
        let text = ''
        value.on('data', (chunk) => {
          text += String(chunk)
        })
        value.on('error', end).on('end', () => resolve(text.split('\n').length - 1))
      } else if (value instanceof Writable) {
        value.on('error', end).end(() => resolve(0))
      }
      given.call(query, value)
    }
    query.then(done, end)
  })
}

const done = () => 'done'

function failed(error: unknown): string {
  if (error instanceof postgres.PostgresError) return error.code
  throw error
}

/** The matrix, whole or as `seed` says. `fresh` has never had a tenant, `sql` had one before: '' is what such a connection is left with. */
export async function runMatrix(
  sessions: { fresh: Session; sql: Session },
  seeded: Seeded,
  seed?: number
): Promise<Report> {
  const reports: Report[] = []
  for (const [name, sql] of Object.entries(sessions)) {
    await prepareDigest(sql, seeded.tables)
    await sql.unsafe('begin')
    for (const [place, table] of seeded.tables.entries()) {
      for (const role of roles) {
        const chosen = seed === undefined ? contextsOf(role) : sample(seed, place, table, role)
        const mine = chosen.filter((context) => (context === 'none') === (name === 'fresh'))
        for (const context of mine) reports.push(await runGroup(sql, seeded, table, role, context))
      }
    }
    if (name === 'sql') for (const report of await everyForgery(sql, seeded, seed ?? 0)) reports.push(report)
    await sql.unsafe('rollback')
  }
  return sum(reports)
}

// In every run, on one table of a tenant, which is another one each time.
async function everyForgery(sql: Session, seeded: Seeded, seed: number): Promise<Report[]> {
  const open = seeded.tables.filter((table) => table.declared.agentos_app.has('select') && tenantOf(table) !== null)
  const table = must(open[seed % open.length], 'a table of agentos_app')
  const reports: Report[] = []
  for (const forgery of forgeries.keys())
    reports.push(await runGroup(sql, seeded, table, 'agentos_app', 'forged', forgery))
  return reports
}

export function sum(reports: readonly Report[]): Report {
  return {
    cells: reports.reduce((total, { cells }) => total + cells, 0),
    comparisons: reports.reduce((total, { comparisons }) => total + comparisons, 0),
    faults: reports.flatMap(({ faults }) => faults)
  }
}
