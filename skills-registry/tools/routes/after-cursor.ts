import { CursorInvalid } from '#core/http/errors.ts'
import { cutPage } from '#core/http/page.ts'

/** `?cursor=` of lists that go by name: opaque to clients, base64url of the list and the last name of the page before. */
export function encodeAfter(list: string, after: string): string {
  return Buffer.from(JSON.stringify([list, after])).toString('base64url')
}

/**
 * @returns '' without a cursor: the first page
 * @throws CursorInvalid (400), also for what Postgres would not take as text
 */
export function decodeAfter(list: string, cursor: string | undefined): string {
  if (cursor === undefined) return ''
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    throw new CursorInvalid()
  }
  const [of, after]: unknown[] = Array.isArray(parsed) ? parsed : []
  if (of !== list || typeof after !== 'string' || !after.isWellFormed() || after.includes('\0'))
    throw new CursorInvalid()
  return after
}

/** The rows of a query that asked for `limit + 1`. */
export function pageAfter<Row, Item>(
  list: string,
  rows: readonly Row[],
  limit: number,
  name: (row: Row) => string,
  show: (row: Row) => Item
): { data: Item[]; nextCursor: string | null } {
  const { shown, last } = cutPage(rows, limit)
  return { data: shown.map(show), nextCursor: last === null ? null : encodeAfter(list, name(last)) }
}
