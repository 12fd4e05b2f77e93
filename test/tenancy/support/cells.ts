import type { Table, Verb } from './catalogue.ts'
import { type Asker, type Cell, denied } from './cell.ts'
import { foreignKeyCells } from './foreign-key-cells.ts'
import { insertOf, makeRow, overrideOf, type Row, type Seeded, tenantOf } from './seed.ts'

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
  const { members } = override
  if (members !== undefined) {
    const list = members.join(', ')
    const some = (verb: string, where: string, rows: string): Cell => ({
      verb,
      sql: `select ${list} from ${name} where ${where}`,
      granted: true,
      need: ['select'],
      app: { twin: `select ${list} from ${name} where ${rows}` }
    })
    cells.push(
      some('select columns', 'true', seen),
      some('select columns, theirs', theirs, `${theirs} and ${readable}`)
    )
    for (const { name: column } of table.columns) {
      if (members.includes(column)) continue
      const one = `select ${column} from ${name}`
      cells.push({ verb: `select ${column}`, sql: one, need: ['select'], app: { twin: `${one} where ${seen}` } })
    }
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

function settable(table: Table): string {
  const foreign = new Set(table.foreignKeys.flatMap((key) => key.columns))
  const columns = table.columns.filter(({ name, generated }) => !generated && name !== 'tenant_id')
  const free = columns.find(({ name }) => !table.key.includes(name) && !foreign.has(name))
  return (free ?? columns[0])?.name ?? 'tenant_id'
}

function mergeInsert(row: Row): string {
  return `insert (${Object.keys(row).join(', ')}) values (${Object.values(row).join(', ')})`
}
