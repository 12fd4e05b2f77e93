import { parse as parseJson } from 'secure-json-parse'
import { z } from 'zod'
import { canonicalJson, digestOf, sha256 } from '#skills-registry/package/digest.ts'
import type { Manifest } from '#skills-registry/package/manifest.ts'
import type { SkillPackage } from '#skills-registry/package/read.ts'
import { Refusal } from '#skills-registry/refusal.ts'
import type { PublicKey } from './keys.ts'

/** What an author says about a package, as an in-toto statement. Our own predicate. */
const PREDICATE_TYPE = 'https://agentos.dev/skill-publish/v1'

const Hex = z.string().regex(/^[0-9a-f]{64}$/)
const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)

export const Statement = z.strictObject({
  _type: z.literal('https://in-toto.io/Statement/v1'),
  subject: z.tuple([z.strictObject({ name: z.string().max(256), digest: z.strictObject({ sha256: Hex }) })]),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: z.strictObject({
    manifestDigest: Digest,
    permissionsDigest: Digest,
    files: z.array(z.strictObject({ path: z.string().max(256), size: z.int().min(0), sha256: Hex })).max(500),
    prevVersionDigest: Digest.nullable(),
    authorKeyId: Hex,
    /** SPKI, base64: with it a bundle is verified with the network off. Who owns the key is the registry's to say. */
    authorPublicKey: z.string().max(256),
    createdAt: z.iso.datetime()
  })
})
export type Statement = z.output<typeof Statement>

/** `skill:@scope/name@1.2.3` */
export function subjectName(manifest: { name: string; version: string }): string {
  return `skill:${manifest.name}@${manifest.version}`
}

/** Over the meaning of what is asked for: order and spaces in skill.json do not change it. */
export function permissionsDigest(manifest: Manifest): string {
  return digestOf(canonicalJson(manifest.permissions))
}

export function listFiles(files: ReadonlyMap<string, Uint8Array>): Statement['predicate']['files'] {
  return [...files].map(([path, content]) => ({ path, size: content.length, sha256: sha256(content) }))
}

/** @param createdAt ISO 8601 UTC; `prevVersionDigest` of the archive that this version follows, where the author knows it */
export function makeStatement(
  skill: SkillPackage,
  author: PublicKey,
  options: { createdAt: string; prevVersionDigest?: string }
): Statement {
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: subjectName(skill.manifest), digest: { sha256: skill.digest.slice('sha256:'.length) } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      manifestDigest: digestOf(skill.files.get('skill.json') ?? ''),
      permissionsDigest: permissionsDigest(skill.manifest),
      files: listFiles(skill.files),
      prevVersionDigest: options.prevVersionDigest ?? null,
      authorKeyId: author.keyId,
      authorPublicKey: author.spki,
      createdAt: options.createdAt
    }
  }
}

/** @throws SKILLS_STATEMENT_INVALID */
export function parseStatement(payload: Uint8Array): Statement {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(payload)
    return Statement.parse(parseJson(text, { protoAction: 'error', constructorAction: 'error' }))
  } catch (cause) {
    throw new Refusal('SKILLS_STATEMENT_INVALID', 'the signed statement is not one about publishing a skill', {}, cause)
  }
}
