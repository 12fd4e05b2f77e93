import { Refusal } from '#skills-registry/refusal.ts'
import { digestOf } from './digest.ts'
import { gunzip } from './gzip.ts'
import { type Manifest, parseManifest } from './manifest.ts'
import { parseSkillMd, type SkillMd } from './skill-md.ts'
import { readTar } from './ustar.ts'

/** A package in memory: checked against every rule of the format, not yet against anybody's signature. */
export interface SkillPackage {
  manifest: Manifest
  skillMd: SkillMd
  /** By path, in path order. */
  files: Map<string, Uint8Array>
  /** `sha256:<hex>` of the archive's bytes. */
  digest: string
}

/**
 * Reads a .skill archive in memory.
 * @throws SKILLS_PACKAGE_*, SKILLS_MANIFEST_*, SKILLS_SKILL_MD_INVALID: each broken rule has its own code
 */
export function readPackage(archive: Uint8Array): SkillPackage {
  return checkFiles(readTar(gunzip(archive)), digestOf(archive))
}

/** The rules about content: what must be there, and that text is text. */
function checkFiles(files: Map<string, Uint8Array>, digest: string): SkillPackage {
  const manifest = parseManifest(readText(files, 'skill.json'))
  const skillMd = parseSkillMd(readText(files, 'SKILL.md'), manifest.name.split('/')[1] ?? '')
  if (!moduleSources(files).has(manifest.entry)) {
    throw new Refusal('SKILLS_PACKAGE_FILE_MISSING', `the entry ${manifest.entry} is not in the package`, {
      path: manifest.entry
    })
  }
  return { manifest, skillMd, files, digest }
}

/** The JavaScript of a package with its source maps, by path: all that the sandbox is ever given of it. */
export function moduleSources(files: ReadonlyMap<string, Uint8Array>): Map<string, string> {
  const sources = new Map<string, string>()
  for (const path of files.keys()) {
    if (/^dist\/.*\.js(\.map)?$/s.test(path)) sources.set(path, readText(files, path))
  }
  return sources
}

/** @throws SKILLS_PACKAGE_FILE_MISSING, SKILLS_PACKAGE_TEXT when it is not plain UTF-8 */
export function readText(files: ReadonlyMap<string, Uint8Array>, path: string): string {
  const bytes = files.get(path)
  if (!bytes) throw new Refusal('SKILLS_PACKAGE_FILE_MISSING', `${path} is not in the package`, { path })
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    if (!text.startsWith('\ufeff') && !text.includes('\0')) return text
  } catch (cause) {
    throw new Refusal('SKILLS_PACKAGE_TEXT', `${path} is not UTF-8`, { path }, cause)
  }
  throw new Refusal('SKILLS_PACKAGE_TEXT', `${path} starts with a byte order mark or holds a NUL`, { path })
}
