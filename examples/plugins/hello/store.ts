import type { Tx } from 'agentos/plugin'
import type { GreetingContext } from './machine.ts'

export interface GreetingRow {
  readonly id: string
  readonly name: string
  readonly language: string
  readonly state: 'WRITING' | 'WAITING' | 'GREETED' | 'DISMISSED'
  readonly context: GreetingContext
  readonly createdAt: Date
  readonly endedAt: Date | null
}

/** @returns null when the tenant of `tx` has no such greeting; another tenant's looks the same */
export async function findGreeting(tx: Tx, id: string): Promise<GreetingRow | null> {
  const [row] = await tx<GreetingRow[]>`
    select id, name, language, state, context, created_at as "createdAt", ended_at as "endedAt"
    from hello.greeting where tenant_id = (select core.tenant()) and id = ${id}`
  return row ?? null
}
