import { findDelimiter, parseCsv } from './csv.js'
import { describeNumbers, histogram, topValues } from './statistics.js'
import { columnType } from './types.js'

const MISSING = ['', 'NA', 'N/A', 'NaN', 'null', 'NULL', 'None']
const MAX_COLUMNS = 500
const MAX_WARNINGS = 20

/**
 * Describes each column of a CSV text; see SKILL.md.
 * @param {{ csv: string, delimiter?: string, bins?: number, top?: number, nullValues?: string[] }} input
 */
export async function profile(input, ctx) {
  const delimiter = input.delimiter ?? findDelimiter(input.csv)
  const [header, ...rows] = parseCsv(input.csv, delimiter)
  if (!header) throw new Error('the CSV has no header line')
  if (header.length > MAX_COLUMNS) throw new Error(`the CSV has ${header.length} columns, ${MAX_COLUMNS} are allowed`)
  ctx?.log?.info?.(`${rows.length} rows, ${header.length} columns`)

  const missing = new Set(input.nullValues ?? MISSING)
  const columns = header.map((name, i) => {
    const cells = rows.map((row) => (row[i] ?? '').trim())
    ctx?.progress?.((i + 1) / header.length, name.slice(0, 100))
    return describeColumn(name.trim() || `column ${i + 1}`, cells, missing, input)
  })
  const cells = rows.length * header.length
  const nulls = columns.reduce((sum, column) => sum + column.nulls, 0)
  return {
    rows: rows.length,
    delimiter,
    nullRate: cells ? nulls / cells : 0,
    columns,
    warnings: raggedRows(header, rows)
  }
}

function describeColumn(name, cells, missing, { bins = 10, top = 5 }) {
  const values = cells.filter((cell) => !missing.has(cell))
  const type = columnType(values)
  const nulls = cells.length - values.length
  const column = {
    name: name.slice(0, 200),
    type,
    count: values.length,
    nulls,
    nullRate: cells.length ? nulls / cells.length : 0,
    ...topValues(values, top)
  }
  if (type === 'integer' || type === 'number') {
    const numbers = values.map(Number)
    return { ...column, ...describeNumbers(numbers), histogram: histogram(numbers, bins) }
  }
  if (type === 'date' || type === 'datetime') {
    // Text order is time order only for dates of one width, so compare them padded.
    const sorted = values.map(padDate).sort()
    return { ...column, min: sorted[0], max: sorted[sorted.length - 1] }
  }
  return column
}

function padDate(text) {
  return text.replace(
    /^(\d{4})[-/](\d{1,2})[-/](\d{1,2})/,
    (_, year, month, day) => `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
  )
}

function raggedRows(header, rows) {
  const warnings = []
  for (const [i, row] of rows.entries()) {
    if (row.length === header.length) continue
    if (warnings.length === MAX_WARNINGS) {
      warnings.push('and more')
      break
    }
    warnings.push(`row ${i + 1} has ${row.length} cells, the header has ${header.length}`)
  }
  return warnings
}
