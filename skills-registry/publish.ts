import { createHash } from 'node:crypto'
import { audit, auditAll } from '#core/audit/audit.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Tx } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { AuthorKeyUnknown, DependenciesUnavailable, ScopeReserved, ScopeTaken, VersionTaken } from './errors.ts'
import { SkillPublished } from './events.ts'
import { canonicalJson } from './package/digest.ts'
import { SKILL_NAME } from './package/manifest.ts'
import { latestOf } from './refs.ts'
import { counterSign } from './signing/bundle.ts'
import type { SigningKey } from './signing/keys.ts'
import type { Verified } from './signing/verify.ts'
import * as store from './store.ts'

export interface PublishDeps {
  bus: Bus
  objects: ObjectStore
  registryKey: SigningKey
  reservedScopes: readonly string[]
}

export interface Publication {
  /** False where these bytes were published before. */
  created: boolean
  name: string
  version: string
  digest: string
  logIndex: number
  state: store.VersionRow['state']
}

/**
 * Publishes what verifyBundle accepted: binds scope and key on first use, counter-signs, appends to the log, tells.
 * All in the caller's tenant transaction. The bytes are stored when nothing can refuse them any more, before the rows
 * that name them: a crash before the commit leaves bytes without a row, and the same package finds them again.
 * @throws SKILLS_SCOPE_RESERVED, SKILLS_SCOPE_TAKEN, SKILLS_AUTHOR_KEY_UNKNOWN (403), SKILLS_VERSION_TAKEN (409),
 *   SKILLS_DEPENDENCIES_UNAVAILABLE (422)
 */
export async function publish(
  tx: Tx,
  deps: PublishDeps,
  tenantId: string,
  verified: Verified,
  archive: Uint8Array
): Promise<Publication> {
  const { manifest, digest, skillMd } = verified.package
  const { name, version } = manifest
  const scope = SKILL_NAME.exec(name)?.[1] ?? ''
  const dependencies = Object.keys(manifest.dependencies)
  if (dependencies.length > 0) throw new DependenciesUnavailable(dependencies)
  if (deps.reservedScopes.includes(scope) && tenantId !== TENANT_ZERO) throw new ScopeReserved(scope)

  const isOurs = tenantId === TENANT_ZERO // Until publishers can be verified, only the operator's own are.
  const newScope = { id: newId(), scope, verified: isOurs }
  const own = await store.claimScope(tx, newScope)
  if (!own) throw new ScopeTaken(scope)
  const author = { keyId: verified.authorKeyId, spki: verified.statement.predicate.authorPublicKey }
  if (!(await store.trustKey(tx, own.id, author))) throw new AuthorKeyUnknown(scope, author.keyId)

  const { description } = skillMd.frontmatter
  const skillId = await store.upsertSkill(tx, { id: newId(), scopeId: own.id, name, description, version })
  const there = await store.findVersion(tx, name, version)
  if (there && there.digest !== digest) throw new VersionTaken(name, version)
  // Before the log's lock, which all publishers share. Again for a version that is there: storing it twice is cheap.
  await deps.objects.put('platform', archive)
  const done = { action: 'skill.published', subject: `skill:${skillId}`, after: digest, details: { name, version } }
  if (there) {
    await audit(tx, { ...done, before: digest })
    return { created: false, name, version, digest, logIndex: Number(there.logIndex), state: there.state }
  }

  const signed = verified.registryKeyId === undefined ? counterSign(verified.bundle, deps.registryKey) : verified.bundle
  const entry = canonicalJson({ type: 'publish', name, version, digest, authorKeyId: author.keyId })
  const logIndex = await store.appendLog(tx, entry, leafHash(entry))
  await store.insertVersion(tx, newId(), {
    skillId,
    name,
    version,
    digest,
    sizeBytes: archive.length,
    manifest,
    bundle: JSON.stringify(signed),
    authorKeyId: author.keyId,
    logIndex
  })
  const versions = (await store.listVersions(tx, name)).map((row) => row.version)
  const latest = latestOf(versions) ?? version
  if (latest === version) await store.setLatest(tx, skillId, latest, description)
  const claimed = { action: 'scope.claimed', subject: `scope:${own.id}`, after: author.keyId, details: { scope } }
  await auditAll(tx, own.id === newScope.id ? [claimed, done] : [done])
  await deps.bus.emit(tx, SkillPublished, skillId, {
    skillId,
    name,
    version,
    digest,
    author: scope,
    authorKeyId: author.keyId,
    logIndex: Number(logIndex)
  })
  return { created: true, name, version, digest, logIndex: Number(logIndex), state: 'published' }
}

/** RFC 6962, 2.1: a leaf's hash starts with a zero byte, so that no inner node can pass for a leaf. */
function leafHash(entry: string): Uint8Array {
  return createHash('sha256').update(Uint8Array.of(0)).update(entry).digest()
}
