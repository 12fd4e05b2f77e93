import type { SandboxCall } from '../types.ts'
import { MAX_ARGS, MAX_TEXT } from '../wire/frames.ts'
import { refuseJson } from './check-json.ts'
import type { Job } from './job.ts'
import type { HostQuestion } from './read.ts'
import { strayed } from './verdict.ts'

/** What goes back to the guest: JSON text of a value, or of {code, message}. */
export interface HostAnswer {
  n: number
  ok: boolean
  text: string
}

/**
 * Answers one host call of a job: the caller, or the journal when an earlier attempt of the job has made it already, be its
 * answer here or still under way. The guest's own closure keeps budgets and names already; here they are kept again, for
 * a cell whose native code was taken over. Never rejects.
 * @returns undefined when the journal has another call at this place: the job has failed with that
 */
export function answerHostCall(job: Job, question: HostQuestion): Promise<HostAnswer> | undefined {
  const { n, name, args } = question
  const { call, journal } = job
  if (n <= job.lastHostCall) {
    const known = journal.get(n)
    if (known?.name === name && known.args === args) return known.answer
    job.reject(strayed(job, `host call ${n} is ${name}, and not what it was before`, n))
    return undefined
  }
  job.lastHostCall = n
  job.hostCalls++
  const answer = ask(call, question)
  if (job.repeatable) journal.add(n, { name, args, answer })
  return answer
}

async function ask(call: SandboxCall, { n, name, args }: HostQuestion): Promise<HostAnswer> {
  const { onHostCall } = call
  if (name === 'log' || !onHostCall || !call.capabilities.includes(name))
    return refusal(n, 'CAPABILITY_DENIED', `${name} was not granted`)
  if (Buffer.byteLength(args) > MAX_ARGS) return refusal(n, 'ARGUMENTS_TOO_LARGE', 'arguments are 256 KiB at most')
  const bad = refuseJson(args)
  if (bad) return refusal(n, 'ARGUMENTS_INVALID', `arguments: ${bad}`)
  try {
    const text = await onHostCall.call(call, name, args, n)
    if (Buffer.byteLength(text) > MAX_TEXT)
      return refusal(n, 'HOST_RESULT_TOO_LARGE', 'the answer is larger than 1 MiB')
    return { n, ok: true, text }
  } catch (error) {
    const shown = publicError(error)
    return refusal(n, shown.code, shown.message)
  }
}

function refusal(n: number, code: string, message: string): HostAnswer {
  return { n, ok: false, text: JSON.stringify({ code, message }) }
}

// Only an error that was made for authors (it has a CODE) shows its message; one of node's own may hold paths.
function publicError(error: unknown): { code: string; message: string } {
  const { code, message } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>
  if (typeof code === 'string' && /^[A-Z]+(_[A-Z0-9]+)+$/.test(code) && !code.startsWith('ERR_'))
    return { code, message: String(message).slice(0, 1000) }
  return { code: 'HOST_CALL_FAILED', message: 'the host could not answer' }
}
