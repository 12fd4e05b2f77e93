import { SandboxError, type SandboxErrorCode } from '../errors.ts'
import type { SandboxUsage } from '../types.ts'
import type { Death } from './cell-owner.ts'
import { cancelled, type Job } from './job.ts'
import type { Answer } from './read.ts'

// What its author can do something about, by the reason of the kill.
const CAUSES: Record<string, string> = {
  cpuMs: 'it used more CPU time than allowed, in a built-in that cannot be interrupted',
  wallMs: 'it did not answer in time, in a built-in that cannot be interrupted',
  cancel: 'it was cancelled, in a built-in that cannot be interrupted',
  crash: 'it crashed, most likely for want of memory',
  flood: 'it sent more logs or host calls than any limit allows',
  forked: 'it started another process',
  unread: 'it did not read what it was sent'
}

// Where they end a call depends on the clock, on the machine or on others: another run ends elsewhere.
const BY_LIMIT = new Set<SandboxErrorCode>([
  'SANDBOX_TIMEOUT',
  'SANDBOX_MEMORY',
  'SANDBOX_CANCELLED',
  'SANDBOX_DIVERGED'
])

export function replayable(code: SandboxErrorCode | undefined): boolean {
  return code === undefined || !BY_LIMIT.has(code)
}

/** The error of a call whose cell answered it with a failure. */
export function failed(
  job: Job,
  failure: NonNullable<Answer['failure']>,
  details: Record<string, unknown>
): SandboxError {
  if (failure.code === 'SANDBOX_CANCELLED') return job.timedOut ? late(job, details) : cancelled()
  if (failure.code === 'SANDBOX_DIVERGED' && !job.call.replay) return strayed(job, failure.message)
  const { code, message, name, stack, limit } = failure
  return new SandboxError(code, message, { details: { ...details, name, stack, limit } })
}

/** A second attempt did not do what the first one did: it cannot be finished, another run from the start can. */
export function strayed(job: Job, message: string, n?: number): SandboxError {
  const details = { reason: 'diverged', hostCalls: job.hostCalls, ...(n !== undefined && { n }) }
  const text = `the cell of this call was killed for another one, and the second attempt went another way: ${message}`
  return new SandboxError('SANDBOX_KILLED', text, { retryable: true, details })
}

function late(job: Job, details: Record<string, unknown>, usage?: SandboxUsage): SandboxError {
  const message = `the tool did not answer within ${job.call.limits.wallMs} ms`
  return new SandboxError('SANDBOX_TIMEOUT', message, { details: { ...details, limit: 'wallMs' }, usage })
}

/**
 * Who caused a cell's death: the one that was known to, or the only one there. Memory that was short when a cell had run
 * others before may be theirs, so the one that met the limit is first tried alone.
 */
export function blamed(jobs: Job[], why: Death, runs: number): Job | undefined {
  if (why.blame) return why.blame
  const [only] = jobs
  if (!only || jobs.length > 1) return undefined
  return why.reason === 'memory' && runs > 1 && !only.alone ? undefined : only
}

/** What becomes of a call whose cell died: an error, or undefined when it may be tried once more. */
export function afterDeath(job: Job, blame: Job | undefined, why: Death): SandboxError | undefined {
  const details = { reason: why.reason, signal: why.signal, hostCalls: job.hostCalls }
  if (job === blame) {
    const memory = 'the skill ran out of memory and its process was killed'
    const cause = CAUSES[why.reason] ?? why.reason
    const message = why.code === 'SANDBOX_MEMORY' ? memory : `the skill's process was killed: ${cause}`
    // A SIGKILL that we did not send came from the system, not from the skill.
    const usage = job.estimate(1, true)
    return new SandboxError(why.code, message, { retryable: !why.killed && why.signal === 'SIGKILL', details, usage })
  }
  const usage = job.estimate(blame ? 0 : job.evenShare, true)
  if (job.timedOut) return late(job, details, usage)
  if (job.repeatable) return undefined
  const message = 'the cell of this call was killed, perhaps because of another call'
  return new SandboxError('SANDBOX_KILLED', message, { retryable: true, details, usage })
}
