import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Refusal } from '#skills-registry/refusal.ts'
import { gzip } from './gzip.ts'
import { PACKAGE_LIMITS } from './limits.ts'
import { checkPath } from './paths.ts'
import { readPackage, readText, type SkillPackage } from './read.ts'
import { compileSources, isSource } from './typescript.ts'
import { writeTar } from './ustar.ts'

/** What of a folder goes in. A list of what may, not of what may not: a forgotten .env stays at home. */
const FILES = ['skill.json', 'SKILL.md', 'README.md', 'CHANGELOG.md', 'LICENSE', 'LICENSE.md', 'LICENSE.txt', 'NOTICE']
const FOLDERS = ['dist', 'assets', 'references', 'scripts']

/**
 * Packs files into the bytes of a .skill; the same files give the same bytes on any machine and on any day.
 * @throws what readPackage throws: nothing is packed that would be refused
 */
export function pack(files: ReadonlyMap<string, Uint8Array>): { archive: Uint8Array; package: SkillPackage } {
  const archive = gzip(writeTar(files))
  return { archive, package: readPackage(archive) }
}

/**
 * Reads the files of a skill's folder: skill.json, SKILL.md, licence and readme, dist/, assets/, references/, scripts/.
 * A folder without dist/ has it made of src/: .ts without its types, .js as it is (typescript.ts).
 * @throws SKILLS_PACKAGE_TAR_LINK for a symbolic link (it may lead out of the folder), SKILLS_PACKAGE_PATH,
 *   SKILLS_PACKAGE_TOO_MANY_ENTRIES, SKILLS_PACKAGE_UNPACKED_TOO_LARGE; SKILLS_SOURCE_INVALID with the author's file, line and
 *   column; an error of the file system as it is
 */
export async function readFolder(folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  let bytes = 0
  const visit = async (path: string, wanted = (_path: string) => true): Promise<void> => {
    const stat = await lstat(join(folder, path))
    if (stat.isSymbolicLink()) throw new Refusal('SKILLS_PACKAGE_TAR_LINK', `${path} is a link`, { path })
    if (stat.isDirectory()) {
      for (const name of (await readdir(join(folder, path))).sort()) await visit(`${path}/${name}`, wanted)
      return
    }
    if (!wanted(path)) return
    checkPath(path)
    bytes += stat.size
    if (files.size === PACKAGE_LIMITS.entries) {
      throw new Refusal('SKILLS_PACKAGE_TOO_MANY_ENTRIES', `more than ${PACKAGE_LIMITS.entries} files`)
    }
    if (bytes > PACKAGE_LIMITS.unpackedBytes) {
      throw new Refusal('SKILLS_PACKAGE_UNPACKED_TOO_LARGE', `more than ${PACKAGE_LIMITS.unpackedBytes} bytes`)
    }
    files.set(path, await readFile(join(folder, path)))
  }
  const present = new Set(await readdir(folder))
  for (const name of [...FILES, ...FOLDERS]) if (present.has(name)) await visit(name)
  if (present.has('dist') || !present.has('src')) return files
  await visit('src', isSource)
  return compiled(files)
}

/** Files of src/ replaced by what they become in dist/. */
function compiled(files: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  const isSrc = (path: string) => path.startsWith('src/')
  const sources = new Map([...files].filter(([path]) => isSrc(path)).map(([path]) => [path, readText(files, path)]))
  const scripts = [...compileSources(sources)].map(([path, text]) => [path, new TextEncoder().encode(text)] as const)
  return new Map([...[...files].filter(([path]) => !isSrc(path)), ...scripts])
}

/** readFolder, then pack. */
export async function packFolder(folder: string): Promise<{ archive: Uint8Array; package: SkillPackage }> {
  return pack(await readFolder(folder))
}
