import { SandboxError } from '../errors.ts'
import { refuseJson } from './check-json.ts'
import type { Job } from './job.ts'
import type { Answer } from './read.ts'
import { failed, replayable, strayed } from './verdict.ts'

/** The isolates of one cell, as they turn up in its answers. */
export class Isolates {
  readonly #known = new Map<number, { generation: number; calls: number }>()
  readonly #nextGeneration: () => number

  constructor(nextGeneration: () => number) {
    this.#nextGeneration = nextGeneration
  }

  /**
   * A call of isolate `id` (the cell's number of it) has ended. 0 is none: the call ended before it had one.
   * @returns its generation and how many calls it had before this one
   */
  ended(id: number): { generation: number; nth: number } {
    if (id === 0) return { generation: 0, nth: 0 }
    let known = this.#known.get(id)
    if (known === undefined) {
      known = { generation: this.#nextGeneration(), calls: 0 }
      this.#known.set(id, known)
    }
    return { generation: known.generation, nth: known.calls++ }
  }
}

/** Settles a job with what its cell answered. */
export function settle(job: Job, answer: Answer, isolate: { generation: number; nth: number }, wallMs: number): void {
  const { failure, output } = answer
  // One call is one thread. A cell that was taken over must not bill its tenant for more than can have been used.
  const cpuMs = Math.min(answer.cpuMs, wallMs)
  const { generation, nth } = isolate
  const details = { cpuMs, wallMs, generation, hostCalls: job.hostCalls }
  const usage = { ...details, nth, wakes: job.wakes, replayable: replayable(failure?.code), killed: false }
  if (usage.replayable && job.asked < job.lastHostCall) {
    const left = strayed(job, `host call ${job.lastHostCall} is not made`, job.lastHostCall)
    job.reject(left, { ...usage, replayable: false })
    return
  }
  const invalid = failure ? undefined : refuseJson(output)
  if (failure) job.reject(failed(job, failure, details), usage)
  else if (invalid?.startsWith('nested'))
    job.reject(new SandboxError('RESULT_TOO_LARGE', `the result is ${invalid}`, { details }), usage)
  else if (invalid)
    job.reject(new SandboxError('SKILL_RESULT_INVALID', `the result has a ${invalid}`, { details }), usage)
  else job.resolve({ output, ...details, usage })
}
