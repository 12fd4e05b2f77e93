import { readFile } from 'node:fs/promises'
import t from 'tap'

const { profile } = await import(new URL('../dist/index.js', import.meta.url).href)
const data = new URL('../data/', import.meta.resolve('vega-datasets'))
const csv = (name: string) => readFile(new URL(name, data), 'utf8')

interface Column {
  name: string
  type: string
  nulls: number
  distinct: number
  top: { value: string; count: number }[]
}
const columns = (result: { columns: Column[] }) =>
  Object.fromEntries(result.columns.map((column) => [column.name, column]))

t.test('four years of weather in Seattle have their known facts', async (t) => {
  const result = await profile({ csv: await csv('seattle-weather.csv') })
  t.match(result, { rows: 1461, delimiter: ',', nullRate: 0, warnings: [] })
  const { date, precipitation, temp_max, weather } = columns(result)
  t.match(date, { type: 'date', min: '2012-01-01', max: '2015-12-31', distinct: 1461 })
  t.match(precipitation, { type: 'number', min: 0, max: 55.9, quantiles: { p50: 0, p75: 2.8 } })
  t.match(temp_max, { type: 'number', min: -1.6, max: 35.6, quantiles: { p50: 15.6 } })
  t.match(weather, { type: 'string', distinct: 5 })
  t.strictSame(weather?.top.slice(0, 2), [
    { value: 'rain', count: 641 },
    { value: 'sun', count: 640 }
  ])
  const counts = result.columns[1].histogram.map((line: string) => Number(line.split(' ').at(-1)))
  t.equal(
    counts.reduce((a: number, b: number) => a + b, 0),
    1461
  )
  const bars: string[] = result.columns[2].histogram
  t.equal(new Set(bars.map((line) => line.indexOf('#'))).size, 1, 'all bars begin in one column')
})

t.test('codes with leading zeros are text, and missing values are counted', async (t) => {
  const { columns: list, nullRate } = await profile({ csv: 'zip,n\n00501,1\n02134,NA\n10001,\n' })
  t.match(list, [
    { type: 'string', nulls: 0 },
    { type: 'integer', nulls: 2, count: 1 }
  ])
  t.equal(nullRate, 2 / 6)
})

t.test('quotes, line breaks in quotes, CRLF, a byte order mark and other delimiters are read', async (t) => {
  const result = await profile({ csv: '\ufeffname;note\r\n"Miller; Ann";"said ""hi""\nand left"\r\nBo;ok\r\n' })
  t.equal(result.delimiter, ';')
  t.equal(result.rows, 2)
  const { name, note } = columns(result)
  t.strictSame(name?.top, [
    { value: 'Bo', count: 1 },
    { value: 'Miller; Ann', count: 1 }
  ])
  t.ok(note?.top.some(({ value }) => value === 'said "hi"\nand left'))
})

t.test('rows of another width are read and named', async (t) => {
  const result = await profile({ csv: 'a,b\n1\n1,2,3\n4,5\n', delimiter: ',' })
  t.strictSame(result.warnings, ['row 1 has 1 cells, the header has 2', 'row 2 has 3 cells, the header has 2'])
  t.equal(columns(result).b?.nulls, 1)
})

t.test('types are the narrowest that all values have', async (t) => {
  const rows = [
    'i,f,b,d,t,e,s',
    '1,1.5,true,2020-02-29,2020-01-01 10:00,,x',
    '-2,1e3,no,2021/1/5,2020-01-02T11:00:00Z,,2'
  ]
  const types = (await profile({ csv: rows.join('\n') })).columns.map((column: Column) => column.type)
  t.strictSame(types, ['integer', 'number', 'boolean', 'date', 'datetime', 'empty', 'string'])
  t.equal((await profile({ csv: 'd\n2021-02-29\n', delimiter: ',' })).columns[0].type, 'string')
})

t.test('quantiles interpolate as everybody else does', async (t) => {
  const { columns: list } = await profile({ csv: 'n\n1\n2\n3\n4\n', delimiter: ',' })
  t.match(list[0], { quantiles: { p25: 1.75, p50: 2.5, p75: 3.25 }, mean: 2.5, stddev: 1.29099444874 })
})

t.test('an empty text is refused, a header alone is not', async (t) => {
  await t.rejects(profile({ csv: '\n' }), { message: /no header/ })
  t.match(await profile({ csv: 'a,b\n' }), { rows: 0, nullRate: 0, columns: [{ type: 'empty' }, { type: 'empty' }] })
})
