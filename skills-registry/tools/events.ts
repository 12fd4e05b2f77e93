import { z } from 'zod'
import { defineEvent } from '#core/events.ts'

const version = { skillId: z.uuid(), skill: z.string(), version: z.string(), digest: z.string() }

/** Three crashes in ten minutes: no tool of this version runs for the tenant until an operator lifts it. */
export const ToolQuarantined = defineEvent('tool.quarantined', {
  subject: 'skill',
  data: z.strictObject({
    ...version,
    crashes: z.array(
      z.strictObject({ sessionId: z.uuid(), step: z.string(), code: z.string(), reason: z.string(), at: z.string() })
    ),
    explanation: z.string()
  })
})

/** It runs again, and its crashes count anew. */
export const ToolQuarantineLifted = defineEvent('tool.quarantine_lifted', {
  subject: 'skill',
  data: z.strictObject({ ...version, quarantineId: z.uuid(), reason: z.string() })
})
