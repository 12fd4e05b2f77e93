import { lint } from '#core/db/lint.ts'
import { roles, type Table } from './catalogue.ts'
import { allowances, type Session } from './full-db.ts'
import { type Context, contextsOf, runGroup } from './matrix.ts'
import type { Seeded } from './seed.ts'

/** In the order in which most faults show. */
const order: readonly Context[] = ['own', 'erasing', 'unsigned', 'empty', 'foreign', 'forged', 'absent', 'garbage']

/**
 * Breaks something inside the open transaction, asks the lint and then the matrix of one table, and takes it back.
 * @returns the first fault, or undefined where neither noticed
 */
export async function verdict(
  sql: Session,
  seeded: Seeded,
  broken: { sql: string; table?: Table | undefined }
): Promise<string | undefined> {
  await sql.unsafe('savepoint broken')
  try {
    await sql.unsafe(broken.sql)
    const [finding] = await lint(sql, allowances)
    if (finding) return `lint: ${finding.rule} ${finding.object}`
    if (!broken.table) return undefined
    for (const context of order) {
      for (const role of roles) {
        if (!contextsOf(role).includes(context)) continue
        const { faults } = await runGroup(sql, seeded, broken.table, role, context)
        if (faults[0]) return `matrix: ${faults[0]}`
      }
    }
    return undefined
  } finally {
    await sql.unsafe('rollback to broken')
  }
}
