import t from 'tap'
import { type PinnedSkill, ToolError } from '#core/ports/tools.ts'
import { leftFor, spentBudget } from '../budgets.ts'
import { sessionKind } from '../kind.ts'
import { INITIAL, type SessionContext } from '../machine.ts'
import { findTool } from '../plan.ts'
import { SessionConfig } from '../schema.ts'
import { spend } from '../usage.ts'

const steps = [{ id: 'one', kind: 'tool', tool: 'host.one' }]
const contextOf = (limits: object, used: Partial<SessionContext> = {}): SessionContext => ({
  ...INITIAL,
  ...used,
  plan: { config: SessionConfig.parse({ steps, limits }), skills: [], durationMs: null }
})
const used = { activeMs: 5, cpuMs: 40, hostCalls: 3, tokens: 20, at: 0 }

t.test('a call gets what its session has left', async (t) => {
  t.strictSame(leftFor(contextOf({}), 0, undefined), {})
  t.strictSame(
    leftFor(contextOf({ cpuMs: 100, hostCalls: 5, tokens: 50 }, { cpuMs: 30.5, hostCalls: 5, tokens: 10 }), 0, 7),
    {
      timeoutMs: 7,
      left: { cpuMs: 69, hostCalls: 0, tokens: 40 }
    }
  )
})

t.test('a limit that is used up ends the session before its next step, and says which', async (t) => {
  t.match(leftFor(contextOf({ cpuMs: 100 }, { cpuMs: 99.5 }), 0, undefined), {
    spent: { code: 'PULSE_CPU_EXCEEDED', message: 'the session used up its 100 ms of CPU time (limits.cpuMs)' }
  })
  t.match(leftFor(contextOf({ tokens: 10 }, { tokens: 11 }), 0, undefined), {
    spent: { code: 'PULSE_TOKENS_EXCEEDED' }
  })
  t.match(leftFor(contextOf({ tokens: 0, hostCalls: 0 }), 0, undefined), { left: { tokens: 0, hostCalls: 0 } })
})

t.test(
  'a call that ran into what was left fails for its session; one that ran into its own limit, for itself',
  async (t) => {
    const error = (code: string, limit?: string) => new ToolError(code, 'x', limit ? { details: { limit } } : {})
    const tight = contextOf({ cpuMs: 100, hostCalls: 5, tokens: 50 }, { cpuMs: 60, hostCalls: 2, tokens: 30 })
    const wide = contextOf({ cpuMs: 1000, hostCalls: 500, tokens: 5000 })
    const codes: [ToolError, string][] = [
      [error('SANDBOX_TIMEOUT', 'cpuMs'), 'PULSE_CPU_EXCEEDED'],
      [error('SANDBOX_HOST_CALLS'), 'PULSE_HOST_CALLS_EXCEEDED']
    ]
    for (const [one, code] of codes) {
      t.match(spentBudget(tight, used, one), { code })
      t.equal(spentBudget(wide, used, one), null)
      t.equal(spentBudget(contextOf({}), used, one), null)
    }
    t.equal(spentBudget(tight, used, error('SANDBOX_TIMEOUT', 'wallMs')), null)
  }
)

t.test('counters add up to the microsecond, and a row of an older version counts from 0', async (t) => {
  let context = contextOf({})
  for (let n = 0; n < 10; n += 1) context = { ...context, ...spend(context, { used: { ...used, cpuMs: 0.1 } }) }
  t.match(context, { cpuMs: 1, hostCalls: 30, tokens: 200, activeMs: 50 })
  const { hostCalls: _h, tokens: _t, logLines: _l, logBytes: _b, ...old } = INITIAL
  const columns = { config: context.plan.config, pinned: { skills: [], durationMs: null } }
  const row = { context: old, columns, state: 'RUNNING' } as unknown as Parameters<typeof sessionKind.restore>[0]
  t.match(sessionKind.restore(row), { hostCalls: 0, tokens: 0, logLines: 0, logBytes: 0 })
})

t.test('a skill that only others may call is found by no step', async (t) => {
  const skill = { alias: 'host', tools: { one: {} } } as unknown as PinnedSkill
  t.ok(findTool([skill], 'host.one'))
  t.equal(findTool([{ ...skill, hidden: true }], 'host.one'), null)
  t.equal(
    findTool(
      [
        { ...skill, hidden: true },
        { ...skill, skillId: 'shown' }
      ],
      'host.one'
    )?.skill.skillId,
    'shown'
  )
})
