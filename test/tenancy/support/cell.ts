import type { Role, Table, Verb } from './catalogue.ts'
import { overrideOf } from './seed.ts'

export const denied = '42501'

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
  /** Asks for no column but those that members may select (Override.members). */
  granted?: boolean
  /** Counts rows in the answer `n`. */
  value?: boolean
  copy?: 'to' | 'from'
}

export interface Asker {
  me: string
  /** Owns what must not be reached. */
  other: string
  /** Whether rows that are shared (core.isolate_shared) are seen. */
  shared: boolean
}

/**
 * Whether the role was declared for all that the cell needs: 'erasing' where only for rows of tenants that are to be
 * erased.
 */
export function mayAsk(cell: Cell, table: Table, role: Role): boolean | 'erasing' {
  let answer: boolean | 'erasing' = true
  for (const need of cell.need) {
    const [whose, verb] = typeof need === 'string' ? [table, need] : need
    const kept = role === 'authenticated' && overrideOf(whose).members !== undefined && !cell.narrow && !cell.granted
    if (whose.declared[role].has(verb) && !kept) continue
    if (role !== 'agentos_system' || !whose.erases.has(verb) || (verb === 'select' && !cell.narrow)) return false
    answer = 'erasing'
  }
  return answer
}
