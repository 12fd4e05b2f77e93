import { z } from 'zod'
import { roleNames } from '#core/auth/roles.ts'
import { Email, Password } from '#core/auth/users.ts'
import { PageQuery } from '#core/http/page.ts'

const settingsBytes = 16 * 1024
const settingsDepth = 8

export const TenantName = z.string().trim().min(1).max(200)
const AnySlug = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'lower case letters, digits and inner hyphens, 1 to 63')
/** Of a new tenant: it is told from an id (the header AgentOS-Tenant takes both) and from a tombstone. */
export const Slug = AnySlug.refine(
  (slug) => !/^[0-9a-f]{32}$/.test(slug.replaceAll('-', '')),
  'looks like an id'
).refine((slug) => !slug.startsWith('erased-'), 'erased- is what erased tenants are called')
const Place = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'lower case letters, digits and hyphens, 1 to 63')
const AgentLimit = z.int().min(0).max(1_000_000)

/** Free for the tenant's own use: any JSON of at most 16 KiB and 8 levels. */
export const Settings = z
  .record(z.string().min(1).max(64), z.json())
  .refine((settings) => depthOf(settings) <= settingsDepth, `is nested deeper than ${settingsDepth} levels`)
  .refine((settings) => Buffer.byteLength(JSON.stringify(settings)) <= settingsBytes, `is above ${settingsBytes} bytes`)

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Math.max(0, ...Object.values(value).map(depthOf))
}

export const Role = z.enum(roleNames)

const Time = z.string()
export const OwnTenant = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string(),
  plan: z.string(),
  settings: z.record(z.string(), z.unknown()),
  agentLimit: z.number().nullable(),
  cell: z.string(),
  region: z.string(),
  createdAt: Time,
  updatedAt: Time,
  eraseAt: Time.nullable().describe('the tenant is deleted: its data is erased from then on')
})
export type OwnTenant = z.output<typeof OwnTenant>

export const ChangedTenant = z
  .strictObject({
    name: TenantName.optional(),
    settings: Settings.optional().describe('replaces all settings'),
    updatedAt: z.iso.datetime().optional().describe('as read: 409 when the tenant was changed since')
  })
  .refine(({ name, settings }) => name !== undefined || settings !== undefined, 'name or settings is required')

export const Membership = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string(),
  role: z.string().nullable().describe('null: a key that acts for no member'),
  suspended: z.boolean()
})

export const Member = z.object({
  userId: z.string(),
  email: z.string().nullable().describe('the address that was invited'),
  role: Role,
  createdAt: Time
})
export type Member = z.output<typeof Member>
export const ChangedMember = z.strictObject({ role: Role })
export const MemberParams = z.object({ userId: z.guid() })

export const NewInvitation = z.strictObject({ email: Email, role: Role })
export const Invitation = z.object({
  id: z.string(),
  email: z.string(),
  role: Role,
  state: z.enum(['open', 'accepted', 'revoked', 'expired']),
  invitedBy: z.string(),
  createdAt: Time,
  expiresAt: Time
})
export type Invitation = z.output<typeof Invitation>
/** `token` is in this one answer and nowhere else: no e-mail is sent, whoever invites hands it over. */
export const CreatedInvitation = Invitation.extend({ token: z.string(), acceptUrl: z.string() })
export const AcceptedInvitation = z.strictObject({
  token: z.string().min(1).max(200),
  password: Password.optional().describe(
    'of the user of the invited address, a new one where there is none; who is signed in sends a token instead'
  )
})
export const Acceptance = z.object({
  tenant: z.object({ id: z.string(), name: z.string(), slug: z.string() }),
  userId: z.string(),
  role: Role
})

export const DeletedTenant = z.strictObject({ confirm: z.string().max(63).describe("the tenant's slug") })

/** What the platform sees of a tenant: metadata and counts, nothing that the tenant wrote but its name. */
export const PlatformTenant = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string(),
  plan: z.string(),
  agentLimit: z.number().nullable(),
  cell: z.string(),
  region: z.string(),
  state: z.enum(['active', 'suspended', 'deleted', 'erased']),
  suspendedAt: Time.nullable(),
  suspendedReason: z.string().nullable(),
  eraseAt: Time.nullable(),
  erasedAt: Time.nullable(),
  createdAt: Time,
  updatedAt: Time,
  members: z.number(),
  owners: z.number(),
  running: z.number().describe('sessions that hold a slot'),
  queued: z.number().describe('sessions that wait for one')
})
export type PlatformTenant = z.output<typeof PlatformTenant>

export const NewPlatformTenant = z.strictObject({
  name: TenantName,
  slug: Slug,
  plan: z.string().min(1).max(64),
  agentLimit: AgentLimit.optional(),
  cell: Place.optional(),
  region: Place.optional(),
  ownerEmail: Email.optional().describe('invites the first owner; without it the answer holds a key with scope *')
})
export const CreatedPlatformTenant = PlatformTenant.extend({
  key: z.string().optional(),
  invitation: CreatedInvitation.optional()
})
export const NewOwner = z.strictObject({ email: Email })
export const ChangedPlatformTenant = z
  .strictObject({
    plan: z.string().min(1).max(64).optional(),
    agentLimit: AgentLimit.nullable().optional(),
    cell: Place.optional(),
    region: Place.optional()
  })
  .refine((change) => Object.keys(change).length > 0, 'nothing to change')
export const PlatformQuery = PageQuery.extend({
  state: z.enum(['active', 'suspended', 'deleted', 'erased']).optional(),
  slug: AnySlug.optional()
})
export const Suspension = z.strictObject({ reason: z.string().trim().min(1).max(500) })
export const Deletion = z
  .strictObject({
    graceDays: z.int().min(0).max(365).default(30),
    confirm: z.string().max(63).optional().describe("the tenant's slug; required for `graceDays` 0")
  })
  .default({ graceDays: 30 })
