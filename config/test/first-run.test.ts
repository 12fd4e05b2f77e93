import t from 'tap'
import { progressBar } from '#config/first-run/progress.ts'
import { type DemoSession, summary } from '#config/first-run/summary.ts'

function screen(columns?: number) {
  const written: string[] = []
  return {
    written,
    isTTY: columns !== undefined,
    ...(columns === undefined ? {} : { columns }),
    write: (text: string) => void written.push(text)
  }
}

t.test('without a terminal each event is a line, and the percentage never falls', async (t) => {
  const out = screen()
  const progress = progressBar(out)
  progress.event('session.created', {})
  progress.event('session.progress', { pct: 50, step: 'profile' })
  progress.event('session.gate.passed', { gate: 'few-nulls' })
  progress.event('session.completed', {})
  progress.end()
  t.strictSame(out.written, [
    '    0 %       session.created\n',
    '   50 %       session.progress profile\n',
    '   50 %       session.gate.passed few-nulls\n',
    '  100 %       session.completed\n'
  ])
})

t.test('on a terminal one line is drawn over, and never wider than the terminal', async (t) => {
  for (const columns of [0, 50, 80]) {
    const out = screen(columns)
    const progress = progressBar(out)
    progress.event('session.progress', { pct: 50, step: 'a-step-with-a-long-name'.repeat(5) })
    progress.end()
    t.ok(out.written[0]?.startsWith(`\r  ${'█'.repeat(15)}${'░'.repeat(15)}  50 %  `))
    t.ok(out.written[0]?.endsWith('\x1b[K'))
    t.ok((out.written[0] ?? '').length - '\r\x1b[K'.length <= (columns || 80), `${columns} columns`)
    t.equal(out.written[1], '\n')
  }
})

const session: DemoSession = {
  id: '0',
  state: 'COMPLETE',
  createdAt: '2026-01-01T00:00:00.000Z',
  endedAt: '2026-01-01T00:00:01.500Z',
  steps: [{}, {}],
  checkpoints: [{}, {}],
  gates: [{ name: 'few-nulls', verdict: 'passed' }],
  result: {
    rows: 2,
    columns: [
      { name: 'day', type: 'date', distinct: 2, min: '2012-01-01', max: '2012-01-02' },
      { name: 'one', type: 'integer', distinct: 1, min: 1, max: 1, quantiles: { p50: 1 }, histogram: ['1  ## 2'] },
      {
        name: 'wind',
        type: 'number',
        distinct: 2,
        min: 1,
        max: 2,
        quantiles: { p50: 1.5 },
        histogram: ['1  # 1', '2  # 1']
      },
      {
        name: 'sky',
        type: 'string',
        distinct: 2,
        top: [
          { value: 'sun', count: 1 },
          { value: 'fog', count: 1 }
        ]
      }
    ]
  },
  error: null
}

t.test('the summary says how long it took and draws one column', async (t) => {
  t.strictSame(summary(session), [
    '',
    '  result      2 rows, 4 columns in 1.50 s: 2 steps, 2 checkpoints, 1 gate passed',
    '  columns     day            date     2012-01-01 to 2012-01-02',
    '              one            integer  1 to 1, median 1',
    '              wind           number   1 to 2, median 1.5',
    '              sky            string   2 different',
    '',
    '  wind',
    '    1  █ 1',
    '    2  █ 1',
    '',
    '  sky         sun 1, fog 1'
  ])
  t.strictSame(summary({ ...session, result: null }), [])
})
