import type { Table } from './catalogue.ts'
import type { Asker, Cell } from './cell.ts'
import { insertOf, makeRow, overrideOf, type Seeded, tenantOf } from './seed.ts'

/** The table joined with each parent, and rows under parents that are not the asker's. */
export function foreignKeyCells(seeded: Seeded, table: Table, asker: Asker): Cell[] {
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
