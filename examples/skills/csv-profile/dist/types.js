const INTEGER = /^[+-]?\d{1,15}$/
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/
const BOOLEAN = /^(true|false|yes|no|t|f)$/i
const DATE = /^(\d{4})[-/](\d{1,2})[-/](\d{1,2})$/
const DATETIME = /^(\d{4})[-/](\d{1,2})[-/](\d{1,2})[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?$/

function isDay(match) {
  if (!match) return false
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])]
  if (month < 1 || month > 12 || day < 1) return false
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  return day <= [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
}

// Narrowest first; a column has the first type that all its values have.
const TESTS = [
  ['integer', (text) => INTEGER.test(text)],
  ['number', (text) => NUMBER.test(text)],
  ['boolean', (text) => BOOLEAN.test(text)],
  ['date', (text) => isDay(DATE.exec(text))],
  ['datetime', (text) => isDay(DATETIME.exec(text)) || isDay(DATE.exec(text))]
]

/** @param {string[]} values without the missing ones */
export function columnType(values) {
  if (values.length === 0) return 'empty'
  // 007 is a code, not the number 7: a leading zero keeps a column out of the numbers.
  const codes = values.some((text) => /^[+-]?0\d+$/.test(text))
  for (const [type, fits] of TESTS) {
    if (codes && (type === 'integer' || type === 'number')) continue
    if (values.every(fits)) return type
  }
  return 'string'
}
