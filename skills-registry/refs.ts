import semver from 'semver'
import { SkillRefInvalid } from '#core/ports/tools.ts'
import { SKILL_NAME } from './package/manifest.ts'

/** `@scope/name@range`; without a range, any version. */
export interface Ref {
  name: string
  /** The second half of the name: what its tools are addressed by. */
  short: string
  range: string
}

/** @param index the ref's place in a list, for the error; null where it stands alone @throws SKILLS_REF_INVALID */
export function parseRef(text: string, index: number | null = null): Ref {
  const at = text.indexOf('@', 1)
  const name = at === -1 ? text : text.slice(0, at)
  const range = at === -1 ? '*' : text.slice(at + 1)
  const short = SKILL_NAME.exec(name)?.[2]
  if (short === undefined || range.length > 128 || range.trim() === '' || semver.validRange(range) === null) {
    throw new SkillRefInvalid(text, index)
  }
  return { name, short, range }
}

/** The highest version of the range; pre-releases only where the range names them. */
export function highest<V extends { version: string }>(versions: readonly V[], range: string): V | undefined {
  const best = semver.maxSatisfying(
    versions.map(({ version }) => version),
    range
  )
  return versions.find(({ version }) => version === best)
}

/** The version to show first: the highest that is no pre-release, else the highest. */
export function latestOf(versions: readonly string[]): string | undefined {
  const sorted = [...versions].sort(semver.rcompare)
  return sorted.find((version) => semver.prerelease(version) === null) ?? sorted[0]
}
