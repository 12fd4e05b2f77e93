import type { HostAnswer } from './host-call.ts'

const MAX_BYTES = 16 * 1024 * 1024
const MAX_ALL_BYTES = 256 * 1024 * 1024

let allBytes = 0

interface JournalEntry {
  name: string
  args: string
  /** Settled or not: it never rejects. */
  answer: Promise<HostAnswer>
}

/**
 * The host calls of one job, so that it can be run again without asking them twice. Texts above 16 MiB, or above 256 MiB
 * in all journals of the process, are not kept: such a job is not run again.
 */
export class Journal {
  /** By the n of the host call. */
  readonly #entries = new Map<number, JournalEntry>()
  #bytes = 0
  #whole = true

  /** It has every host call that was made. */
  get whole(): boolean {
    return this.#whole
  }

  get(n: number): JournalEntry | undefined {
    return this.#entries.get(n)
  }

  add(n: number, entry: JournalEntry): void {
    if (!this.#whole) return
    this.#entries.set(n, entry)
    this.#grow(entry.args.length)
    void entry.answer.then(({ text }) => this.#grow(text.length))
  }

  /** Gives up what it holds: the job is over, or it cannot be run again. */
  drop(): void {
    this.#whole = false
    this.#entries.clear()
    allBytes -= this.#bytes
    this.#bytes = 0
  }

  // Characters stand for bytes; texts that are not Latin-1 take twice as much.
  #grow(bytes: number): void {
    if (!this.#whole) return
    this.#bytes += bytes
    allBytes += bytes
    if (this.#bytes > MAX_BYTES || allBytes > MAX_ALL_BYTES) this.drop()
  }
}
