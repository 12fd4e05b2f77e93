// Reads what a cell sent. Every function throws on a wrong shape: the supervisor then kills the cell.
import type { SandboxErrorCode } from '../errors.ts'
import { type Frame, Kind, MAX_MESSAGE, MAX_TEXT, MAX_TIMERS } from '../wire/frames.ts'
import { FAILURE_CODES } from '../wire/messages.ts'

export interface Answer {
  output: string
  cpuMs: number
  isolate: number
  wakes: readonly number[] | undefined
  failure:
    | {
        code: SandboxErrorCode
        message: string
        name: string | undefined
        stack: string | undefined
        limit: string | undefined
        stuck: boolean
      }
    | undefined
}

/** `asked`: n of the last host call that the cell made for this call. */
export function readAnswer(frame: Frame, asked: number): Answer {
  const head = object(frame.head)
  const answer: Answer = {
    output: '',
    cpuMs: number(head.cpuMs),
    isolate: number(head.isolate),
    wakes: wakes(head.wakes, asked),
    failure: undefined
  }
  if (frame.kind === Kind.result) {
    if (frame.tail.length > MAX_TEXT) throw new Error('result too long')
    return { ...answer, output: frame.tail.toString() }
  }
  const code = FAILURE_CODES.find((known) => known === head.code)
  if (!code) throw new Error('unknown failure code')
  const failure = {
    code,
    message: text(head.message, MAX_MESSAGE),
    name: head.name === undefined ? undefined : text(head.name, 200),
    stack: head.stack === undefined ? undefined : text(head.stack, MAX_MESSAGE),
    limit: head.limit === undefined ? undefined : text(head.limit, 40),
    stuck: head.stuck === true
  }
  return { ...answer, failure }
}

export interface HostQuestion {
  n: number
  name: string
  args: string
  wakes: readonly number[] | undefined
}

/** `asked`: n of the host call before this one. */
export function readHostCall(frame: Frame, asked: number): HostQuestion {
  const head = object(frame.head)
  const n = number(head.n)
  // In program order, for a repeated call finds its answers by these numbers. Gaps are those that nobody waited for.
  if (!Number.isSafeInteger(n) || n <= asked) throw new Error('host calls are numbered in their order')
  return {
    n,
    name: text(head.name, 100),
    args: frame.tail.toString(),
    wakes: wakes(head.wakes, asked)
  }
}

function wakes(value: unknown, asked: number): readonly number[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length === 0) throw new Error('no list of wakes')
  for (const wake of value)
    if (!Number.isInteger(wake) || wake === 0 || wake > asked || wake < -MAX_TIMERS) throw new Error('no such wake')
  return value as number[]
}

export function readLog(frame: Frame): { level: string; message: string } {
  const { level } = object(frame.head)
  if (level !== 'debug' && level !== 'info' && level !== 'warn' && level !== 'error') throw new Error('unknown level')
  return { level, message: printable(frame.tail.toString()) }
}

// Terminal escapes in a log line could rewrite an operator's screen, marks of text direction what he reads there.
function printable(message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  return message.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '')
}

function object(bytes: Buffer): Record<string, unknown> {
  const value: unknown = JSON.parse(bytes.toString())
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('head is no object')
  return value as Record<string, unknown>
}

function number(value: unknown): number {
  if (typeof value !== 'number' || !(value >= 0) || !Number.isFinite(value)) throw new Error('not a number')
  return value
}

function text(value: unknown, max: number): string {
  if (typeof value !== 'string') throw new Error('not a text')
  return value.slice(0, max)
}
