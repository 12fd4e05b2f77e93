import { z } from 'zod'
import { type PinnedSkill, type ToolCall, ToolError, type ToolUsage } from '#core/ports/tools.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { CallBudget } from '../budget.ts'
import { type Capability, CapabilityError, type HostCall, method } from '../capability.ts'
import { intersect } from '../permissions.ts'
import type { RunTool } from '../run.ts'

/** Tools one above the other, the step's own included. */
export const MAX_DEPTH = 8

/** Not the called tool's doing, as whatever another attempt may cure: a caller that had it for an answer would keep it. */
const NO_ANSWER = new Set(['SANDBOX_CLOSED', 'SANDBOX_CANCELLED'])

// No input is an empty one, as for a step.
const CallArguments = z.union([
  z.tuple([z.string().max(256), z.unknown()]),
  z.tuple([z.string().max(256)]).transform(([address]): [string, unknown] => [address, {}])
])

export function mayCall(permissions: Permissions, address: string): boolean {
  return permissions.tools?.includes(address) ?? false
}

/** @param run how any tool is run; it holds input and output to the called tool's schemas */
export function createToolsCapability({ run }: { run: RunTool }): Capability {
  return {
    name: 'tools',
    names: ({ tools }) => (tools && tools.length > 0 ? ['tools.call'] : []),
    methods: {
      'tools.call': method<[string, unknown]>({
        args: CallArguments,
        async outside(call, [address, input]) {
          const { skill, tool } = findCallee(call, address)
          if (call.chain.length >= MAX_DEPTH) {
            const chain = [...call.chain, address].join(' -> ')
            throw new CapabilityError('TOOL_DEPTH', `tools call each other ${MAX_DEPTH} deep at most: ${chain}`)
          }
          call.budget.countCalledTool()
          return await call.budget.inTurn(() => runCallee(run, call, { skill, tool, input: input ?? {} }))
        },
        audit: ({ sessionId, step, skill, chain }, [address]) => {
          const details = { skill: skill.name, version: skill.version, step, called: address, depth: chain.length }
          return { action: 'tool.called', subject: `session:${sessionId}`, details }
        }
      })
    }
  }
}

/** @throws CapabilityError CAPABILITY_DENIED, the same for what was not granted and what is not there */
function findCallee({ permissions, skill, call }: HostCall, address: string): { skill: PinnedSkill; tool: string } {
  const [short = '', tool = ''] = address.split('.')
  const id = mayCall(permissions, address) && Object.hasOwn(skill.calls ?? {}, short) ? skill.calls?.[short] : undefined
  const callee = call.skills.find(({ skillId }) => skillId === id)
  if (callee && Object.hasOwn(callee.tools, tool)) return { skill: callee, tool }
  throw new CapabilityError('CAPABILITY_DENIED', `ctx.tools.call: ${JSON.stringify(address)} is not granted`)
}

async function runCallee(
  run: RunTool,
  call: HostCall,
  { skill, tool, input }: { skill: PinnedSkill; tool: string; input: unknown }
): Promise<unknown> {
  call.signal.throwIfAborted() // its turn came too late
  const permissions = intersect(call.permissions, skill.grant as Permissions)
  const budget = new CallBudget({ tokens: permissions.model?.tokens ?? 0 }, call.budget)
  // Its own, without what it had others do: they have told the budgets above them already.
  const count = ({ cpuMs, hostCalls }: ToolUsage) =>
    call.budget.addCalled({ cpuMs: cpuMs - budget.cpuMs, hostCalls: hostCalls - budget.hostCalls })
  try {
    const { output, usage, record } = await run(withLeft(call), skill, tool, input, {
      key: call.key,
      effectKey: call.idempotencyKey,
      permissions,
      callers: [...call.callers, call.skill.name],
      chain: [...call.chain, `${skill.alias}.${tool}`],
      budget,
      signal: call.signal
    })
    count(usage)
    call.nested(record)
    return output
  } catch (error) {
    if (!(error instanceof ToolError)) throw error
    if (error.usage) count(error.usage)
    if (error.record) call.nested(error.record)
    if (error.retryable || NO_ANSWER.has(error.code)) throw error
    throw new CapabilityError(error.code, error.message)
  }
}

/** The step's call as its called tools see it: what the session has left is less what they used so far. */
function withLeft({ call, budget: { outermost } }: HostCall): ToolCall {
  if (!call.left) return call
  const { cpuMs, hostCalls, ...left } = call.left
  const cpuLeft = cpuMs === undefined ? undefined : cpuMs - outermost.cpuMs
  const hostCallsLeft = hostCalls === undefined ? undefined : Math.max(0, hostCalls - outermost.hostCalls)
  if (cpuLeft !== undefined && cpuLeft < 1) {
    throw new CapabilityError('SANDBOX_TIMEOUT', 'the CPU time that is left to the session is used up')
  }
  return {
    ...call,
    left: {
      ...left,
      ...(cpuLeft === undefined ? {} : { cpuMs: Math.floor(cpuLeft) }),
      ...(hostCallsLeft === undefined ? {} : { hostCalls: hostCallsLeft })
    }
  }
}
