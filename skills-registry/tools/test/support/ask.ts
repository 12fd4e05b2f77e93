import { newId } from '#core/ids.ts'
import type { PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import type { Capability } from '#skills-registry/tools/capability.ts'
import { HostCalls } from '#skills-registry/tools/host-calls.ts'
import type { TestApp } from '#test/support/app.ts'

/** Asks for host calls as a guest would, by name and JSON text, through the room's own journal. Gives the exact answer. */
export type Ask = (name: string, args: string | unknown[]) => Promise<string>

export interface Asker {
  tenantId: string
  skill?: string
  skillId?: string
  sessionId?: string
}

export async function asking(app: TestApp, capability: Capability, who: Asker): Promise<Ask> {
  const { tenantId, skill = '@acme/one', skillId = 'one', sessionId = newId() } = who
  const key = newId()
  const caller = {
    tenantId,
    sessionId,
    step: 's',
    attempt: 1,
    effectKey: key,
    skill: { name: skill, skillId, version: '1.0.0' } as PinnedSkill,
    permissions: {},
    context: { tenantId, actor: { kind: 'skill' as const, id: skill } },
    signal: new AbortController().signal,
    call: {} as ToolCall,
    callers: [],
    chain: ['one.run'],
    budget: new CallBudget({ tokens: 0 })
  }
  const deps = { db: app.db, methods: new Map(Object.entries(capability.methods)), log: app.log }
  const calls = await HostCalls.open(deps, caller, { callKey: `${key}#1`, time: 0, stop: () => {} })
  let n = 0
  return (name, args) => calls.answer(name, typeof args === 'string' ? args : JSON.stringify(args), ++n)
}
