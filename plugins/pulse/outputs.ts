import type { Json } from '#core/actors/index.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { stepKey } from './kind.ts'
import type { SessionFailure } from './machine.ts'

/** A value longer than this, as JSON text, lies in the object store; the row holds its digest. */
export const INLINE_BYTES = 64 * 1024

/** A value as a row keeps it: itself, or the digest of its JSON text in the tenant's object store. */
export interface Kept {
  readonly value: Json
  readonly ref: string | null
}

/** The outputs of one session together; whoever reads a session holds all of them in memory. */
export const MAX_OUTPUTS_BYTES = 16 * 1024 * 1024

/** What the journal keeps of a step, under `step:<id>`. Times are ISO 8601, durations milliseconds. */
export interface StepRecord {
  readonly status: 'done' | 'failed'
  readonly output: Json
  readonly outputRef: string | null
  /** Length of the output as JSON text. */
  readonly outputBytes: number
  readonly error: { code: string; message: string; step?: string } | null
  readonly attempts: number
  readonly startedAt: string
  readonly endedAt: string
  readonly activeMs: number
  readonly cpuMs: number
  /** Absent in records of an older version. */
  readonly hostCalls?: number
  readonly tokens?: number
  /** Which isolate ran it: module state lives as long as one isolate, so a replay needs to know. */
  readonly generation: number
  /** What the skill saw as now (epoch ms) and the seed of its Math.random. */
  readonly time: number
  readonly seed: string
  readonly checkpointId: string
}

/** Keeps a value: small ones in the row, large ones in the object store first, so a row never names what is not there. */
export async function keep(objects: ObjectStore, tenantId: string, value: unknown): Promise<Kept & { bytes: number }> {
  const text = Buffer.from(JSON.stringify(value) ?? 'null')
  const bytes = text.byteLength
  if (bytes <= INLINE_BYTES) return { value: (value ?? null) as Json, ref: null, bytes }
  const { digest } = await objects.put(tenantId, text)
  return { value: null, ref: digest, bytes }
}

/** The value again. @throws OBJECTS_NOT_FOUND, OBJECTS_CORRUPT */
export async function unkeep(objects: ObjectStore, tenantId: string, kept: Kept): Promise<unknown> {
  if (kept.ref === null) return kept.value
  return JSON.parse(Buffer.from(await objects.get(tenantId, kept.ref)).toString('utf8'))
}

/** The outputs of the named steps, from a journal. */
export async function loadOutputs(
  objects: ObjectStore,
  tenantId: string,
  journal: ReadonlyMap<string, Json>,
  steps: Iterable<string>
): Promise<Map<string, unknown>> {
  const outputs = new Map<string, unknown>()
  for (const step of steps) {
    const record = journal.get(stepKey(step)) as unknown as StepRecord | undefined
    if (record?.status !== 'done') continue
    outputs.set(step, await unkeep(objects, tenantId, { value: record.output, ref: record.outputRef }))
  }
  return outputs
}

/** A failure as JSON: no undefined in it. */
export function failureRecord({ code, message, step }: SessionFailure): StepRecord['error'] {
  return { code, message, ...(step === undefined ? {} : { step }) }
}
