import { audit } from '#core/audit/audit.ts'
import type { Bus } from '#core/bus/index.ts'
import type { Tx } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { InstalledOtherwise, InstallNotFound, RegistryInconsistent, SkillNotFound } from './errors.ts'
import { SkillInstalled, SkillUninstalled } from './events.ts'
import { grantOf, sameGrant } from './grant.ts'
import { highest, parseRef } from './refs.ts'
import { refusing } from './refused.ts'
import { verifyBundle } from './signing/verify.ts'
import * as store from './store.ts'

export interface InstallDeps {
  bus: Bus
  objects: ObjectStore
  /** The registry's public keys that an install believes. */
  roots: readonly string[]
}

/**
 * Installs the highest published version of a range. Both signatures and every digest are verified again from the bytes:
 * the registry's rows are only where to look.
 * @returns `created` false where that version was installed before
 * @throws SKILLS_REF_INVALID, SKILLS_NOT_FOUND, SKILLS_GRANT_INVALID, SKILLS_INSTALLED_OTHERWISE,
 *   SKILLS_REGISTRY_INCONSISTENT, OBJECTS_*, and every code of verifyBundle
 */
export async function install(
  tx: Tx,
  deps: InstallDeps,
  wanted: { ref: string; grant?: unknown }
): Promise<{ created: boolean; row: store.InstallRow }> {
  const { name, range } = parseRef(wanted.ref)
  const offered = (await store.listVersions(tx, name)).filter(({ state }) => state === 'published')
  const best = highest(offered, range)
  const version = best && (await store.findVersion(tx, name, best.version))
  if (!version) throw new SkillNotFound(offered.length > 0 ? `a version ${range} of ${name}` : name)

  const archive = await deps.objects.get('platform', version.digest)
  const trust = { roots: deps.roots, registrySignature: 'required' } as const
  const { package: skill } = await refusing(() => verifyBundle(archive, version.bundle, trust))
  // The bytes are right; are they the ones that this name and version stand for?
  if (skill.digest !== version.digest || skill.manifest.name !== name || skill.manifest.version !== version.version) {
    throw new RegistryInconsistent(`${name} ${version.version}`)
  }

  const { digest } = skill
  const grant = grantOf(skill.manifest, wanted.grant)
  const made = await store.insertInstall(tx, {
    id: newId(),
    name,
    version: version.version,
    digest,
    range,
    grant,
    verified: version.verified
  })
  if (made) {
    await Promise.all([
      deps.bus.emit(tx, SkillInstalled, made.id, eventData(made)),
      audit(tx, {
        action: 'skill.installed',
        subject: `skill:${made.id}`,
        after: { digest, grant },
        details: named(made)
      })
    ])
    return { created: true, row: made }
  }
  const there = await store.findInstall(tx, name, version.version)
  if (!there) throw new SkillNotFound(name)
  if (wanted.grant !== undefined && !sameGrant(there.grant, grant)) throw new InstalledOtherwise(name, there.version)
  return { created: false, row: there }
}

/**
 * Uninstalls for new sessions. Sessions that exist pinned its digest and go on: the package stays in the registry.
 * @throws SKILLS_INSTALL_NOT_FOUND
 */
export async function uninstall(tx: Tx, bus: Bus, id: string): Promise<void> {
  const row = await store.deleteInstall(tx, id)
  if (!row) throw new InstallNotFound()
  const { digest, grant } = row
  await Promise.all([
    bus.emit(tx, SkillUninstalled, row.id, eventData(row)),
    audit(tx, { action: 'skill.uninstalled', subject: `skill:${id}`, before: { digest, grant }, details: named(row) })
  ])
}

function named({ name, version }: store.InstallRow) {
  return { name, version }
}

function eventData({ id, name, version, digest }: store.InstallRow) {
  return { skillId: id, name, version, digest }
}
