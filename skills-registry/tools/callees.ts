import type { Tx } from '#core/db/index.ts'
import { defineError } from '#core/errors.ts'
import type { PinnedSkill } from '#core/ports/tools.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { highest, latestOf } from '#skills-registry/refs.ts'
import { type InstallRow, installsByShortName } from '#skills-registry/store.ts'

/** Skills that one session holds, those included that no ref of it names. */
export const MAX_SKILLS = 64

const at = (index: number, detail: string, more: Record<string, unknown>) => ({
  message: detail,
  details: { index, ...more, errors: [{ pointer: `/skills/${index}`, detail }] }
})

export const CalleeNotInstalled = defineError(
  'SKILLS_CALLEE_NOT_INSTALLED',
  422,
  (caller: string, address: string, index: number) =>
    at(
      index,
      `${caller} may call ${address}, and no skill of that name is installed: install it with POST /v1/skills, or install ${caller} with a grant without it`,
      { address }
    )
)
export const CalleeToolUnknown = defineError(
  'SKILLS_CALLEE_TOOL_UNKNOWN',
  422,
  (caller: string, address: string, callee: string, index: number) =>
    at(index, `${caller} may call ${address}, and ${callee} has no such tool`, { address, callee })
)
export const CalleeAmbiguous = defineError(
  'SKILLS_CALLEE_AMBIGUOUS',
  422,
  (caller: string, address: string, names: string[], index: number) => {
    const [first = ''] = names
    const choice = JSON.stringify({ ref: first, as: address.split('.')[0] })
    const detail = `${caller} may call ${address}, and ${names.join(' and ')} are installed: name one in the session's skills, as ${choice}`
    return at(index, detail, { address, names })
  }
)
export const TooManySkills = defineError('SKILLS_TOO_MANY', 422, (index: number) =>
  at(index, `with the skills that this one may call the session has more than ${MAX_SKILLS}`, { max: MAX_SKILLS })
)

interface Address {
  text: string
  short: string
  tool: string
  /** Who may call it: the place of its ref. */
  index: number
  caller: string
}

/**
 * Pins the skills that the session's own may call, and tells each whom its addresses mean: the session's skill of that
 * alias, else the one installed skill of that short name (the version that the session holds, else the highest). In one
 * session an address means the same to every skill, or the intersection of two grants would be one of words.
 *
 * One step is the whole way: a called tool calls only what its caller may call too, so whatever can be reached over
 * however many skills, in circles or not, is named in the grant of one of the session's own.
 * @param named the session's own skills in the order of their refs
 * @returns those, and behind them the others, `hidden`
 * @throws SKILLS_CALLEE_NOT_INSTALLED, SKILLS_CALLEE_TOOL_UNKNOWN, SKILLS_CALLEE_AMBIGUOUS, SKILLS_TOO_MANY
 */
export async function withCallees(
  tx: Tx,
  named: readonly PinnedSkill[],
  pin: (install: InstallRow, alias: string) => Promise<PinnedSkill>
): Promise<PinnedSkill[]> {
  const addresses = named.flatMap(addressesOf)
  const callees = new Map(named.map((skill) => [skill.alias, skill]))
  const open = [...new Set(addresses.map(({ short }) => short))].filter((short) => !callees.has(short))
  const installs = open.length > 0 ? await installsByShortName(tx, open) : []
  const hidden: PinnedSkill[] = []
  for (const address of addresses) {
    let callee = callees.get(address.short)
    if (!callee) {
      const install = installOf(address, installs)
      const own = named.filter(({ name }) => name === install.name)
      callee = highest(own, '*') ?? own[0]
      if (!callee) {
        if (named.length + hidden.length >= MAX_SKILLS) throw new TooManySkills(address.index)
        callee = { ...(await pin(install, address.short)), hidden: true }
        hidden.push(callee)
      }
      callees.set(address.short, callee)
    }
    if (!Object.hasOwn(callee.tools, address.tool)) {
      throw new CalleeToolUnknown(address.caller, address.text, `${callee.name} ${callee.version}`, address.index)
    }
  }
  return [...named, ...hidden].map((skill) => withCalls(skill, callees))
}

function addressesOf(skill: PinnedSkill, index: number): Address[] {
  return toolsOf(skill).map((text) => {
    const [short = '', tool = ''] = text.split('.')
    return { text, short, tool, index, caller: skill.name }
  })
}

function toolsOf(skill: PinnedSkill): readonly string[] {
  return (skill.grant as Permissions).tools ?? []
}

function installOf({ caller, text, short, index }: Address, installs: readonly InstallRow[]): InstallRow {
  const rows = installs.filter(({ name }) => name.endsWith(`/${short}`))
  const names = [...new Set(rows.map(({ name }) => name))].sort()
  if (names.length > 1) throw new CalleeAmbiguous(caller, text, names, index)
  const version = latestOf(rows.map((row) => row.version))
  const row = rows.find((one) => one.version === version)
  if (!row) throw new CalleeNotInstalled(caller, text, index)
  return row
}

function withCalls(skill: PinnedSkill, callees: ReadonlyMap<string, PinnedSkill>): PinnedSkill {
  const calls = toolsOf(skill).flatMap((text): [string, string][] => {
    const short = text.split('.')[0] ?? ''
    const callee = callees.get(short)
    return callee ? [[short, callee.skillId]] : []
  })
  return calls.length > 0 ? { ...skill, calls: Object.fromEntries(calls) } : skill
}
