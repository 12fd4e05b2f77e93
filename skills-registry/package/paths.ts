import { Refusal } from '#skills-registry/refusal.ts'

// Lower case keeps twins apart on file systems that fold case. The exceptions are names that the open Agent Skills
// format and every licence text spell in capitals (SKILL.md, LICENSE, references/REFERENCE.md).
const SEGMENT = '[a-z0-9][a-z0-9._-]*'
const PATH = new RegExp(`^${SEGMENT}(/${SEGMENT}){0,6}$`)
const CAPITALS = new RegExp(`^(${SEGMENT}/){0,6}[A-Z][A-Z0-9_-]*(\\.(md|txt))?$`)

/** ustar's name field; the prefix field is not used, so that every path has one encoding. */
const MAX_PATH_BYTES = 100

/** @throws SKILLS_PACKAGE_PATH for what is absolute, climbs, hides, or is spelled in anything but plain ASCII */
export function checkPath(path: string): void {
  if (path.length <= MAX_PATH_BYTES && (PATH.test(path) || CAPITALS.test(path))) return
  throw new Refusal('SKILLS_PACKAGE_PATH', `${JSON.stringify(path.slice(0, 200))} is no path that a package may have`, {
    path: path.slice(0, 200)
  })
}

/** Two paths with the same key are the same file on some file system. */
export function twinKey(path: string): string {
  return path.normalize('NFC').toLowerCase()
}

/** Byte order, the order of entries. Paths are ASCII, so code units are bytes. */
export function comparePaths(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
