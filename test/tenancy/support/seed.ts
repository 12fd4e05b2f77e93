import { newId } from '#core/ids.ts'
import { settingsSql, sign, unsigned } from '#test/support/signed.ts'
import { inOrder, type Table } from './catalogue.ts'
import type { Session } from './full-db.ts'
import { type Override, overrides } from './overrides.ts'

export const tenantA = '01900000-0000-7000-8000-00000000000a'
export const tenantB = '01900000-0000-7000-8000-00000000000b'
export const absentTenant = '01900000-0000-7000-8000-00000000000c'
/** Different counts, so that one tenant's rows are never taken for the other's. */
export const rowsOf: Readonly<Record<string, number>> = { [tenantA]: 2, [tenantB]: 3 }

/** Column -> SQL of its value. */
export type Row = Record<string, string>

export interface Seeded {
  tables: Table[]
  /** By table and tenant ('' for tables of no tenant). */
  rows: Map<string, Map<string, Row[]>>
  /** Tables without a row where there must be one, and why. */
  missing: string[]
}

export const overrideOf = (table: Table | string): Override =>
  overrides[typeof table === 'string' ? table : table.name] ?? {}

/** The tenant of a row as SQL; null for a table of no tenant. */
export function tenantOf(table: Table): string | null {
  const { tenant } = overrideOf(table)
  if (tenant !== undefined) return tenant
  return table.columns.some((column) => column.name === 'tenant_id') ? 'tenant_id' : null
}

/** A row in every table for both tenants, parents first, as superuser. What cannot be seeded is named, not thrown. */
export async function seed(sql: Session, catalogue: readonly Table[]): Promise<Seeded> {
  const tables = inOrder(catalogue)
  const seeded: Seeded = { tables, rows: new Map(), missing: [] }
  for (const table of tables) {
    const { prepare, single, same } = overrideOf(table)
    if (prepare !== undefined) await sql.unsafe(prepare)
    const byTenant = new Map<string, Row[]>()
    seeded.rows.set(table.name, byTenant)
    if (same !== undefined) continue
    for (const owner of ownersOf(table)) {
      const wanted = owner === '' || single ? 1 : (rowsOf[owner] ?? 1)
      const rows: Row[] = []
      byTenant.set(owner, rows)
      try {
        if (owner === '' && single && (await countOf(sql, table, owner)) > 0) continue
        for (let n = 0; n < wanted; n++) {
          const row = makeRow(seeded, table, owner, n)
          await sql.unsafe(settingsSql(owner === '' ? unsigned : sign({ tenantId: owner }), false))
          await sql.unsafe(insertOf(table, row))
          rows.push(row)
        }
      } catch (error) {
        seeded.missing.push(`${table.name}: ${error instanceof Error ? error.message : error}`)
      }
    }
  }
  for (const table of tables) {
    for (const owner of ownersOf(table)) {
      if ((await countOf(sql, table, owner)) === 0) seeded.missing.push(`${table.name}: no row of "${owner}"`)
    }
  }
  await sql.unsafe(settingsSql(unsigned, false))
  return seeded
}

function ownersOf(table: Table): string[] {
  return tenantOf(table) === null ? [''] : [tenantA, tenantB]
}

async function countOf(sql: Session, table: Table, owner: string): Promise<number> {
  const where = owner === '' ? 'true' : `${tenantOf(table)} = '${owner}'`
  const [row] = await sql.unsafe<{ n: number }[]>(`select count(*)::int as n from ${table.name} where ${where}`)
  return row?.n ?? 0
}

/** A row that is not there yet: unique where it can be, under the tenant's own parents. */
export function makeRow(seeded: Seeded, given: Table, owner: string, n: number): Row {
  const table = seeded.tables.find(({ name }) => name === overrideOf(given).same) ?? given
  const override = overrideOf(table)
  const row: Row = {}
  for (const { name, type, required, generated } of table.columns) {
    if (!generated && (required || table.key.includes(name))) row[name] = sqlValue(table, type, owner)
  }
  const tenant = tenantOf(table)
  if (tenant !== null && tenant === 'tenant_id') row.tenant_id = `'${owner}'`
  for (const key of table.foreignKeys) {
    if (!key.columns.some((column) => column in row && column !== 'tenant_id')) continue
    const parents = seeded.rows.get(key.table)
    const parent = parents?.get(owner)?.[0] ?? parents?.get('')?.[0]
    if (!parent) continue // a tenant that does not exist has no parents: any id will do
    key.columns.forEach((column, i) => {
      row[column] = parent[key.referenced[i] ?? ''] ?? row[column] ?? 'null'
    })
  }
  return { ...row, ...override.give?.(owner), ...override.values?.(n) }
}

function sqlValue(table: Table, type: string, owner: string): string {
  const base = type.replace(/\(.*\)$/, '')
  const canary = `canary-${owner || 'nobody'}-${table.name}-${newId()}`
  if (base.endsWith('[]')) return `'{}'`
  switch (base) {
    case 'uuid':
      return `'${newId()}'`
    case 'text':
    case 'character varying':
      return `'${canary}'`
    case 'json':
    case 'jsonb':
      return `'{"canary": "${canary}"}'`
    case 'bytea':
      return `'\\x00'::bytea`
    case 'boolean':
      return 'false'
    case 'date':
    case 'timestamp without time zone':
    case 'timestamp with time zone':
      return `'2026-11-22T00:00:00Z'`
    case 'interval':
      return `'1 s'`
    case 'xid8':
      return `'${1 + Math.floor(Math.random() * 30_000)}'`
    case 'integer':
    case 'bigint':
    case 'smallint':
    case 'numeric':
    case 'real':
    case 'double precision':
      return String(1 + Math.floor(Math.random() * 30_000))
    default:
      throw new Error(`the seeder knows no value of type ${type}`)
  }
}

export function insertOf(table: Table, row: Row): string {
  return `insert into ${table.name} (${Object.keys(row).join(', ')}) values (${Object.values(row).join(', ')})`
}
