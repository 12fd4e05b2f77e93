import { SandboxError } from '../errors.ts'
import type { Death } from './cell-process.ts'
import { cancelled, type Job } from './job.ts'
import type { Answer } from './read.ts'

// What its author can do something about, by the reason of the kill.
const CAUSES: Record<string, string> = {
  cpuMs: 'it used more CPU time than allowed, in a built-in that cannot be interrupted',
  wallMs: 'it did not answer in time, in a built-in that cannot be interrupted',
  cancel: 'it was cancelled, in a built-in that cannot be interrupted',
  crash: 'it crashed, most likely for want of memory',
  flood: 'it sent more logs or host calls than any limit allows',
  unread: 'it did not read what it was sent'
}

/** The error of a call whose cell answered it with a failure. */
export function failed(
  job: Job,
  failure: NonNullable<Answer['failure']>,
  details: Record<string, unknown>
): SandboxError {
  if (failure.code === 'SANDBOX_CANCELLED') {
    if (!job.timedOut) return cancelled()
    const timeout = { details: { ...details, limit: 'wallMs' } }
    return new SandboxError('SANDBOX_TIMEOUT', `the tool did not answer within ${job.call.limits.wallMs} ms`, timeout)
  }
  const { code, message, name, stack, limit } = failure
  return new SandboxError(code, message, { details: { ...details, name, stack, limit } })
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
    return new SandboxError(why.code, message, { retryable: !why.killed && why.signal === 'SIGKILL', details })
  }
  // A host call has had an effect already: only the caller knows whether it may happen twice.
  if (job.hostCalls === 0 && job.attempts < 2) return undefined
  const message = 'the cell of this call was killed, perhaps because of another call'
  return new SandboxError('SANDBOX_KILLED', message, { retryable: true, details })
}
