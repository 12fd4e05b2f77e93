import { systemClock } from '#core/clock.ts'
import { packFolder } from './package/pack.ts'
import type { SkillPackage } from './package/read.ts'
import { signPackage } from './signing/bundle.ts'
import { loadOrCreateKeyFile } from './signing/keys.ts'

/** A folder made ready to be posted to a registry: the two parts of POST /v1/registry/skills. */
export interface Publication {
  archive: Uint8Array
  /** JSON text of `<name>-<version>.skill.bundle.json`. */
  bundle: string
  package: SkillPackage
}

/**
 * Packs a skill's folder and signs it as its author. Talks to nobody.
 * @param options.authorKeyFile PEM (PKCS 8), mode 0600; made when it is not there
 * @throws Refusal for a folder that no registry would take, SourceError for sources that cannot be packed
 */
export async function publishFolder(options: {
  folder: string
  authorKeyFile: string
  now?: () => number
}): Promise<Publication> {
  const packed = await packFolder(options.folder)
  const author = await loadOrCreateKeyFile(options.authorKeyFile)
  const createdAt = new Date((options.now ?? systemClock.now)()).toISOString()
  const bundle = JSON.stringify(signPackage(packed.package, author, { createdAt }))
  return { archive: packed.archive, bundle, package: packed.package }
}
