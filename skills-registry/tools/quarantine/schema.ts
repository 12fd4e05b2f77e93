import { z } from 'zod'
import { PageQuery } from '#core/http/page.ts'
import type { QuarantineRow } from './store.ts'

/** A quarantine as its tenant sees it. */
export const ShownQuarantine = z.object({
  id: z.string(),
  skillId: z.string(),
  skill: z.string(),
  version: z.string(),
  digest: z.string(),
  state: z.enum(['open', 'lifted']),
  since: z.string(),
  explanation: z.string(),
  crashes: z.array(
    z.object({ sessionId: z.string(), step: z.string(), code: z.string(), reason: z.string(), at: z.string() })
  ),
  liftedAt: z.string().nullable(),
  liftReason: z.string().nullable()
})

/** As the platform sees it: what stands still and why it crashed, nothing of the tenant's sessions. */
export const PlatformQuarantine = ShownQuarantine.omit({ explanation: true, crashes: true }).extend({
  tenantId: z.string(),
  reasons: z.array(z.string()),
  liftedBy: z.string().nullable()
})

export const PlatformQuarantineQuery = PageQuery.extend({ tenant: z.guid().optional() })
export const Lift = z.strictObject({ reason: z.string().trim().min(1).max(500) })

export function showQuarantine(row: QuarantineRow): z.output<typeof ShownQuarantine> {
  return { ...head(row), explanation: row.explanation, crashes: row.crashes }
}

export function showForPlatform(row: QuarantineRow): z.output<typeof PlatformQuarantine> {
  const reasons = row.crashes.map(({ reason }) => reason)
  return { ...head(row), tenantId: row.tenantId, reasons, liftedBy: row.liftedBy }
}

function head({ id, skillId, skill, version, digest, since, liftedAt, liftReason }: QuarantineRow) {
  return {
    id,
    skillId,
    skill,
    version,
    digest,
    state: liftedAt === null ? ('open' as const) : ('lifted' as const),
    since: since.toISOString(),
    liftedAt: liftedAt?.toISOString() ?? null,
    liftReason
  }
}
