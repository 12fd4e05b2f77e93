import type { Role, Table, Verb } from './catalogue.ts'
import { insertOf, makeRow, overrideOf, type Row, type Seeded, tenantOf } from './seed.ts'

/** Rows touched or returned, or an SQLSTATE; 'any' number of rows where only the right to ask counts (explain). */
export type Outcome = number | string

export interface Cell {
  verb: string
  sql: string
  /** What the role must have been declared for; else 42501. Each entry: verb, or verb of another table. */
  need: (Verb | [Table, Verb])[]
  /** For agentos_app with a tenant: an outcome, or the same statement narrowed to its tenant, run by the superuser. */
  app: { twin: string } | { outcome: Outcome }
  /** For agentos_system: an outcome; default: what the superuser gets. */
  system?: Outcome
  /** The same in each context of agentos_app, where no row is looked at. */
  always?: boolean
  /** Asks for no column but tenant_id: what is granted for erasing is enough. */
  narrow?: boolean
  /** Counts rows in the answer `n`. */
  value?: boolean
  copy?: 'to' | 'from'
}

const denied = '42501'

export interface Asker {
  me: string
  /** Owns what must not be reached. */
  other: string
  /** Whether rows that are shared (core.isolate_shared) are seen. */
  shared: boolean
}

/** Every statement of the matrix for one table. @param ctids where the rows of `other` lie */
export function cellsOf(seeded: Seeded, table: Table, asker: Asker, ctids: readonly string[]): Cell[] {
  const { me, other } = asker
  const { name, key } = table
  const override = overrideOf(table)
  const tenant = tenantOf(table)
  const mine = tenant === null ? 'false' : `${tenant} = '${me}'`
  const theirs = tenant === null ? 'true' : `${tenant} = '${other}'`
  const readable = (asker.shared && override.readable) || 'false'
  const seen = `(${mine} or ${readable})`
  const touchable = `${mine} and not coalesce(${override.untouchable ?? 'false'}, false)`
  const column = settable(table)
  const set = override.set ?? `${column} = t.${column}`
  const blind = override.set ?? `${column} = null` // reads nothing, so it needs no right to select
  const fresh = (owner: string) => makeRow(seeded, table, tenant === null ? '' : owner, 0)
  const existing = (owner: string): Row => {
    const rows = seeded.rows.get(override.same ?? name)
    return rows?.get(tenant === null ? '' : owner)?.[0] ?? fresh(owner)
  }
  const insertAs = (row: Row) => insertOf(table, row).replace(' (', ' as t (')
  const row = fresh(me)
  const foreign = tenant === null ? fresh('') : fresh(other)
  const target = key.length > 0 ? `(${key.join(', ')})` : ''
  const same = (sql: string): Pick<Cell, 'sql' | 'app'> => ({ sql, app: { twin: sql } })
  const update = `update ${name} as t set ${set}`
  const touched = { twin: `${update} where ${touchable}` }
  const handOver = override.handOver?.(other) ?? `tenant_id = '${other}'`
  const mayHandOver = override.updates === undefined || override.updates.includes(handOver.split(' ', 1)[0] ?? '')

  const cells: Cell[] = [
    {
      verb: 'select',
      sql: `select * from ${name}`,
      need: ['select'],
      app: { twin: `select * from ${name} where ${seen}` }
    },
    {
      verb: 'select theirs',
      sql: `select * from ${name} where ${theirs}`,
      need: ['select'],
      app: { twin: `select * from ${name} where ${theirs} and ${readable}` }
    },
    {
      verb: 'select by ctid',
      sql: `select * from ${name} where ctid = any ('{${ctids.map((ctid) => `"${ctid}"`).join()}}'::tid[])`,
      need: ['select'],
      app: { twin: `select * from ${name} where ${theirs} and ${readable}` }
    },
    {
      verb: 'select for update',
      sql: `select * from ${name} for update`,
      need: ['select', 'update'],
      app: { twin: `select * from ${name} where ${touchable}` }
    },
    {
      verb: 'count',
      sql: `select count(*)::int as n from ${name}`,
      value: true,
      narrow: true,
      need: ['select'],
      app: { twin: `select count(*)::int as n from ${name} where ${seen}` }
    },
    {
      verb: 'row_security off',
      sql: `set local row_security = off; select * from ${name}`,
      need: ['select'],
      app: { outcome: denied },
      system: denied
    },
    {
      verb: 'explain',
      sql: `explain select * from ${name}`,
      need: ['select'],
      app: { outcome: 'any' },
      system: 'any',
      always: true
    },
    {
      verb: 'explain analyze',
      sql: `explain (analyze, timing off) select * from ${name}`,
      need: ['select'],
      app: { outcome: 'any' },
      system: 'any'
    },
    {
      verb: 'copy to',
      sql: `copy ${name} to stdout`,
      copy: 'to',
      need: ['select'],
      app: { twin: `select * from only ${name} where ${seen}` }
    },
    {
      verb: 'copy query to',
      sql: `copy (select * from ${name}) to stdout`,
      copy: 'to',
      need: ['select'],
      app: { twin: `select * from ${name} where ${seen}` }
    },
    {
      verb: 'copy from',
      sql: `copy ${name} from stdin`,
      copy: 'from',
      need: ['insert'],
      app: { outcome: '0A000' },
      system: '0A000',
      always: true
    },
    { verb: 'insert own', ...same(insertOf(table, row)), need: ['insert'] },
    { verb: 'insert own returning', ...same(`${insertOf(table, row)} returning *`), need: ['insert', 'select'] },
    { verb: 'insert theirs', sql: insertOf(table, foreign), need: ['insert'], app: { outcome: denied } },
    {
      verb: 'insert theirs returning',
      sql: `${insertOf(table, foreign)} returning *`,
      need: ['insert', 'select'],
      app: { outcome: denied }
    },
    {
      verb: 'do nothing, own',
      ...same(`${insertOf(table, existing(me))} on conflict do nothing`),
      need: ['insert']
    },
    {
      verb: 'do nothing, theirs',
      sql: `${insertOf(table, existing(other))} on conflict do nothing`,
      need: ['insert'],
      app: { outcome: denied }
    },
    { verb: 'update', sql: update, need: ['select', 'update'], app: touched },
    {
      verb: 'update blind',
      sql: `update ${name} as t set ${blind}`,
      need: ['update'],
      app: { twin: `update ${name} as t set ${blind} where ${touchable}` }
    },
    { verb: 'update returning', sql: `${update} returning *`, need: ['select', 'update'], app: touched },
    { verb: 'update theirs', sql: `${update} where ${theirs}`, need: ['select', 'update'], app: { outcome: 0 } },
    {
      verb: 'merge update',
      sql: `merge into ${name} as t using (select 1) s on ${tenant === null ? 'true' : touchable} when matched then update set ${set}`,
      need: ['select', 'update'],
      app: touched
    },
    {
      verb: 'merge insert theirs',
      sql: `merge into ${name} as t using (select 1) s on false when not matched then ${mergeInsert(foreign)}`,
      need: ['insert'],
      app: { outcome: denied }
    },
    {
      verb: 'delete',
      sql: `delete from ${name}`,
      need: ['delete'],
      app: { twin: `delete from ${name} where ${mine}` }
    },
    {
      verb: 'delete returning',
      sql: `delete from ${name} returning *`,
      need: ['delete', 'select'],
      app: { twin: `delete from ${name} where ${mine}` }
    },
    {
      verb: 'delete theirs',
      sql: `delete from ${name} where ${theirs}`,
      narrow: true,
      need: ['delete', 'select'],
      app: { outcome: 0 }
    },
    {
      verb: 'merge delete theirs',
      sql: `merge into ${name} as t using (select 1) s on ${theirs} when matched then delete`,
      narrow: true,
      need: ['select', 'delete'],
      app: { outcome: 0 }
    },
    {
      verb: 'truncate',
      sql: `truncate ${name} cascade`,
      need: [],
      app: { outcome: denied },
      system: denied,
      always: true
    },
    {
      verb: 'disable rls',
      sql: `alter table ${name} disable row level security`,
      need: [],
      app: { outcome: denied },
      system: denied,
      always: true
    }
  ]
  if (tenant !== null) {
    cells.push({
      verb: 'hand over',
      sql: `update ${name} as t set ${handOver}`,
      need: ['update'],
      // Where no row is touched there is nothing to hand over.
      app: mayHandOver
        ? {
            twin: `do $$ begin if exists (select from ${name} as t where ${touchable}) then raise insufficient_privilege; end if; end $$`
          }
        : { outcome: denied }
    })
    // A merge stops at a row that it may read and not write, where an update passes it by.
    cells.push({
      verb: 'merge update theirs',
      sql: `merge into ${name} as t using (select 1) s on ${theirs} when matched then update set ${set}`,
      need: ['select', 'update'],
      app: {
        twin: `do $$ begin if exists (select from ${name} as t where ${theirs} and ${readable}) then raise insufficient_privilege; end if; end $$`
      }
    })
  }
  if (target !== '') {
    const upsert = (given: Row) => `${insertAs(given)} on conflict ${target} do update set ${set}`
    cells.push({ verb: 'do update, own', ...same(upsert(existing(me))), need: ['select', 'insert', 'update'] })
    cells.push({
      verb: 'do update, theirs',
      sql: upsert(existing(other)),
      need: ['select', 'insert', 'update'],
      app: { outcome: denied }
    })
  }
  for (const { name: column, generated } of table.columns) {
    if (generated || override.updates === undefined || override.updates.includes(column)) continue
    const sql = `update ${name} as t set ${column} = default`
    cells.push({ verb: `update ${column}`, sql, need: ['update'], app: { outcome: denied } })
  }
  for (const refused of override.refused ?? []) {
    if (refused.sql !== undefined) {
      const need: Verb[] = ['insert', 'update', 'select']
      cells.push({ verb: refused.name, sql: refused.sql, need, app: { outcome: denied } })
      continue
    }
    const sql = refused.insert
      ? insertOf(table, { ...row, ...refused.insert })
      : `update ${name} as t set ${refused.update} where ${touchable}`
    // An update finds no row where the tenant has none.
    const twin = `do $$ begin if ${refused.insert !== undefined} or exists (select from ${name} as t where ${touchable}) then raise insufficient_privilege; end if; end $$`
    cells.push({ verb: refused.name, sql, need: [refused.insert ? 'insert' : 'update'], app: { twin } })
  }
  return [...cells, ...foreignKeyCells(seeded, table, asker)]
}

function foreignKeyCells(seeded: Seeded, table: Table, asker: Asker): Cell[] {
  const { me, other } = asker
  return table.foreignKeys.flatMap((key, i): Cell[] => {
    const parent = seeded.tables.find(({ name }) => name === key.table)
    if (!parent) return []
    const pairs = key.columns.map((column, n) => [column, key.referenced[n] ?? ''] as const)
    const loose = pairs.filter(([column]) => column !== 'tenant_id')
    const join = (by: typeof pairs, where: string) =>
      `select 1 from ${table.name} c join ${key.table} p on ${by.map(([c, p]) => `p.${p} = c.${c}`).join(' and ')} where ${where}`
    const seen = `(${seenOf(table, asker, 'c')}) and (${seenOf(parent, asker, 'p')})`
    const need: Cell['need'] = ['select', [parent, 'select']]
    const label = `${i + 1}: ${key.table}`
    const narrow = loose.length === 0 && pairs.every(([, referenced]) => referenced === 'tenant_id')
    const cells: Cell[] = [
      { verb: `join ${label}`, sql: join(pairs, 'true'), narrow, need, app: { twin: join(pairs, seen) } }
    ]
    if (loose.length > 0 && loose.length < pairs.length) {
      cells.push({ verb: `loose join ${label}`, sql: join(loose, 'true'), need, app: { twin: join(loose, seen) } })
      // Another tenant's parent and one that is nowhere are refused alike.
      const parents = { theirs: seeded.rows.get(key.table)?.get(other)?.[0], absent: makeRow(seeded, parent, other, 0) }
      for (const [whose, parentRow] of Object.entries(parents)) {
        const row = makeRow(seeded, table, me, 0)
        for (const [column, referenced] of loose) row[column] = parentRow?.[referenced] ?? 'null'
        cells.push({
          verb: `insert under ${whose} ${label}`,
          sql: insertOf(table, row),
          need: ['insert'],
          app: { outcome: '23503' }
        })
      }
    }
    return cells
  })
}

// The columns of `tenant` and `readable`, with an alias before them.
function seenOf(table: Table, { me, shared }: Asker, alias: string): string {
  const tenant = tenantOf(table)
  const readable = (shared && overrideOf(table).readable) || 'false'
  const own = tenant === null ? 'false' : `${tenant} = '${me}'`
  return `(${own} or ${readable})`.replace(/\b(tenant_id|visibility|data)\b(?! *[':])/g, `${alias}.$1`)
}

function settable(table: Table): string {
  const foreign = new Set(table.foreignKeys.flatMap((key) => key.columns))
  const columns = table.columns.filter(({ name, generated }) => !generated && name !== 'tenant_id')
  const free = columns.find(({ name }) => !table.key.includes(name) && !foreign.has(name))
  return (free ?? columns[0])?.name ?? 'tenant_id'
}

function mergeInsert(row: Row): string {
  return `insert (${Object.keys(row).join(', ')}) values (${Object.values(row).join(', ')})`
}

/**
 * Whether the role was declared for all that the cell needs: 'erasing' where only for rows of tenants that are to be
 * erased.
 */
export function mayAsk(cell: Cell, table: Table, role: Role): boolean | 'erasing' {
  let answer: boolean | 'erasing' = true
  for (const need of cell.need) {
    const [whose, verb] = typeof need === 'string' ? [table, need] : need
    if (whose.declared[role].has(verb)) continue
    if (role !== 'agentos_system' || !whose.erases.has(verb) || (verb === 'select' && !cell.narrow)) return false
    answer = 'erasing'
  }
  return answer
}

/** What agentos_system may do while `me` is to be erased: its rows, unless it was declared for everybody's. */
export function erasingCells(table: Table, { me, other }: Asker): Cell[] {
  const { name, declared, erases } = table
  if (erases.size === 0) return []
  const { readable } = overrideOf(table)
  // What others read outlives its tenant (core.erase_keeps).
  const kept = (verb: Verb) => (verb === 'delete' && readable !== undefined ? ` and not (${readable})` : '')
  const only = (verb: Verb) => (declared.agentos_system.has(verb) ? 'true' : `tenant_id = '${me}'`) + kept(verb)
  const cell = (sql: string, same: string): Cell => ({ verb: sql, sql, narrow: true, need: [], app: { twin: same } })
  const deleted = (where: string) => `delete from ${name} where ${where}`
  return [
    cell(`select tenant_id from ${name}`, `select tenant_id from ${name} where ${only('select')}`),
    cell(
      `select tenant_id from ${name} where tenant_id = '${other}'`,
      `select from ${name} where tenant_id = '${other}' and ${only('select')}`
    ),
    cell(`delete from ${name}`, deleted(only('delete'))),
    cell(deleted(`tenant_id = '${me}'`), deleted(`tenant_id = '${me}'${kept('delete')}`)),
    cell(deleted(`tenant_id = '${other}'`), deleted(`tenant_id = '${other}' and ${only('delete')}`))
  ]
}
