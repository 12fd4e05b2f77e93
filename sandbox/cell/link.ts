// The files of a package as modules: relative imports inside the package, nothing else.
import { posix } from 'node:path'
import type ivm from 'isolated-vm'

export interface GuestSkill {
  digest: string
  entry: string
  files: Map<string, string>
}

/** The package itself is wrong: a missing file, a forbidden import, a syntax error. */
export class LoadError extends Error {}

/** Compiles and links the entry with everything that it imports. Runs no code of the skill. */
export async function link(isolate: ivm.Isolate, context: ivm.Context, skill: GuestSkill): Promise<ivm.Module> {
  const modules = new Map<string, ivm.Module>()
  const paths = new Map<ivm.Module, string>()
  const compile = async (path: string, from?: string): Promise<ivm.Module> => {
    const known = modules.get(path)
    if (known) return known
    const source = skill.files.get(path)
    if (source === undefined) throw new LoadError(missing(skill, path, from))
    const module = await isolate.compileModule(source, { filename: `skill:/${path}` }).catch((error: unknown) => {
      if (isolate.isDisposed) throw error
      throw new LoadError(plain(error))
    })
    // Two imports of one file may have been compiled at the same time: the first one stays.
    const first = modules.get(path) ?? module
    modules.set(path, first)
    paths.set(first, path)
    return first
  }
  const entry = await compile(skill.entry)
  await entry.instantiate(context, (specifier, referrer) => {
    const from = paths.get(referrer) ?? skill.entry
    if (!/^\.\.?\//.test(specifier))
      throw new LoadError(`${from} imports ${specifier.slice(0, 200)}: ${advice(specifier)}`)
    return compile(posix.join(posix.dirname(from), specifier), from)
  })
  return entry
}

function missing(skill: GuestSkill, path: string, from: string | undefined): string {
  const shown = path.slice(0, 200)
  if (from === undefined) return `the entry ${shown} is not in the package`
  if (path.startsWith('../')) return `${from} imports ${shown}, which is outside the package`
  const meant = [`${path}.js`, `${path}/index.js`, path.replace(/\.ts$/, '.js')].find((other) => skill.files.has(other))
  return `${from} imports ${shown}, which is not in the package${meant ? `; did you mean ${meant}?` : ''}`
}

function advice(specifier: string): string {
  if (specifier.startsWith('node:')) return 'a skill has no Node modules, what it may do is in ctx'
  if (/^[a-z]+:/i.test(specifier) || specifier.startsWith('/'))
    return 'only relative files of the package can be imported'
  return 'packages cannot be imported at run time, bundle them (only relative files of the package can be imported)'
}

function plain(error: unknown): string {
  return String(error instanceof Error ? error.message : error)
    .replaceAll('skill:/', '')
    .replace(/ ?\[<isolated-vm>:0:0\]/, '')
    .slice(0, 4000)
}
