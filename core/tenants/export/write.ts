import { createHash } from 'node:crypto'
import type { Db, TenantContext, Tx } from '#core/db/types.ts'
import { AppError } from '#core/errors.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { type Source, sourcesOf } from './sources.ts'

/** Rows are fetched by number and may be large (a session's config is up to 1 MiB): so much text is aimed at per fetch. */
const FETCH_BYTES = 1024 * 1024
const FETCH_ROWS = 500
/** Bytes of an object per line. A multiple of three: each line's base64 stands by itself. */
const PART_BYTES = 192 * 1024
/** The database's own end of it, should this host not come to cut a client off (pace.ts does after 120 s). */
const PATIENCE_S = 150

export interface ExportParts {
  db: Db
  /** Without them there are no objects. */
  objects?: ObjectStore | undefined
}

/** Waits until the text was taken. */
export type Write = (text: string) => Promise<void>

/**
 * All data of a tenant as lines of JSON: a head, `{"table", "row"}` for every row as it was at one moment, objects as
 * `{"object", "size", "part", "base64"}` (`error` instead of a part where one is damaged), and an end with the counts and the SHA-256 of all bytes before it. Without that
 * last line it is cut off.
 * @param context of the tenant: it sees what agentos_app sees
 * @param head of the first line
 * @returns how many rows and objects
 * @throws whatever `write` throws
 */
export async function writeExport(
  { db, objects }: ExportParts,
  context: TenantContext,
  head: Record<string, string>,
  write: Write
): Promise<{ rows: number; objects: number }> {
  const sum = createHash('sha256')
  const line = async (...texts: string[]) => {
    const text = `${texts.join('\n')}\n`
    sum.update(text)
    await write(text)
  }
  const count = { rows: 0, objects: 0 }
  await line(JSON.stringify({ export: 1, tenantId: context.tenantId, ...head }))
  const readRows = async (tx: Tx) => {
    await tx`select set_config('idle_in_transaction_session_timeout', ${`${PATIENCE_S}s`}, true)`
    for (const source of await sourcesOf(tx)) {
      const table = JSON.stringify(source.table)
      for await (const rows of rowsOf(tx, source)) {
        await line(...rows.map((row) => `{"table":${table},"row":${row}}`))
        count.rows += rows.length
      }
    }
  }
  await db.tenant(context, readRows, { snapshot: true })
  for await (const { digest, size } of objects?.list(context.tenantId) ?? []) {
    let part = 0
    try {
      for await (const bytes of partsOf(await objects?.open(context.tenantId, digest))) {
        await line(JSON.stringify({ object: digest, size, part, base64: bytes.toString('base64') }))
        part += 1
      }
    } catch (error) {
      // One damaged object must not keep its owner from all the rest.
      if (!(error instanceof AppError)) throw error
      await line(JSON.stringify({ object: digest, size, error: error.code }))
    }
    count.objects += 1
  }
  await write(`${JSON.stringify({ end: true, ...count, sha256: sum.digest('hex') })}\n`)
  return count
}

// Fetch by fetch. As text: Postgres writes the JSON, and numbers beyond a double's keep every digit.
async function* rowsOf(tx: Tx, { table, columns, where }: Source): AsyncGenerator<string[]> {
  if (columns.length === 0) return
  const list = columns.join(', ')
  await tx.unsafe(`declare export_rows no scroll cursor for
    select row_to_json(r)::text as text from (select ${list} from ${table} where ${where}) r`)
  let size = 20
  for (;;) {
    const rows = await tx.unsafe<{ text: string }[]>(`fetch forward ${size} from export_rows`)
    if (rows.length > 0) yield rows.map(({ text }) => text)
    if (rows.length < size) break
    const bytes = rows.reduce((total, { text }) => total + text.length, 0)
    size = Math.max(1, Math.min(FETCH_ROWS, Math.floor((FETCH_BYTES * size) / bytes)))
  }
  await tx.unsafe('close export_rows')
}

async function* partsOf(bytes: AsyncIterable<Uint8Array> | undefined): AsyncGenerator<Buffer> {
  let held = Buffer.alloc(0)
  let empty = true
  for await (const chunk of bytes ?? []) {
    empty = false
    held = Buffer.concat([held, chunk])
    for (; held.length >= PART_BYTES; held = held.subarray(PART_BYTES)) yield held.subarray(0, PART_BYTES)
  }
  if (held.length > 0 || empty) yield held
}
