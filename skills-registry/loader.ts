import { compileSchema, type SchemaCheck } from '#core/json-schema.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { RegistryInconsistent } from './errors.ts'
import type { Manifest } from './package/manifest.ts'
import { moduleSources, readPackage } from './package/read.ts'
import { refusing } from './refused.ts'

/** A package ready to run: what it says of itself, its code, its schemas compiled. */
export interface LoadedSkill {
  digest: string
  manifest: Manifest
  sources: ReadonlyMap<string, string>
  validators: ReadonlyMap<string, { input: SchemaCheck; output: SchemaCheck }>
}

const MAX_CACHED_BYTES = 64 * 1024 * 1024

/**
 * Packages by digest, least recently used ones forgotten. What a digest names was verified when it was installed; here
 * the bytes are held to the digest once more, so that a changed object store is seen.
 */
export class SkillLoader {
  readonly #objects: ObjectStore
  readonly #cache = new Map<string, { skill: Promise<LoadedSkill>; bytes: number }>()
  #bytes = 0

  constructor(objects: ObjectStore) {
    this.#objects = objects
  }

  /** @throws OBJECTS_NOT_FOUND, OBJECTS_CORRUPT, SKILLS_REGISTRY_INCONSISTENT, SKILLS_PACKAGE_* */
  load(digest: string): Promise<LoadedSkill> {
    const cached = this.#cache.get(digest)
    if (cached) {
      this.#cache.delete(digest) // to the end: used last
      this.#cache.set(digest, cached)
      return cached.skill
    }
    const entry = { skill: this.#read(digest), bytes: 0 }
    this.#cache.set(digest, entry)
    entry.skill.then(
      (skill) => {
        if (this.#cache.get(digest) !== entry) return
        for (const source of skill.sources.values()) entry.bytes += source.length * 2
        this.#bytes += entry.bytes
        this.#evict(digest)
      },
      () => this.#cache.delete(digest) // a failure is not remembered: the store may be back in a moment
    )
    return entry.skill
  }

  async #read(digest: string): Promise<LoadedSkill> {
    const archive = await this.#objects.get('platform', digest)
    const skill = await refusing(() => readPackage(archive))
    if (skill.digest !== digest) throw new RegistryInconsistent(digest)
    const validators = new Map(
      Object.entries(skill.manifest.tools).map(([name, tool]) => [
        name,
        { input: compileSchema(tool.input), output: compileSchema(tool.output) }
      ])
    )
    return { digest, manifest: skill.manifest, sources: moduleSources(skill.files), validators }
  }

  #evict(keep: string): void {
    for (const [digest, { bytes }] of this.#cache) {
      if (this.#bytes <= MAX_CACHED_BYTES) return
      if (digest === keep) continue
      this.#cache.delete(digest)
      this.#bytes -= bytes
    }
  }
}
