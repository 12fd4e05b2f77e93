import type { Tx } from '#core/db/index.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { type CallRecord, MAX_RECORDING_BYTES, type Recording, RecordingTooLarge } from '#core/ports/tools.ts'
import type { SkillLoader } from '#skills-registry/loader.ts'
import { type JournalEntry, readSessionJournal, sizeOfSessionJournal } from './journal.ts'
import { sessionOf } from './seal.ts'

type Journal = Map<string, (JournalEntry & { digest: string })[]>

/**
 * Everything that an offline replay of a session's calls needs, exact to the byte.
 * @throws TOOLS_RECORDING_TOO_LARGE before all of it is in memory; OBJECTS_*, SKILLS_*
 */
export async function readRecording(asked: {
  tx: Tx
  tenantId: string
  sessionId: string
  records: readonly CallRecord[]
  loader: SkillLoader
  objects: ObjectStore
}): Promise<Recording> {
  const { tx, tenantId, sessionId, loader, objects } = asked
  let bytes = await sizeOfSessionJournal(tx, sessionId)
  const grow = (by: number) => {
    bytes += by
    if (bytes > MAX_RECORDING_BYTES) throw new RecordingTooLarge(bytes)
  }
  grow(0)
  const journal = await readSessionJournal(tx, sessionId)
  const calls: Recording['calls'] = []
  for (const { input, ...record } of asked.records.flatMap((one) => withNested(one, journal))) {
    const text = 'text' in input ? input.text : Buffer.from(await objects.get(tenantId, input.ref)).toString('utf8')
    grow(text.length)
    const host = (journal.get(record.key) ?? []).map(({ call: _call, ...entry }) => entry)
    calls.push({ ...record, input: text, session: sessionOf(record, tenantId, sessionId), host })
  }
  const skills: Recording['skills'] = []
  for (const digest of new Set(calls.map((call) => call.digest))) {
    const { manifest, sources } = await loader.load(digest)
    const { name, version, entry } = manifest
    for (const text of sources.values()) grow(text.length)
    skills.push({ digest, name, version, entry, files: Object.fromEntries(sources) })
  }
  return { format: 1, sessionId, skills, calls }
}

/** A record, and those of the tools that its code called. */
function withNested(record: CallRecord, journal: Journal): CallRecord[] {
  const inner = (journal.get(record.key) ?? []).flatMap(({ call }) => (call ? [call] : []))
  return [record, ...inner.flatMap((call) => withNested(call, journal))]
}
