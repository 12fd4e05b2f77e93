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

export interface ResolveDeps {
  readonly loader: SkillLoader
  /** Whether this server can give what a permission asks for. */
  offers(permission: string): boolean
  /** Says no to versions that may not run now. */
  refuse(tx: Tx, pinned: readonly PinnedSkill[]): Promise<void>
}

/** From a session's refs to exact installed versions. */
export function createResolve({ loader, offers, refuse }: ResolveDeps): ToolsPort['resolve'] {
  return async (tx, refs) => {
    const wanted = refs.map(parseSkillRef)
    const installs = await installsOf(
      tx,
      wanted.map(({ name }) => name)
    )
    const pinned: PinnedSkill[] = []
    for (const [index, { ref, name, range, alias }] of wanted.entries()) {
      const install = highest(
        installs.filter((row) => row.name === name),
        range
      )
      if (!install) throw new SkillNotInstalled(ref, index)
      if (pinned.some((skill) => skill.alias === alias)) throw new SkillAliasConflict(alias, index)
      const missing = capabilitiesOf(install.grant).filter((permission) => !offers(permission))
      if (missing.length > 0) throw new SkillCapabilityUnavailable(name, missing, index)
      pinned.push(pin(install, alias, (await loader.load(install.digest)).manifest))
    }
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
