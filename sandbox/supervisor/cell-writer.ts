// What goes to a cell: everything of one tick in one write, each skill once, and no more than it reads.
import type { Duplex } from 'node:stream'
import type { SandboxSkill } from '../types.ts'
import { encodeFrame, Kind } from '../wire/frames.ts'
import type { LoadHead } from '../wire/messages.ts'

const MAX_UNREAD_BYTES = 96 * 1024 * 1024
const MAX_SKILLS = 128
const MAX_SKILL_BYTES = 64 * 1024 * 1024

export class CellWriter {
  readonly #socket: Duplex
  readonly #unread: () => void
  readonly #skills = new Set<string>()
  #skillBytes = 0
  #unsent: Buffer[] = []

  /** @param unread the cell leaves too much unread */
  constructor(socket: Duplex, unread: () => void) {
    this.#socket = socket
    this.#unread = unread
  }

  /** It was sent more skill sources than is good for it: time for a fresh cell. */
  get full(): boolean {
    return this.#skills.size > MAX_SKILLS || this.#skillBytes > MAX_SKILL_BYTES
  }

  /** Sends the sources of a skill, if the cell has not got them. */
  load({ digest, entry, files }: SandboxSkill): void {
    if (this.#skills.has(digest)) return
    this.#skills.add(digest)
    const text = JSON.stringify(Object.fromEntries(files))
    this.#skillBytes += text.length
    this.send(Kind.load, 0, { digest, entry } satisfies LoadHead, text)
  }

  send(kind: number, id: number, head?: unknown, tail?: string): void {
    if (this.#socket.writableLength > MAX_UNREAD_BYTES) {
      this.#unread()
      return
    }
    if (this.#unsent.push(encodeFrame(kind, id, head, tail)) > 1) return
    process.nextTick(() => {
      const frames = this.#unsent
      this.#unsent = []
      if (!this.#socket.destroyed) this.#socket.write(frames.length === 1 ? frames[0] : Buffer.concat(frames))
    })
  }
}
