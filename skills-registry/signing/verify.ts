import { digestOf, sha256 } from '#skills-registry/package/digest.ts'
import { readPackage, type SkillPackage } from '#skills-registry/package/read.ts'
import { Refusal } from '#skills-registry/refusal.ts'
import { type Bundle, parseBundle } from './bundle.ts'
import { decodeBase64, IN_TOTO, isSignedBy } from './dsse.ts'
import { type PublicKey, publicKeyFrom } from './keys.ts'
import { listFiles, parseStatement, permissionsDigest, type Statement, subjectName } from './statement.ts'

/** Whom the caller believes. Never taken from the bundle. */
export interface Trust {
  /** The registry's public keys, SPKI in base64. */
  roots: readonly string[]
  /** False only at publish, where the registry has not signed yet. */
  registrySignature: 'required' | 'optional'
}

export interface Verified {
  package: SkillPackage
  statement: Statement
  bundle: Bundle
  authorKeyId: string
  /** Undefined where the registry has not signed yet. */
  registryKeyId: string | undefined
}

/**
 * Verifies an archive against its bundle, with no network and no database. Whatever is not known to be right is refused,
 * in this order: the bundle's form, payload type, statement (decoded once; what was verified is what is read), author's
 * key and signature, every other signature, the registry's, archive digest, the archive's own rules, file list, file
 * digests, manifest digest, permissions digest, subject.
 * @throws Refusal, whose `code` names the check and whose `kind` tells wrong bytes from missing trust
 */
export function verifyBundle(archive: Uint8Array, bundleText: string, trust: Trust): Verified {
  const bundle = parseBundle(bundleText)
  const { statement, registryKeyId } = verifySignatures(bundle, trust)
  const [subject] = statement.subject
  const digest = digestOf(archive)
  if (digest !== `sha256:${subject.digest.sha256}`) {
    throw new Refusal('SKILLS_ARCHIVE_DIGEST', 'the archive is not the one that was signed', { digest })
  }
  const skill = readPackage(archive)
  verifyFiles(skill, statement)
  const { manifestDigest } = statement.predicate
  if (digestOf(skill.files.get('skill.json') ?? '') !== manifestDigest) {
    throw new Refusal('SKILLS_MANIFEST_DIGEST', 'skill.json is not the one that was signed')
  }
  if (permissionsDigest(skill.manifest) !== statement.predicate.permissionsDigest) {
    throw new Refusal('SKILLS_PERMISSIONS_DIGEST', 'the permissions are not those that were signed')
  }
  if (subjectName(skill.manifest) !== subject.name) {
    throw new Refusal('SKILLS_SUBJECT', `signed was ${subject.name}, skill.json says ${subjectName(skill.manifest)}`)
  }
  return { package: skill, statement, bundle, authorKeyId: statement.predicate.authorKeyId, registryKeyId }
}

function verifySignatures(bundle: Bundle, trust: Trust): { statement: Statement; registryKeyId: string | undefined } {
  const { payloadType, signatures } = bundle.publish
  if (payloadType !== IN_TOTO) throw new Refusal('SKILLS_PAYLOAD_TYPE', `payloadType is not ${IN_TOTO}`)
  const payload = decodeBase64(bundle.publish.payload)
  const claimed = signatures.map((signature) => signature.keyid)
  if (new Set(claimed).size !== claimed.length) throw new Refusal('SKILLS_SIGNATURE_REPEATED', 'a key signs twice')

  // The author's key stands inside the payload, so the payload is parsed to find it; nothing of it is used before the
  // signature over these same bytes has held.
  const statement = parseStatement(payload)
  const author = authorKey(statement)
  const trusted = new Map(trust.roots.map((spki) => publicKeyFrom(spki)).map((key) => [key.keyId, key]))
  checkRoots(bundle)

  let signedByAuthor = false
  let registryKeyId: string | undefined
  for (const { keyid, sig } of signatures) {
    const key = keyid === author.keyId ? author : trusted.get(keyid)
    if (!key) {
      throw new Refusal('SKILLS_SIGNER_UNTRUSTED', `key ${keyid.slice(0, 16)}… signed, and I do not trust it`, {
        keyid
      })
    }
    if (!isSignedBy(key, sig, payloadType, payload)) {
      const code = key === author ? 'SKILLS_AUTHOR_SIGNATURE_INVALID' : 'SKILLS_REGISTRY_SIGNATURE_INVALID'
      throw new Refusal(code, `the signature of key ${keyid.slice(0, 16)}… is wrong`, { keyid })
    }
    if (key === author) signedByAuthor = true
    if (trusted.has(keyid)) registryKeyId = keyid
  }
  if (!signedByAuthor) throw new Refusal('SKILLS_AUTHOR_SIGNATURE_MISSING', 'the author has not signed')
  if (trust.registrySignature === 'required' && registryKeyId === undefined) {
    throw new Refusal('SKILLS_REGISTRY_SIGNATURE_MISSING', 'no registry that I trust has signed')
  }
  return { statement, registryKeyId }
}

function authorKey(statement: Statement): PublicKey {
  const { authorKeyId, authorPublicKey } = statement.predicate
  const key = publicKeyFrom(authorPublicKey)
  if (key.keyId !== authorKeyId) throw new Refusal('SKILLS_AUTHOR_KEY_MISMATCH', 'authorKeyId is not the id of the key')
  return key
}

/** Roots are a hint for people; a hint that contradicts itself, or names who did not sign, is a changed file. */
function checkRoots(bundle: Bundle): void {
  const signers = new Set(bundle.publish.signatures.map((signature) => signature.keyid))
  for (const { keyId, publicKey } of bundle.roots) {
    if (sha256(decodeBase64(publicKey)) !== keyId || !signers.has(keyId)) {
      throw new Refusal('SKILLS_BUNDLE_ROOT_INVALID', `root ${keyId.slice(0, 16)}… is not a key that signed`, { keyId })
    }
  }
}

function verifyFiles(skill: SkillPackage, statement: Statement): void {
  const found = listFiles(skill.files)
  const { files } = statement.predicate
  const paths = (list: typeof files) => list.map((file) => file.path).join('\n')
  if (paths(found) !== paths(files)) {
    throw new Refusal('SKILLS_FILE_LIST', 'the files of the archive are not those that were signed')
  }
  for (const [i, file] of found.entries()) {
    if (file.sha256 !== files[i]?.sha256 || file.size !== files[i]?.size) {
      throw new Refusal('SKILLS_FILE_DIGEST', `${file.path} is not the file that was signed`, { path: file.path })
    }
  }
}
