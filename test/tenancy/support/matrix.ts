import { Readable, Writable } from 'node:stream'
import postgres from 'postgres'
import { settingsSql, sign } from '#test/support/signed.ts'
import { type Role, roles, type Table } from './catalogue.ts'
import { type Cell, cellsOf, erasingCells, mayAsk, type Outcome } from './cells.ts'
import type { Session } from './full-db.ts'
import { absentTenant, type Seeded, tenantA, tenantB, tenantOf } from './seed.ts'

/** Whose rows are "own" and whose are "theirs"; `forged` and `erasing` are of one role alone. */
export const contexts = {
  none: { me: tenantA, other: tenantB },
  empty: { me: tenantA, other: tenantB },
  garbage: { me: tenantA, other: tenantB },
  unsigned: { me: tenantA, other: tenantB },
  forged: { me: tenantA, other: tenantB },
  own: { me: tenantA, other: tenantB },
  foreign: { me: tenantB, other: tenantA },
  absent: { me: absentTenant, other: tenantB },
  erasing: { me: tenantA, other: tenantB }
} as const
export type Context = keyof typeof contexts

const appOnly: readonly Context[] = ['unsigned', 'forged']

/** The contexts in which a role asks. */
export function contextsOf(role: Role): Context[] {
  return (Object.keys(contexts) as Context[]).filter(
    (context) =>
      (role === 'agentos_app' || !appOnly.includes(context)) && (role === 'agentos_system' || context !== 'erasing')
  )
}

export interface Report {
  cells: number
  /** Byte comparisons of the rows of everybody else, made by the superuser. */
  comparisons: number
  faults: string[]
}

const denied = '42501'
const nobody = '00000000-0000-0000-0000-000000000001'

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
 */
export async function runGroup(
  sql: Session,
  seeded: Seeded,
  table: Table,
  role: Role,
  context: Context
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
  const setting = settingOf(seeded, table, role, context)
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

const isTenant = (context: Context) => ['own', 'foreign', 'absent', 'erasing'].includes(context)
const isMember = (context: Context) => context === 'own' || context === 'foreign'

/** What the transaction says of itself. agentos_system gets what agentos_app does: it must make no difference. */
function settingOf(seeded: Seeded, table: Table, role: Role, context: Context): string | undefined {
  const { me, other } = contexts[context]
  if (context === 'none') return undefined
  if (context === 'erasing') return erase(me, other)
  if (role === 'authenticated') return settingsSql({ claims: claimsOf(seeded, context, me) })
  const own = sign({ tenantId: me })
  if (context === 'empty') return settingsSql({ ...own, tenant: '' })
  if (context === 'garbage') return settingsSql({ ...own, tenant: `${me}' or true --` })
  if (context === 'unsigned') return settingsSql({ ...own, signature: '' })
  if (context !== 'forged') return settingsSql(own)
  const theirs = sign({ tenantId: other })
  const forged = [
    { ...own, tenant: other },
    { ...own, signature: theirs.signature },
    { ...own, user: seededUser(seeded, me) },
    { ...own, claims: own.claims.replace('}', ',"role":"owner"}') },
    { ...own, signature: `${own.signature.slice(0, -1)}${own.signature.endsWith('0') ? '1' : '0'}` },
    { ...own, signature: own.signature.toUpperCase() }
  ]
  // In turn over the tables: each of them all would be six times the time.
  return settingsSql(forged[seeded.tables.indexOf(table) % forged.length] ?? own)
}

function claimsOf(seeded: Seeded, context: Context, tenantId: string): string {
  if (context === 'empty') return ''
  if (context === 'garbage') return `{"sub": "' or true --"}`
  return JSON.stringify({ sub: isMember(context) ? seededUser(seeded, tenantId) : nobody, role: 'authenticated' })
}

/** The user id of a seeded member. */
function seededUser(seeded: Seeded, tenantId: string): string {
  const [row] = seeded.rows.get('core.member')?.get(tenantId) ?? []
  return row?.user_id?.replaceAll("'", '') ?? nobody
}

// One tenant's time is over, the other one's is to come.
function erase(now: string, later: string): string {
  return `update core.tenants set suspended_at = now(), suspended_by = 'deletion', erase_by = 'owner',
    erase_at = now() + case tenant_id when '${now}' then interval '-1 s' else interval '1 h' end
    where tenant_id in ('${now}', '${later}')`
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

/**
 * The contexts of one table that a run in CI looks at: each that shows rows, and by `seed` some of those in which all is
 * refused or nothing differs.
 */
export function sample(seed: number, place: number, table: Table, role: Role): Context[] {
  const some = (count: number, from: readonly Context[]) =>
    from.filter((_, i) => (i - ((seed + place) % from.length) + from.length) % from.length < count)
  if (role === 'agentos_system')
    return ['erasing', ...some(1, ['none', 'empty', 'garbage', 'own', 'foreign', 'absent'])]
  if (role === 'authenticated') {
    const others = ['none', 'empty', 'garbage', 'foreign', 'absent'] as const
    return table.declared.authenticated.size > 0 ? ['own', ...some(2, others)] : some(1, others)
  }
  return ['own', 'foreign', ...some(2, ['none', 'empty', 'unsigned', 'garbage', 'forged', 'absent'])]
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
    await sql.unsafe('rollback')
  }
  return sum(reports)
}

export function sum(reports: readonly Report[]): Report {
  return {
    cells: reports.reduce((total, { cells }) => total + cells, 0),
    comparisons: reports.reduce((total, { comparisons }) => total + comparisons, 0),
    faults: reports.flatMap(({ faults }) => faults)
  }
}
