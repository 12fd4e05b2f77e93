import type { Clock, Timer } from '#core/clock.ts'
import { newId } from '#core/ids.ts'
import { storableText } from '#core/json.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** One line of a session's log. `n` counts the lines of one attempt; with step, undo and attempt it is never twice. */
export interface LogLine {
  readonly id: string
  readonly step: string
  /** Of the tool that took the step back. */
  readonly undo: boolean
  readonly attempt: number
  readonly n: number
  readonly level: LogLevel
  readonly message: string
  /** ISO 8601. */
  readonly at: string
}

/** What a session's log holds at most. */
export const LOG_MAX = { lines: 10_000, bytes: 1024 * 1024 } as const
/** What one call may add; the sandbox stops at 1000 lines and 64 KiB, and progress messages come on top. */
const CALL_MAX = { lines: 1100, bytes: 80 * 1024 } as const
const FLUSH_MS = 500
const FLUSH_LINES = 100
/** A place behind all lines that a call can have: a run that is repeated after a crash ends in the same place. */
const END_N = 1_000_000
const MAX_MESSAGE = 16 * 1024

export interface CallLogOptions {
  readonly clock: Clock
  readonly place: Pick<LogLine, 'step' | 'undo' | 'attempt'>
  /** What the session's log may still take. */
  readonly left: { readonly lines: number; readonly bytes: number }
  /** Stores lines, in a transaction of its own; lines that are there already stay as they are. */
  write(lines: readonly LogLine[]): Promise<void>
  /** Lines that could not be stored; they are kept and tried again. */
  failed(error: unknown): void
}

/** The log of one attempt: lines are written in batches while it runs, the last ones in the commit of its outcome. */
export class CallLog {
  private readonly options: CallLogOptions
  private waiting: LogLine[] = []
  private timer: Timer | null = null
  private writing: Promise<void> | null = null
  private n = 0
  private full = false
  private bytes = 0
  private lines = 0
  private ended = false

  constructor(options: CallLogOptions) {
    this.options = options
  }

  /** Never throws: who logs is in the middle of something else. */
  add(level: string, text: string): void {
    if (this.full) return
    const { left } = this.options
    const message = storableText(text, MAX_MESSAGE)
    const size = Buffer.byteLength(message)
    const lines = Math.min(left.lines, CALL_MAX.lines)
    const bytes = Math.min(left.bytes, CALL_MAX.bytes)
    this.n += 1
    if (this.lines < lines && this.bytes + size <= bytes) {
      this.put(this.n, isLevel(level) ? level : 'info', message, size)
      return
    }
    this.full = true
    if (left.lines <= 0 || left.bytes <= 0) return // told by the call that filled it
    if (lines < left.lines && bytes < left.bytes) {
      this.put(END_N - 1, 'warn', 'the log of this call is full: its later lines are not kept', 0)
      return
    }
    // It counts for all that was left: no later call fits a shorter line in behind it, or says so again.
    this.put(END_N - 1, 'warn', 'the log of this session is full: later lines are not kept', left.bytes - this.bytes)
  }

  /** Why the attempt failed, for the author: the last line, also of a log that is full. */
  fail(code: string, message: string): void {
    const text = storableText(`${code}: ${message}`, MAX_MESSAGE)
    this.put(END_N, 'error', text, Buffer.byteLength(text))
  }

  /** Lines and bytes so far. */
  get total(): { lines: number; bytes: number } {
    return { lines: this.lines, bytes: this.bytes }
  }

  /** No more lines. @returns those that are not written yet: they belong into the commit of the outcome */
  async end(): Promise<readonly LogLine[]> {
    this.full = true
    this.ended = true
    this.timer?.cancel()
    await this.writing
    return this.waiting.splice(0)
  }

  private put(n: number, level: LogLevel, message: string, size: number): void {
    const { clock, place } = this.options
    this.lines += 1
    this.bytes += size
    this.waiting.push({ id: newId(), ...place, n, level, message, at: new Date(clock.now()).toISOString() })
    if (this.waiting.length >= FLUSH_LINES) this.flush()
    else if (!this.ended) this.timer ??= clock.after(FLUSH_MS, () => this.flush())
  }

  private flush(): void {
    this.timer?.cancel()
    this.timer = null
    if (this.writing || this.ended) return // the lines behind it go when it is done
    const { clock, write, failed } = this.options
    const lines = this.waiting.splice(0)
    this.writing = write(lines)
      .catch((error: unknown) => {
        this.waiting.unshift(...lines)
        failed(error)
      })
      .finally(() => {
        this.writing = null
        if (this.waiting.length > 0 && !this.ended) this.timer ??= clock.after(FLUSH_MS, () => this.flush())
      })
  }
}

const isLevel = (level: string): level is LogLevel => (LOG_LEVELS as readonly string[]).includes(level)
