import { parse as parseJson } from 'secure-json-parse'
import semver from 'semver'
import { z } from 'zod'
import { escapePointer, findUnstorable } from '#core/json.ts'
import { compileSchema, SchemaRefused } from '#core/json-schema.ts'
import { Refusal } from '#skills-registry/refusal.ts'
import { PACKAGE_LIMITS, TOOL_LIMITS } from './limits.ts'

const PART = '[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){0,63}'
/** `@scope/name`; the second half is also the skill's name in SKILL.md and the first half of its tools' addresses. */
export const SKILL_NAME = new RegExp(`^@(${PART})/(${PART})$`)
export const ALIAS = new RegExp(`^${PART}$`)

// Names that would change what the exports object of a module is: a promise, a prototype.
const RESERVED_EXPORTS = new Set(['default', 'then', 'constructor', 'prototype', 'toString', 'valueOf', 'toJSON'])
const toolName = z
  .string()
  .regex(/^[a-z][A-Za-z0-9_]{0,63}$/, 'a tool is named like the function that it is: a letter, then letters and digits')
  .refine((name) => !RESERVED_EXPORTS.has(name), 'this name has a meaning of its own in JavaScript')
const skillName = z.string().regex(SKILL_NAME, 'must be like @scope/name, in lower case')
const version = z
  .string()
  .max(64)
  .refine((text) => semver.valid(text) === text, 'must be a version such as 1.2.3')
const range = z
  .string()
  .max(128)
  .refine((text) => semver.validRange(text) !== null, 'must be a range of versions such as ^1')

const host = z
  .string()
  .max(253)
  .regex(
    /^(?=.*[a-z])([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'must be one host name in lower case: no wildcard, address, port or path'
  )
const secretName = z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/, 'must be like API_TOKEN')

/** What a skill asks for; whatever is absent is refused at run time. */
export const Permissions = z.strictObject({
  fetch: z
    .array(
      z.strictObject({
        host,
        methods: z
          .array(z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']))
          .min(1)
          .max(6),
        secret: secretName.optional()
      })
    )
    .max(32)
    .optional(),
  storage: z.enum(['read', 'write']).optional(),
  files: z.enum(['read', 'write']).optional(),
  secrets: z.array(secretName).max(32).optional(),
  events: z
    .array(
      z
        .string()
        .regex(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/)
        .max(128)
    )
    .max(32)
    .optional(),
  model: z.strictObject({ tokens: z.int().min(1).max(10_000_000) }).optional(),
  tools: z
    .array(z.string().regex(new RegExp(`^${PART}\\.[a-z][A-Za-z0-9_]{0,63}$`), 'must be like skill.tool'))
    .max(64)
    .optional()
})
export type Permissions = z.output<typeof Permissions>

const limit = (what: keyof typeof TOOL_LIMITS.maxima, min: number) =>
  z.int().min(min).max(TOOL_LIMITS.maxima[what]).default(TOOL_LIMITS.defaults[what])

const Tool = z.strictObject({
  description: z.string().min(1).max(1024),
  input: z.record(z.string(), z.unknown()),
  output: z.record(z.string(), z.unknown()),
  effect: z
    .string()
    .regex(/^(none|irreversible|undo:.+)$/, 'must be none, irreversible or undo:<tool>')
    .default('none')
})

const ManifestShape = z.strictObject({
  name: skillName,
  version,
  description: z.string().max(1024).optional(),
  entry: z.string().regex(/^dist\/[a-z0-9][a-z0-9._/-]*\.js$/, 'must be a .js file under dist/'),
  tools: z.record(toolName, Tool),
  permissions: Permissions.default({}),
  limits: z
    .strictObject({
      cpuMs: limit('cpuMs', 1),
      wallMs: limit('wallMs', 1),
      memoryMb: limit('memoryMb', 8),
      hostCalls: limit('hostCalls', 0)
    })
    .prefault({}),
  dependencies: z.record(skillName, range).default({})
})

export const Manifest = ManifestShape.superRefine((manifest, ctx) => {
  const tools = Object.entries(manifest.tools)
  if (tools.length === 0) ctx.addIssue({ code: 'custom', path: ['tools'], message: 'a skill has at least one tool' })
  if (tools.length > 64) ctx.addIssue({ code: 'custom', path: ['tools'], message: 'a skill has at most 64 tools' })
  for (const [name, tool] of tools) {
    if (!tool.effect.startsWith('undo:')) continue
    const target = tool.effect.slice('undo:'.length)
    if (target !== name && Object.hasOwn(manifest.tools, target)) continue
    const message = `the tool that undoes ${name} must be another tool of this skill, ${target} is none`
    ctx.addIssue({ code: 'custom', path: ['tools', name, 'effect'], message })
  }
  for (const [i, rule] of (manifest.permissions.fetch ?? []).entries()) {
    if (rule.secret === undefined || manifest.permissions.secrets?.includes(rule.secret)) continue
    const message = `${rule.secret} must also stand in permissions.secrets`
    ctx.addIssue({ code: 'custom', path: ['permissions', 'fetch', i, 'secret'], message })
  }
})

/** skill.json as parsed: limits and permissions filled in. */
export type Manifest = z.output<typeof ManifestShape>

/**
 * Parses and checks skill.json.
 * @throws SKILLS_MANIFEST_INVALID (`details.errors`: pointers into skill.json), SKILLS_MANIFEST_SCHEMA for a tool's schema
 */
export function parseManifest(text: string): Manifest {
  if (text.length > PACKAGE_LIMITS.manifestBytes) {
    throw new Refusal('SKILLS_MANIFEST_INVALID', `skill.json has more than ${PACKAGE_LIMITS.manifestBytes} bytes`)
  }
  let json: unknown
  try {
    json = parseJson(text, { protoAction: 'error', constructorAction: 'error' })
  } catch (cause) {
    throw new Refusal('SKILLS_MANIFEST_INVALID', `skill.json is no JSON: ${String(cause)}`, {}, cause)
  }
  // Before anything that recurses, and before jsonb, which has no NUL.
  const bad = findUnstorable(json)
  if (bad) {
    const errors = [bad]
    throw new Refusal('SKILLS_MANIFEST_INVALID', `skill.json${bad.pointer.slice(0, 200)}: ${bad.detail}`, { errors })
  }
  const parsed = Manifest.safeParse(json)
  if (!parsed.success) {
    const errors = parsed.error.issues.map((issue) => ({
      pointer: issue.path.map((part) => `/${escapePointer(part)}`).join(''),
      detail: issue.message
    }))
    const first = errors[0]
    throw new Refusal('SKILLS_MANIFEST_INVALID', `skill.json${first?.pointer}: ${first?.detail}`, { errors })
  }
  for (const [name, tool] of Object.entries(parsed.data.tools)) {
    for (const side of ['input', 'output'] as const) checkToolSchema(name, side, tool[side])
  }
  return parsed.data
}

function checkToolSchema(name: string, side: 'input' | 'output', schema: object): void {
  try {
    compileSchema(schema)
  } catch (cause) {
    if (!(cause instanceof SchemaRefused)) throw cause
    const pointer = `/tools/${name}/${side}${cause.pointer}`
    const errors = [{ pointer, detail: cause.detail }]
    throw new Refusal('SKILLS_MANIFEST_SCHEMA', `skill.json${pointer}: ${cause.detail}`, { errors }, cause)
  }
}
