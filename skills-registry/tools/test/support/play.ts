import assert from 'node:assert/strict'
import type { ModelRequest } from '#core/ports/model.ts'
import type { PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import { grantOf } from '#skills-registry/grant.ts'
import type { Manifest, Permissions } from '#skills-registry/package/manifest.ts'
import { CallBudget } from '#skills-registry/tools/budget.ts'
import { createEventsCapability } from '#skills-registry/tools/capabilities/events.ts'
import { createGuard } from '#skills-registry/tools/capabilities/fetch/guard.ts'
import { createFetchCapability } from '#skills-registry/tools/capabilities/fetch/index.ts'
import { createFilesCapability } from '#skills-registry/tools/capabilities/files.ts'
import { createModelCapability } from '#skills-registry/tools/capabilities/model.ts'
import { guestData } from '#skills-registry/tools/capabilities/secrets.ts'
import { createStorageCapability } from '#skills-registry/tools/capabilities/storage.ts'
import { createToolsCapability, MAX_DEPTH } from '#skills-registry/tools/capabilities/tools.ts'
import { type Capability, CapabilityError, type HostCall } from '#skills-registry/tools/capability.ts'
import { namesFor } from '#skills-registry/tools/permissions.ts'
import type { RunTool } from '#skills-registry/tools/run.ts'
import type { Action, Case } from './programs.ts'
import { WORDS } from './programs.ts'
import { allHave, commonRights, expectedNames, fewestTokens, rightsOf } from './rights.ts'

/** One tool that runs: what the room lets it do, and by the grants above it what it may do. */
interface Frame {
  permissions: Permissions
  grants: readonly Permissions[]
  skill: PinnedSkill
  callers: readonly string[]
  chain: readonly string[]
  budget: CallBudget
}

/**
 * How the rights of a called skill come about, in place of the room's own: to see that a mistake is found where it does harm,
 * at what is reached or missed. Rights are not compared as such then.
 */
export type Limit = (caller: Permissions, callee: Permissions) => Permissions

const guard = createGuard({})
// Of these only what they say to be in ctx; what they then do has tests of its own.
const others = [
  createFetchCapability({} as never),
  createStorageCapability({} as never),
  createFilesCapability({} as never)
]

/**
 * Runs a program through the room's own capabilities, with sinks where the world would be, and holds every single thing
 * that it reached or did not reach to the rights of the grants above it.
 * @returns what was reached, and how often something was refused
 */
export async function play({ manifests, wanted, missing, program }: Case, limit?: Limit) {
  const skills = WORDS.skills.map((alias, i) => pinned(alias, granted(manifests[i] ?? {}, wanted[i]), missing))
  const counts = { reached: 0, refused: 0, deepest: 0 }
  let active: Frame
  const reach = (...rights: string[]) => {
    counts.reached += 1
    for (const right of rights) assert(allHave(active.grants, right), `reached without the right: ${right}`)
  }

  const run: RunTool = async (_call, skill, _tool, input, place) => {
    assert(place)
    const caller = active
    const grant = skill.grant as Permissions
    const permissions = limit ? limit(caller.permissions, grant) : place.permissions
    reach(`call ${skill.alias}.${_tool}`)
    await perform(
      { ...place, permissions, grants: [...caller.grants, grant], skill },
      Array.isArray(input) ? input : []
    )
    active = caller
    return { output: null, usage: { cpuMs: 1, hostCalls: 1 }, record: {} } as Awaited<ReturnType<RunTool>>
  }
  const model = {
    async run({ maxTokens }: ModelRequest) {
      reach()
      assert(maxTokens <= fewestTokens(active.grants), `asked for ${maxTokens} tokens`)
      return { text: '', model: 'm', usage: { inputTokens: 0, outputTokens: 0 } }
    }
  }
  const bus = {
    async emit(_tx: unknown, { type }: { type: string }, subject: string, data: unknown) {
      const own = `custom.acme.${active.skill.alias}.`
      assert(type.startsWith(own) && subject === 'session-1', `published as ${type} about ${subject}`)
      assert.equal((data as { sessionId: string }).sessionId, 'session-1')
      reach(`publish ${type.slice(own.length)}`)
    }
  }
  const capabilities = [
    ...others,
    createEventsCapability({ bus }),
    createModelCapability({ port: () => model }),
    createToolsCapability({ run })
  ]

  async function perform(frame: Frame, actions: readonly Action[]): Promise<void> {
    active = frame
    counts.deepest = Math.max(counts.deepest, frame.chain.length)
    if (!limit) look(frame, capabilities)
    for (const name of guestData(frame.permissions)?.secrets ?? []) reach(`name ${name}`)
    for (const action of actions) {
      active = frame
      const happened = await attempt(frame, action)
      active = frame
      if (happened !== 'ok') counts.refused += 1
      if (action.do === 'hostile') continue // its sinks say whether it reached too much
      assert.equal(
        happened,
        expected(frame, action, missing),
        `${JSON.stringify(action)} of ${frame.chain.join(' -> ')}`
      )
    }
  }

  async function attempt(frame: Frame, action: Action): Promise<string> {
    try {
      if (action.do === 'fetch') await fetchAs(frame, action)
      else if ('part' in action) {
        const level = frame.permissions[action.part]
        if (level === undefined || (action.do === 'write' && level !== 'write')) return 'CAPABILITY_DENIED'
        reach(`${action.part} ${action.do}`)
      } else await hostCall(capabilities, frame, skills, ...asHostCall(action))
      return 'ok'
    } catch (error) {
      if (error instanceof CapabilityError) return error.code
      throw error
    }
  }

  async function fetchAs(frame: Frame, { verb, host }: { verb: string; host: string }) {
    const { secret } = guard.ruleFor(frame.permissions, verb, new URL(`https://${host}/`))
    const right = (name: string) => `attach ${name} ${verb} ${host}`
    reach(`fetch ${verb} ${host}`, ...(secret === undefined ? [] : [right(secret)]))
    const due = WORDS.secrets.find((name) => allHave(frame.grants, right(name)))
    assert.equal(secret, due, 'the secret that goes with it')
  }

  const [first] = skills
  assert(first)
  const permissions = first.grant as Permissions
  const budget = new CallBudget({ tokens: permissions.model?.tokens ?? 0 })
  await perform({ permissions, grants: [permissions], skill: first, callers: [], chain: ['p.one'], budget }, program)
  return counts
}

/** Before it does anything: no right, no token and no name in ctx more or less than the grants above it share. */
function look({ permissions, grants }: Frame, capabilities: readonly Capability[]): void {
  assert.deepEqual([...rightsOf(permissions)].sort(), commonRights(grants), 'rights of the called tool')
  assert.equal(permissions.model?.tokens ?? 0, fewestTokens(grants), 'tokens of the called tool')
  assert.deepEqual(namesFor(permissions, capabilities).sort(), expectedNames(grants), 'names in ctx')
}

/** The tenant's grant, or all that is asked where that grant was too wide; what is granted was asked for. */
function granted(manifest: Permissions, wanted: Permissions | undefined): Permissions {
  let grant = manifest
  try {
    grant = grantOf({ permissions: manifest } as Manifest, wanted)
  } catch (error) {
    assert.equal((error as { code: string }).code, 'SKILLS_GRANT_INVALID')
  }
  const asked = rightsOf({ ...manifest, fetch: [] })
  for (const right of rightsOf({ ...grant, fetch: [] })) assert(asked.has(right), `granted and not asked for: ${right}`)
  for (const { host, methods, secret } of grant.fetch ?? []) {
    for (const verb of methods) {
      const is = (rule: { secret?: string | undefined }) => secret === undefined || rule.secret === secret
      const rule = manifest.fetch?.find((one) => one.host === host && one.methods.includes(verb) && is(one))
      assert(rule, `granted and not asked for: ${verb} ${host} with ${secret}`)
    }
  }
  assert((grant.model?.tokens ?? 0) <= (manifest.model?.tokens ?? 0))
  return grant
}

function pinned(alias: string, grant: Permissions, missing: readonly string[]): PinnedSkill {
  const tools = WORDS.tools.filter((tool) => !missing.includes(`${alias}.${tool}`)).map((tool) => [tool, {}])
  const calls = Object.fromEntries(WORDS.skills.map((short) => [short, `id-${short}`]))
  const name = `@acme/${alias}`
  return {
    alias,
    skillId: `id-${alias}`,
    name,
    version: '1.0.0',
    grant,
    tools: Object.fromEntries(tools),
    calls
  } as PinnedSkill
}

function asHostCall(action: Exclude<Action, { do: 'fetch' } | { part: string }>): [string, unknown] {
  if (action.do === 'publish') return ['events.publish', [action.type, action.data]]
  if (action.do === 'model') return ['model.run', [{ prompt: 'hello', maxTokens: action.maxTokens }]]
  if (action.do === 'call') return ['tools.call', [action.address, action.body]]
  return [action.name, action.args]
}

/** As the room does it: only names in ctx, arguments held to their schema, then the method itself. */
async function hostCall(
  capabilities: readonly Capability[],
  frame: Frame,
  skills: readonly PinnedSkill[],
  name: string,
  args: unknown
): Promise<void> {
  const denied = new CapabilityError('CAPABILITY_DENIED', `${name} was not granted`)
  if (!namesFor(frame.permissions, capabilities).includes(name)) throw denied
  const method = capabilities.find(({ methods }) => Object.hasOwn(methods, name))?.methods[name]
  if (!method) throw denied
  const parsed = method.args.safeParse(JSON.parse(JSON.stringify(args)))
  if (!parsed.success) throw new CapabilityError('ARGUMENTS_INVALID', name)
  const signal = new AbortController().signal
  const about = { tenantId: 'tenant-1', sessionId: 'session-1', step: 's', key: 'k', idempotencyKey: 'i' }
  const call = { ...about, ...frame, signal, call: { skills } as ToolCall, nested: () => {} } as unknown as HostCall
  if ('inTx' in method) await method.inTx(undefined as never, call, parsed.data)
  else await method.outside(call, parsed.data)
}

/** By the grants alone. */
function expected(
  { grants, chain }: Frame,
  action: Exclude<Action, { do: 'hostile' }>,
  missing: readonly string[]
): string {
  const denied = 'CAPABILITY_DENIED'
  switch (action.do) {
    case 'fetch':
      return allHave(grants, `fetch ${action.verb} ${action.host}`) ? 'ok' : denied
    case 'publish':
      return allHave(grants, `publish ${action.type}`) ? 'ok' : denied
    case 'model':
      if (fewestTokens(grants) === 0) return denied
      return fewestTokens(grants) > 2 ? 'ok' : 'MODEL_BUDGET' // "hello" is about two tokens
    case 'call':
      if (!allHave(grants, `call ${action.address}`) || missing.includes(action.address)) return denied
      return chain.length < MAX_DEPTH ? 'ok' : 'TOOL_DEPTH'
    default:
      return allHave(grants, `${action.part} ${action.do}`) ? 'ok' : denied
  }
}
