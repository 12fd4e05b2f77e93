import { z } from 'zod'
import { PageQuery } from '#core/http/page.ts'
import { SkillNotFound } from './errors.ts'
import { SKILL_NAME } from './package/manifest.ts'

const State = z.enum(['published', 'held', 'yanked', 'revoked'])

export const PublishedAnswer = z.object({
  name: z.string(),
  version: z.string(),
  digest: z.string(),
  logIndex: z.int(),
  state: State
})

export const SearchQuery = PageQuery.extend({
  q: z.string().max(200).default('')
})

export const SkillSummary = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string(),
  latest: z.string(),
  createdAt: z.string()
})

const VersionSummary = z.object({ version: z.string(), digest: z.string(), state: State, publishedAt: z.string() })

export const SkillPage = SkillSummary.extend({ versions: z.array(VersionSummary) })

export const VersionPage = VersionSummary.extend({
  name: z.string(),
  sizeBytes: z.int(),
  authorKeyId: z.string(),
  logIndex: z.int(),
  manifest: z.record(z.string(), z.unknown())
})

export const InstallBody = z.strictObject({
  ref: z.string().min(1).max(300),
  grant: z.record(z.string(), z.unknown()).optional()
})

export const Installed = z.object({
  id: z.string(),
  name: z.string(),
  version: z.string(),
  digest: z.string(),
  range: z.string(),
  grant: z.record(z.string(), z.unknown()),
  installedAt: z.string()
})

/** `-` stands for no scope; nothing without a scope is published yet. */
export const SkillPath = z.object({ scope: z.string().max(64), name: z.string().max(64) })
export const VersionPath = SkillPath.extend({ version: z.string().max(64) })

/** @throws SKILLS_NOT_FOUND for what can be no name: it never reaches the database */
export function nameOf({ scope, name }: z.output<typeof SkillPath>): string {
  const full = `@${scope}/${name}`
  if (!SKILL_NAME.test(full)) throw new SkillNotFound(full)
  return full
}
