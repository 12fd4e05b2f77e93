import { parseDocument } from 'yaml'
import { z } from 'zod'
import { findUnstorable } from '#core/json.ts'
import { Refusal } from '#skills-registry/refusal.ts'
import { PACKAGE_LIMITS } from './limits.ts'

// The open Agent Skills format (agentskills.io/specification), kept pure: no key of ours stands in it, so that the same
// file works with every other reader.
const Frontmatter = z.strictObject({
  name: z
    .string()
    .max(64)
    .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'must be lower-case letters, digits and single hyphens'),
  description: z.string().trim().min(1).max(1024),
  license: z.string().min(1).max(256).optional(),
  compatibility: z.string().min(1).max(500).optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  'allowed-tools': z.string().optional()
})

type Frontmatter = z.output<typeof Frontmatter>

/** SKILL.md in its two parts; the body is Markdown for an agent to read. */
export interface SkillMd {
  frontmatter: Frontmatter
  body: string
}

/**
 * Parses SKILL.md.
 * @param expectedName the skill's name without its scope; the format asks for the folder's name, which is this one
 * @throws SKILLS_SKILL_MD_INVALID saying which key
 */
export function parseSkillMd(text: string, expectedName: string): SkillMd {
  const refuse = (detail: string, cause?: unknown) =>
    new Refusal('SKILLS_SKILL_MD_INVALID', `SKILL.md: ${detail}`, {}, cause)
  const match = /^---\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)([\s\S]*)$/.exec(text)
  if (!match) throw refuse('it starts with YAML between two lines of ---')
  const [, yaml = '', body = ''] = match
  if (yaml.length > PACKAGE_LIMITS.frontmatterBytes) throw refuse('its frontmatter is too long')
  const document = parseDocument(yaml, { uniqueKeys: true, merge: false, version: '1.2' })
  const problem = document.errors[0]
  if (problem) throw refuse(problem.message, problem)
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 0 }) // an alias can be a bomb, and this format needs none
  } catch (cause) {
    throw refuse('YAML aliases are not allowed', cause)
  }
  const bad = findUnstorable(value)
  if (bad) throw refuse(`${bad.pointer.slice(1, 100) || 'frontmatter'}: ${bad.detail}`)
  const parsed = Frontmatter.safeParse(value)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw refuse(`${issue?.path.join('.') || 'frontmatter'}: ${issue?.message}`, parsed.error)
  }
  if (parsed.data.name !== expectedName) {
    throw refuse(`name: is ${parsed.data.name}, skill.json says ${expectedName}`)
  }
  return { frontmatter: parsed.data, body }
}
