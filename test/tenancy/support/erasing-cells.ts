import type { Table, Verb } from './catalogue.ts'
import type { Asker, Cell } from './cell.ts'
import { overrideOf } from './seed.ts'

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
