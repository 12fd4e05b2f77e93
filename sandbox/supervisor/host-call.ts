import { type Frame, MAX_ARGS, MAX_TEXT } from '../wire/frames.ts'
import { refuseJson } from './check-json.ts'
import type { Job } from './job.ts'
import { readHostCall } from './read.ts'

/** What goes back to the guest: JSON text of a value, or of {code, message}. */
export interface HostAnswer {
  n: number
  ok: boolean
  text: string
}

/**
 * Answers one host call of a job. The guest's own closure keeps budgets and names already; here they are kept again, for
 * a cell whose native code was taken over. Never rejects; throws on a malformed frame.
 */
export function answerHostCall(job: Job, frame: Frame): Promise<HostAnswer> {
  const { n, name, args } = readHostCall(frame)
  const refuse = (code: string, message: string): HostAnswer => ({
    n,
    ok: false,
    text: JSON.stringify({ code, message })
  })
  const { call } = job
  const { onHostCall } = call
  if (job.hostCalls >= call.limits.hostCalls)
    return Promise.resolve(refuse('SANDBOX_HOST_CALLS', 'host call limit reached'))
  job.hostCalls++
  if (name === 'log' || !onHostCall || !call.capabilities.includes(name))
    return Promise.resolve(refuse('CAPABILITY_DENIED', `${name} was not granted`))
  if (Buffer.byteLength(args) > MAX_ARGS)
    return Promise.resolve(refuse('ARGUMENTS_TOO_LARGE', 'arguments are 256 KiB at most'))
  const bad = refuseJson(args)
  if (bad) return Promise.resolve(refuse('ARGUMENTS_INVALID', `arguments: ${bad}`))
  const ask = async (): Promise<HostAnswer> => {
    try {
      const text = await onHostCall.call(call, name, args)
      if (Buffer.byteLength(text) > MAX_TEXT) return refuse('HOST_RESULT_TOO_LARGE', 'the answer is larger than 1 MiB')
      return { n, ok: true, text }
    } catch (error) {
      const shown = publicError(error)
      return refuse(shown.code, shown.message)
    }
  }
  return ask()
}

// Only an error that was made for authors (it has a CODE) shows its message; one of node's own may hold paths.
function publicError(error: unknown): { code: string; message: string } {
  const { code, message } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>
  if (typeof code === 'string' && /^[A-Z]+(_[A-Z0-9]+)+$/.test(code) && !code.startsWith('ERR_'))
    return { code, message: String(message).slice(0, 1000) }
  return { code: 'HOST_CALL_FAILED', message: 'the host could not answer' }
}
