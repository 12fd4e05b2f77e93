import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Pool } from '#core/db/types.ts'
import type { Hit, Search } from './search.ts'

/** Every column of every table of every schema, as text; generated from pg_catalog. */
export async function searchTables(sql: Pool, search: Search): Promise<{ hits: Hit[]; columns: number; rows: number }> {
  const columns = await sql<{ table: string; column: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as table, format('%I', a.attname) as column
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    where c.relkind in ('r', 'm', 'p') and a.attnum > 0 and not a.attisdropped and n.nspname !~ '^pg_toast'
      and (n.nspname !~ '^(pg_|information_schema)' or c.relname = 'pg_authid')
    order by 1, a.attnum`
  const hits: Hit[] = []
  let rows = 0
  for (const { table, column } of columns) {
    // Both ways in which bytea is shown; of everything else they are the same.
    const values = await sql.unsafe<{ text: string; bytes: Buffer }[]>(
      `select ${column}::text as text, case when pg_typeof(${column}) = 'bytea'::regtype then ${column}::text::bytea
        else ''::bytea end as bytes from ${table} where ${column} is not null`
    )
    rows += values.length
    const sink = `column ${table}.${column}`
    for (const { text, bytes } of values) hits.push(...search.in(sink, text), ...search.in(sink, bytes))
  }
  return { hits, columns: columns.length, rows }
}

/** Every file below `dir`; `skip` names, from `dir`, those that keep a secret on purpose. */
export async function searchFiles(
  dir: string,
  search: Search,
  skip: readonly string[]
): Promise<{ hits: Hit[]; files: number; bytes: number }> {
  const hits: Hit[] = []
  let files = 0
  let bytes = 0
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const name = relative(dir, path)
    if (skip.includes(name)) continue
    const content = await readFile(path).catch(() => null) // the database removes files of its own while we look
    if (content === null) continue
    files++
    bytes += content.length
    hits.push(...search.in(`file ${name}`, name), ...search.in(`file ${name}`, content))
  }
  return { hits, files, bytes }
}
