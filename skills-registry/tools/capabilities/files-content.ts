import { createHash } from 'node:crypto'
import { must } from '#core/must.ts'
import type { ObjectStore } from '#core/objects/index.ts'

/** One object of a file's content. A file is its parts in order; none for an empty one. */
export interface Part {
  digest: string
  bytes: number
}

/** A last part that is shorter is written anew with what is appended, so that a file has few parts and an append is cheap. */
const PART_BYTES = 64 * 1024

/** How a file grows: `keep` stays, the rest of the old content (`rewrite`) is stored again in front of the new bytes. */
export function planAppend(parts: readonly Part[], added: number): { keep: Part[]; rewrite: Part | null } {
  const last = parts.at(-1)
  if (!last || last.bytes + added > PART_BYTES) return { keep: [...parts], rewrite: null }
  return { keep: parts.slice(0, -1), rewrite: last }
}

/** The bytes from `start` to before `end`, verified, a part at a time. @throws OBJECTS_NOT_FOUND, OBJECTS_CORRUPT */
export async function* readParts(
  objects: ObjectStore,
  tenantId: string,
  parts: readonly Part[],
  start: number,
  end: number
): AsyncGenerator<Uint8Array> {
  let at = 0
  for (const { digest, bytes } of parts) {
    const [from, to] = [Math.max(start - at, 0), Math.min(end - at, bytes)]
    if (from < to) yield (await objects.get(tenantId, digest)).subarray(from, to)
    at += bytes
  }
}

/** A strong validator: of one part it is the content's own digest. */
export function etagOf(parts: readonly Part[]): string {
  if (parts.length === 1) return `"${must(parts[0], 'a part').digest}"`
  const sum = createHash('sha256')
  for (const { digest } of parts) sum.update(`${digest}\n`)
  return `"parts:${sum.digest('hex')}"`
}

/** How many bytes of the end of `bytes` begin a UTF-8 character and do not finish it: 0 to 3. */
export function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue // goes on
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return length > back ? back : 0
  }
  return 0
}
