// RFC 4180 as files really are: quotes, doubled quotes, line breaks inside quotes, CRLF, a byte order mark, and rows
// that are shorter or longer than the header.

/**
 * @param {string} text
 * @param {string} delimiter one character
 * @returns {string[][]} rows of cells, without blank lines
 */
export function parseCsv(text, delimiter) {
  const rows = []
  let row = []
  let cell = ''
  let quoted = false
  let i = text.charCodeAt(0) === 0xfeff ? 1 : 0
  const endCell = () => {
    row.push(cell)
    cell = ''
  }
  const endRow = () => {
    endCell()
    if (row.length > 1 || row[0] !== '') rows.push(row)
    row = []
  }
  for (; i < text.length; i++) {
    const c = text[i]
    if (quoted) {
      if (c !== '"') cell += c
      else if (text[i + 1] === '"') {
        cell += '"'
        i++
      } else quoted = false
    } else if (c === '"' && cell === '') quoted = true
    else if (c === delimiter) endCell()
    else if (c === '\n') endRow()
    else if (c === '\r' && (text[i + 1] === '\n' || i + 1 === text.length)) continue
    else cell += c
  }
  if (cell !== '' || row.length > 0) endRow()
  return rows
}

/** The delimiter that splits the first lines into the same, largest number of cells. */
export function findDelimiter(text) {
  const sample = text.slice(0, 20_000)
  let best = ','
  let bestScore = 0
  for (const delimiter of [',', ';', '\t', '|']) {
    const rows = parseCsv(sample, delimiter).slice(0, 20)
    const width = rows[0]?.length ?? 0
    const same = rows.filter((row) => row.length === width).length
    const score = width > 1 ? (same / rows.length) * width : 0
    if (score > bestScore) {
      best = delimiter
      bestScore = score
    }
  }
  return best
}
