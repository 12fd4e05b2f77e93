// What a call's end means: the trampoline's string, or the error that came instead of it.
import { MAX_MESSAGE, MAX_TEXT } from '../wire/frames.ts'
import type { Failure } from '../wire/messages.ts'
import { authorStack } from './author-stack.ts'
import type { Guest } from './guest.ts'
import { type GuestSkill, LoadError } from './link.ts'

export const cancellation: Failure = { code: 'SANDBOX_CANCELLED', message: 'the call was cancelled' }

export const outOfMemory: Failure = {
  code: 'SANDBOX_MEMORY',
  message: 'the skill ran out of memory',
  limit: 'memoryMb'
}

export function late(wallMs: number): Failure {
  return { code: 'SANDBOX_TIMEOUT', message: `the tool did not answer within ${wallMs} ms`, limit: 'wallMs' }
}

export function spent(cpuMs: number): Failure {
  return { code: 'SANDBOX_TIMEOUT', message: `the tool used more than ${cpuMs} ms of CPU time`, limit: 'cpuMs' }
}

/** Reads the trampoline's string; undefined when it is a result. */
export function readFailure(answer: string, skill: GuestSkill | undefined): Failure | undefined {
  const text = answer.slice(1)
  switch (answer[0]) {
    case 'V':
      if (Buffer.byteLength(text) <= MAX_TEXT) return undefined
      return { code: 'RESULT_TOO_LARGE', message: 'the result is larger than 1 MiB' }
    case 'Z':
      return { code: 'RESULT_TOO_LARGE', message: text }
    case 'I':
      return { code: 'SKILL_RESULT_INVALID', message: text }
    case 'L':
      return { code: 'SKILL_LOAD_FAILED', message: text }
    default: {
      const found = JSON.parse(text) as { name: string; message: string; stack: string }
      const code = answer[0] === 'H' ? 'SANDBOX_HOST_CALLS' : 'SKILL_ERROR'
      return { code, name: found.name, message: found.message, stack: authorStack(found.stack, skill) }
    }
  }
}

/** For a call that ended without the trampoline's word. */
export function classify(guest: Guest | undefined, error: unknown): Failure {
  if (error instanceof LoadError) return { code: 'SKILL_LOAD_FAILED', message: error.message }
  // We disposed nothing, so the memory limit did.
  if (guest?.disposed) return outOfMemory
  // What remains is the guest's own: an error at the top level of a module, or a rejection that nobody handled.
  const found = error instanceof Error ? error : new Error(String(error))
  return {
    code: guest?.loaded ? 'SKILL_ERROR' : 'SKILL_LOAD_FAILED',
    name: String(found.name).slice(0, 200),
    message: String(found.message).slice(0, MAX_MESSAGE),
    stack: authorStack(String(found.stack), guest?.skill)
  }
}
