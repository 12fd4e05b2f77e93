import { parse as parseJson } from 'secure-json-parse'
import { z } from 'zod'
import type { SkillPackage } from '#skills-registry/package/read.ts'
import { Refusal } from '#skills-registry/refusal.ts'
import { addSignature, Envelope, signEnvelope } from './dsse.ts'
import type { PublicKey, SigningKey } from './keys.ts'
import { makeStatement } from './statement.ts'

/** Fields that the format has and this version cannot verify yet: what is not understood is refused, never skipped. */
const LATER = ['verdict', 'inclusion', 'checkpoint'] as const

const Root = z.strictObject({ keyId: z.string().regex(/^[0-9a-f]{64}$/), publicKey: z.string().max(256) })

/** `x.skill.bundle.json`, beside the archive. `roots` says which registry keys signed; it is no reason to trust them. */
export const Bundle = z.strictObject({ format: z.literal(1), publish: Envelope, roots: z.array(Root).max(16) })
export type Bundle = z.output<typeof Bundle>

/** Signs a package as its author. */
export function signPackage(
  skill: SkillPackage,
  author: SigningKey,
  options: { createdAt: string; prevVersionDigest?: string }
): Bundle {
  const payload = Buffer.from(JSON.stringify(makeStatement(skill, author, options)))
  return { format: 1, publish: signEnvelope(payload, author), roots: [] }
}

/** Adds the registry's signature, over the same payload. */
export function counterSign(bundle: Bundle, registry: SigningKey): Bundle {
  return { ...bundle, publish: addSignature(bundle.publish, registry), roots: [rootOf(registry)] }
}

function rootOf(key: PublicKey): Bundle['roots'][number] {
  return { keyId: key.keyId, publicKey: key.spki }
}

/**
 * Parses a bundle's JSON text.
 * @throws SKILLS_BUNDLE_INVALID, SKILLS_BUNDLE_UNSUPPORTED for a format or part that this version cannot verify
 */
export function parseBundle(text: string): Bundle {
  let json: unknown
  try {
    json = parseJson(text, { protoAction: 'error', constructorAction: 'error' })
  } catch (cause) {
    throw new Refusal('SKILLS_BUNDLE_INVALID', 'the bundle is no JSON', {}, cause)
  }
  if (typeof json === 'object' && json !== null) {
    const unknown = LATER.filter((key) => Object.hasOwn(json, key))
    const format: unknown = Reflect.get(json, 'format')
    if (unknown.length > 0 || (typeof format === 'number' && format !== 1)) {
      const what = unknown.length > 0 ? unknown.join(', ') : `format ${String(format)}`
      throw new Refusal('SKILLS_BUNDLE_UNSUPPORTED', `this version cannot verify: ${what}`)
    }
  }
  const parsed = Bundle.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Refusal(
      'SKILLS_BUNDLE_INVALID',
      `the bundle's ${issue?.path.join('.')}: ${issue?.message}`,
      {},
      parsed.error
    )
  }
  return parsed.data
}
