// The isolation rules of every table, read from the catalogue after each migration: what a review would overlook.
import { readFile } from 'node:fs/promises'
import type { Allowance } from './migration-files.ts'
import type { Pool, Tx } from './types.ts'

export interface Finding {
  /** 'rls_off', 'no_tenant_policy', ...: the first column of lint.sql */
  rule: string
  /** 'schema.table', 'schema.index' or 'role': what the rule is about */
  object: string
}

/**
 * Everything that lets one tenant see or touch another's rows, except what `allowed` names with a reason.
 * @see lint.sql for the rules
 */
export async function lint(sql: Pool | Tx, allowed: Allowance[]): Promise<Finding[]> {
  return unexcused(await sql.unsafe<Finding[]>(await readRules()), allowed)
}

/** lint.sql: one statement. */
export function readRules(): Promise<string> {
  return readFile(new URL('./lint.sql', import.meta.url), 'utf8')
}

/** The findings that no allowance names. */
export function unexcused(found: readonly Finding[], allowed: Allowance[]): Finding[] {
  return found
    .filter((finding) => !allowed.some((row) => row.rule === finding.rule && matches(row.object, finding.object)))
    .map(({ rule, object }) => ({ rule, object }))
}

function matches(pattern: string, object: string): boolean {
  return pattern.endsWith('*') ? object.startsWith(pattern.slice(0, -1)) : object === pattern
}
