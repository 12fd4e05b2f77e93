import { eventCatalogue, type StreamKind } from '#core/events.ts'
import { TopicInvalid } from './errors.ts'

/** Topics taken apart, so that matching is a few look-ups and history can filter in SQL. */
export interface TopicFilter {
  all: boolean
  types: Set<string>
  subjects: Set<string>
  /** `session.` for `session.*` */
  prefixes: string[]
}

const SUBJECT = /^[a-z][a-z0-9_]*:[^\s:][^\s]{0,199}$/
const FAMILY = /^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\.\*$/
// A part after the first may begin with a digit: a publisher's name may, in the events of its skills.
const TYPE = /^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$/

/** @throws BUS_TOPIC_INVALID */
export function parseTopics(topics: Iterable<string>): TopicFilter {
  const filter: TopicFilter = { all: false, types: new Set(), subjects: new Set(), prefixes: [] }
  for (const topic of topics) {
    if (topic === '*') filter.all = true
    else if (FAMILY.test(topic)) filter.prefixes.push(topic.slice(0, -1))
    else if (SUBJECT.test(topic)) filter.subjects.add(topic)
    else if (TYPE.test(topic)) filter.types.add(topic)
    else throw new TopicInvalid(topic)
  }
  return filter
}

/** Whether an event belongs to one of the topics. */
export function matches(filter: TopicFilter, event: { type: string; subject: string }): boolean {
  return (
    filter.all ||
    filter.subjects.has(event.subject) ||
    filter.types.has(event.type) ||
    filter.prefixes.some((prefix) => event.type.startsWith(prefix))
  )
}

/**
 * Sorts topics by the stream they are about. Platform events come only to who names them: `platform.*` or the full
 * name of an event declared for that stream; `*` and other families are the tenant's own.
 */
export function splitByStream(topics: string[]): Record<StreamKind, string[]> {
  const platformTypes = new Set(eventCatalogue().flatMap((e) => (e.stream === 'platform' ? [e.type] : [])))
  const isPlatform = (topic: string) => topic.startsWith('platform.') || platformTypes.has(topic)
  return { platform: topics.filter(isPlatform), tenant: topics.filter((topic) => !isPlatform(topic)) }
}
