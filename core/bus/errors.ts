import { defineError } from '#core/errors.ts'

export const TopicInvalid = defineError('BUS_TOPIC_INVALID', 400, (topic: string) => ({
  message: `topic ${JSON.stringify(topic.slice(0, 100))} is none of <family>:<id>, <family>.*, an event's name or *`,
  details: { topic: topic.slice(0, 100) }
}))

export const ConsumerNameTaken = defineError(
  'BUS_CONSUMER_TAKEN',
  500,
  (name: string) => `consumer ${name} is registered twice`
)

/** Platform events are followed by whoever names them; no tenant's transaction could handle them once. */
export const PlatformConsumer = defineError(
  'BUS_PLATFORM_CONSUMER',
  500,
  (name: string, type: string) => `consumer ${name} asks for ${type}, which is on the platform's stream`
)

export const AlreadyStarted = defineError(
  'BUS_ALREADY_STARTED',
  500,
  (name: string) => `consumer ${name} came after the bus had started: the relay marks events for the consumers it knew`
)

export const TooManyStreams = defineError('BUS_TOO_MANY_STREAMS', 429, (limit: number) => ({
  message: `this tenant has ${limit} event streams open here, which is its limit`,
  details: { limit },
  retryAfterMs: 10_000
}))
