import { type Finding, readRules, unexcused } from '#core/db/lint.ts'
import { type Role, roles, type Table } from './catalogue.ts'
import { type Context, contextsOf } from './contexts.ts'
import { allowances, type Session } from './full-db.ts'
import { runGroup } from './matrix.ts'
import type { Seeded } from './seed.ts'

/** In the order in which most faults show. */
const order: readonly Context[] = ['own', 'erasing', 'unsigned', 'empty', 'foreign', 'forged', 'absent', 'garbage']

/** Once per connection: planning takes as long as asking. */
export async function prepareLint(sql: Session): Promise<void> {
  await sql.unsafe(`prepare isolation_lint as ${await readRules()}`)
}

/**
 * Breaks something inside the open transaction, asks the lint and then the matrix of one table, and takes it back.
 * @param broken `role`: whom it is about, and who is asked first
 * @returns the first fault, or undefined where neither noticed
 */
export async function verdict(
  sql: Session,
  seeded: Seeded,
  broken: { sql: string; table?: Table | undefined; role?: Role | undefined }
): Promise<string | undefined> {
  await sql.unsafe('savepoint broken')
  try {
    await sql.unsafe(broken.sql)
    const [finding] = unexcused(await sql.unsafe<Finding[]>('execute isolation_lint'), allowances)
    if (finding) return `lint: ${finding.rule} ${finding.object}`
    if (!broken.table) return undefined
    for (const context of order) {
      for (const role of new Set([broken.role ?? roles[0], ...roles])) {
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
