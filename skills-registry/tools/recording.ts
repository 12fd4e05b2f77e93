import type { Tx } from '#core/db/index.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { CallRecord, Recording } from '#core/ports/tools.ts'
import type { SkillLoader } from '#skills-registry/loader.ts'
import { type JournalEntry, readSessionJournal } from './journal.ts'

type Journal = Map<string, (JournalEntry & { digest: string })[]>

/** Everything that an offline replay of a session's calls needs, exact to the byte. @throws OBJECTS_*, SKILLS_* */
export async function readRecording(asked: {
  tx: Tx
  tenantId: string
  sessionId: string
  records: readonly CallRecord[]
  loader: SkillLoader
  objects: ObjectStore
}): Promise<Recording> {
  const { tx, tenantId, sessionId, loader, objects } = asked
  const journal = await readSessionJournal(tx, sessionId)
  const records = asked.records.flatMap((record) => withNested(record, journal))
  records.sort((a, b) => a.generation - b.generation || a.nth - b.nth)
  const calls = await Promise.all(
    records.map(async ({ input, ...record }) => ({
      ...record,
      input: 'text' in input ? input.text : Buffer.from(await objects.get(tenantId, input.ref)).toString('utf8'),
      session: sessionOf(record, tenantId, sessionId),
      host: (journal.get(record.key) ?? []).map(({ call: _call, ...entry }) => entry)
    }))
  )
  const digests = [...new Set(records.map(({ digest }) => digest))]
  const skills = await Promise.all(
    digests.map(async (digest) => {
      const { manifest, sources } = await loader.load(digest)
      const { name, version, entry } = manifest
      return { digest, name, version, entry, files: Object.fromEntries(sources) }
    })
  )
  return { format: 1, sessionId, skills, calls }
}

/** A record, and those of the tools that its code called. */
function withNested(record: CallRecord, journal: Journal): CallRecord[] {
  const inner = (journal.get(record.key) ?? []).flatMap(({ call }) => (call ? [call] : []))
  return [record, ...inner.flatMap((call) => withNested(call, journal))]
}

/** What the skill saw as ctx.session. */
function sessionOf({ step, attempt, effectKey }: Omit<CallRecord, 'input'>, tenantId: string, sessionId: string) {
  return { id: sessionId, tenantId, step, attempt, effectKey }
}
