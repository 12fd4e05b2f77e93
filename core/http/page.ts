import { createHash } from 'node:crypto'
import { z } from 'zod'
import { CursorInvalid } from '#core/http/errors.ts'
import { isId } from '#core/ids.ts'

/** `?limit=&cursor=` of every list; extend it with the list's own filters. */
export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(200).optional()
})

/**
 * Where the next page starts: after this row. `createdAt` is Postgres's own text of the timestamptz
 * (`created_at::text`), because a JS Date cuts microseconds off and rows of one millisecond would be lost or doubled.
 */
export interface Position {
  createdAt: string
  id: string
}

/** The answer schema of a list. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({ data: z.array(item), nextCursor: z.string().nullable() })
}

/**
 * One page from the rows of a query that asked for `limit + 1` of them, newest first.
 * @param list name of the list, e.g. `keys`: a cursor of another list is refused
 */
export function page<Row, Item>(
  list: string,
  rows: readonly Row[],
  limit: number,
  position: (row: Row) => Position,
  show: (row: Row) => Item
): { data: Item[]; nextCursor: string | null } {
  const { shown, last } = cutPage(rows, limit)
  return { data: shown.map(show), nextCursor: last === null ? null : encodeCursor(list, position(last)) }
}

/**
 * The rows of one page, of a query that asked for `limit + 1`.
 * @returns `last`: the last of them where there is a next page, else null
 */
export function cutPage<Row>(rows: readonly Row[], limit: number): { shown: Row[]; last: Row | null } {
  const shown = rows.slice(0, limit)
  return { shown, last: rows.length > limit ? (shown.at(-1) ?? null) : null }
}

/** Opaque to clients: base64url of position and a checksum, so that a cut or mistyped one is noticed. */
export function encodeCursor(list: string, { createdAt, id }: Position): string {
  const text = `${createdAt}|${id}`
  return Buffer.from(`${text}|${checksum(list, text)}`).toString('base64url')
}

/**
 * Postgres: `where (created_at, id) < (${p.createdAt}::text::timestamptz, ${p.id})`. Without `::text` the parameter is
 * a timestamptz, for which postgres.js makes a JS Date first: the microseconds would be gone and rows with them.
 * @returns null without a cursor: the first page
 * @throws CursorInvalid (400)
 */
export function decodeCursor(list: string, cursor: string | undefined): Position | null {
  if (cursor === undefined) return null
  const [createdAt = '', id = '', sum, ...rest] = Buffer.from(cursor, 'base64url').toString().split('|')
  const isTime = /^\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2}$/.test(createdAt)
  if (!isTime || !isId(id) || rest.length > 0 || sum !== checksum(list, `${createdAt}|${id}`)) throw new CursorInvalid()
  return { createdAt, id }
}

// Not a secret: a forged cursor only skips rows of a list that its owner may read anyway.
function checksum(list: string, text: string): string {
  return createHash('sha256').update(`${list}|${text}`).digest('base64url').slice(0, 8)
}
