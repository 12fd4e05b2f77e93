import { z } from 'zod'
import type { Bus } from '#core/bus/index.ts'
import { type EventType, MAX_EVENT_BYTES } from '#core/events.ts'
import { findUnstorable } from '#core/json.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import { type Capability, CapabilityError, type HostCall, method } from '../capability.ts'

/** The family of what skills publish: no room declares an event of it, so a skill never speaks in a room's name. */
export const EVENT_FAMILY = 'custom'

const Payload = z.custom<Record<string, unknown>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object'
)

const PublishArguments = z.tuple([
  z.string().max(128),
  Payload.superRefine((data, ctx) => {
    const fault = findUnstorable(data)
    if (fault) ctx.addIssue({ code: 'custom', path: fault.pointer.split('/').slice(1), message: fault.detail })
  })
])

/** What the host says stands beside the payload and never in it: a `tenantId` that a skill sends is a word like any other. */
const Data = z.strictObject({
  sessionId: z.uuid(),
  step: z.string(),
  skill: z.string(),
  version: z.string(),
  payload: Payload
})

export function mayPublish(permissions: Permissions, type: string): boolean {
  return permissions.events?.includes(type) ?? false
}

/**
 * `@acme/csv-profile` and `report.made` give `custom.acme.csv_profile.report.made`. Names of skills have no underscore and
 * no dot, so no two skills share a name of an event, and `custom.acme.*` follows one publisher.
 */
export function eventName(skill: string, type: string): string {
  return `${EVENT_FAMILY}.${skill.slice(1).replace('/', '.').replaceAll('-', '_')}.${type}`
}

/**
 * Events under the skill's own name, in its session. Declared for each call: which types there are is for the manifests to
 * say, schema and size are held as for every other event.
 */
export function createEventsCapability({ bus }: { bus: Pick<Bus, 'emit'> }): Capability {
  return {
    name: 'events',
    names: ({ events }) => (events && events.length > 0 ? ['events.publish'] : []),
    methods: {
      'events.publish': method<z.output<typeof PublishArguments>>({
        args: PublishArguments,
        async inTx(tx, call, [type, payload]) {
          if (!mayPublish(call.permissions, type)) {
            throw new CapabilityError('CAPABILITY_DENIED', `ctx.events.publish: ${JSON.stringify(type)} is not granted`)
          }
          const data = { ...aboutCall(call), payload }
          const bytes = Buffer.byteLength(JSON.stringify(data))
          if (bytes > MAX_EVENT_BYTES) {
            const message = `the event is ${bytes} bytes with what the host adds, ${MAX_EVENT_BYTES} are allowed`
            throw new CapabilityError('EVENTS_TOO_LARGE', message)
          }
          call.budget.countEvent()
          const event = eventName(call.skill.name, type)
          const declared: EventType<z.output<typeof Data>> = {
            type: event,
            subject: 'session',
            data: Data,
            stream: 'tenant'
          }
          await bus.emit(tx, declared, call.sessionId, data)
          return { event }
        },
        audit: (call, [type]) => {
          const { step, skill, version } = aboutCall(call)
          const details = { event: eventName(skill, type), skill, version, step }
          return { action: 'tool.event_published', subject: `session:${call.sessionId}`, details }
        }
      })
    }
  }
}

function aboutCall({ sessionId, step, skill }: HostCall) {
  return { sessionId, step, skill: skill.name, version: skill.version }
}
