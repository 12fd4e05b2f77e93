import type { Tx } from '#core/db/index.ts'
import {
  type PinnedSkill,
  type PinnedTool,
  SkillAliasConflict,
  SkillCapabilityUnavailable,
  SkillNotInstalled,
  type SkillRef,
  SkillRefInvalid,
  type ToolsPort
} from '#core/ports/tools.ts'
import { capabilitiesOf } from '#skills-registry/grant.ts'
import type { SkillLoader } from '#skills-registry/loader.ts'
import { ALIAS, type Manifest } from '#skills-registry/package/manifest.ts'
import { highest, parseRef } from '#skills-registry/refs.ts'
import { type InstallRow, installsOf } from '#skills-registry/store.ts'
import { withCallees } from './callees.ts'

export interface ResolveDeps {
  readonly loader: SkillLoader
  /** Whether this server can give what a permission asks for. */
  offers(permission: string): boolean
  /** Says no to versions that may not run now. */
  refuse(tx: Tx, pinned: readonly PinnedSkill[]): Promise<void>
}

/** From a session's refs to exact installed versions, and to those of the skills that they may call. */
export function createResolve({ loader, offers, refuse }: ResolveDeps): ToolsPort['resolve'] {
  const load = async (install: InstallRow, alias: string) =>
    pin(install, alias, (await loader.load(install.digest)).manifest)

  return async (tx, refs) => {
    const wanted = refs.map(parseSkillRef)
    const installs = await installsOf(
      tx,
      wanted.map(({ name }) => name)
    )
    const named: PinnedSkill[] = []
    for (const [index, { ref, name, range, alias }] of wanted.entries()) {
      const install = highest(
        installs.filter((row) => row.name === name),
        range
      )
      if (!install) throw new SkillNotInstalled(ref, index)
      if (named.some((skill) => skill.alias === alias)) throw new SkillAliasConflict(alias, index)
      // Of these only: whatever a skill behind them is granted, it acts within the grant of one of them.
      const missing = capabilitiesOf(install.grant).filter((permission) => !offers(permission))
      if (missing.length > 0) throw new SkillCapabilityUnavailable(name, missing, index)
      named.push(await load(install, alias))
    }
    const pinned = await withCallees(tx, named, load)
    await refuse(tx, pinned)
    return pinned
  }
}

function parseSkillRef(given: SkillRef, index: number) {
  const ref = typeof given === 'string' ? given : given.ref
  const parsed = parseRef(ref, index)
  const alias = typeof given === 'string' ? parsed.short : (given.as ?? parsed.short)
  if (!ALIAS.test(alias)) throw new SkillRefInvalid(alias, index)
  return { ...parsed, ref, alias }
}

function pin(install: InstallRow, alias: string, manifest: Manifest): PinnedSkill {
  const tools = Object.entries(manifest.tools).map(([name, tool]): [string, PinnedTool] => [
    name,
    {
      description: tool.description,
      inputSchema: tool.input,
      outputSchema: tool.output,
      effect: tool.effect as PinnedTool['effect'],
      limits: manifest.limits
    }
  ])
  const { id, name, version, digest, verified, grant } = install
  return { alias, skillId: id, name, version, digest, verified, grant, tools: Object.fromEntries(tools) }
}
