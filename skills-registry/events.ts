import { z } from 'zod'
import { defineEvent } from '#core/events.ts'

const base = { skillId: z.uuid(), name: z.string(), version: z.string(), digest: z.string() }

/** The registry's own (no tenantId). `skillId` is the registry's id of the skill, `author` the scope without @. */
export const SkillPublished = defineEvent('skill.published', {
  subject: 'skill',
  stream: 'platform',
  data: z.strictObject({ ...base, author: z.string(), authorKeyId: z.string(), logIndex: z.int() })
})

/** `skillId` is the id of the installation, as in `/v1/skills/{id}`. */
export const SkillInstalled = defineEvent('skill.installed', { subject: 'skill', data: z.strictObject(base) })

/** Sessions that pinned this version keep it; new ones do not find it. */
export const SkillUninstalled = defineEvent('skill.uninstalled', { subject: 'skill', data: z.strictObject(base) })
