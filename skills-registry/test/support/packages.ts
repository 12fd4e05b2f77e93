import { pack } from '#skills-registry/package/pack.ts'
import type { SkillPackage } from '#skills-registry/package/read.ts'
import { counterSign, signPackage } from '#skills-registry/signing/bundle.ts'
import { createKey, type SigningKey } from '#skills-registry/signing/keys.ts'

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

export interface Draft {
  name?: string
  version?: string
  manifest?: Record<string, unknown>
  code?: string
  extra?: Record<string, string>
}

/** The files of a small, right skill; each part can be replaced. */
export function skillFiles(draft: Draft = {}): Map<string, Uint8Array> {
  const name = draft.name ?? '@acme/echo'
  const manifest = {
    name,
    version: draft.version ?? '1.0.0',
    entry: 'dist/index.js',
    tools: { echo: { description: 'Gives back what it got.', input: {}, output: {}, effect: 'none' } },
    ...draft.manifest
  }
  const short = String(name).split('/')[1] ?? 'echo'
  return new Map([
    ['skill.json', bytes(JSON.stringify(manifest, null, 2))],
    ['SKILL.md', bytes(`---\nname: ${short}\ndescription: Gives back what it got.\n---\n# Echo\n`)],
    ['dist/index.js', bytes(draft.code ?? 'export async function echo(input) {\n  return input\n}\n')],
    ...Object.entries(draft.extra ?? {}).map(([path, text]) => [path, bytes(text)] as const)
  ])
}

export interface Signed {
  archive: Uint8Array
  /** With the author's signature only. */
  authorBundle: string
  /** With both. */
  bundle: string
  package: SkillPackage
  author: SigningKey
  registry: SigningKey
}

/** A package packed and signed by both, as the registry gives it out. */
export function signedSkill(draft: Draft = {}, keys: { author?: SigningKey; registry?: SigningKey } = {}): Signed {
  const author = keys.author ?? createKey().key
  const registry = keys.registry ?? createKey().key
  const packed = pack(skillFiles(draft))
  const signed = signPackage(packed.package, author, { createdAt: '2026-11-22T00:00:00.000Z' })
  return {
    archive: packed.archive,
    authorBundle: JSON.stringify(signed),
    bundle: JSON.stringify(counterSign(signed, registry)),
    package: packed.package,
    author,
    registry
  }
}
