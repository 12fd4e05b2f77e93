// Concurrency, fair turns and cells that are too few, on real cells; the shares themselves: fair-share.test.ts.
import t from 'tap'
import { call, outcome, sandbox } from './support.ts'

const gate = () => {
  let open = () => undefined as unknown
  const opened = new Promise<void>((resolve) => (open = () => resolve()))
  return { opened, open: () => open() }
}

t.test('a tenant runs as many calls at once as its plan says, the rest waits, and then it is told', async (t) => {
  const box = sandbox({ queuePerTenant: 3 })
  t.teardown(() => box.close())
  const { opened, open } = gate()
  let running = 0
  let peak = 0
  const what = (verified: boolean) =>
    call('export const run = (i, ctx) => ctx.progress(1)', {
      verified,
      concurrency: 2,
      limit: { wallMs: 20_000 },
      onHostCall: async () => {
        peak = Math.max(peak, ++running)
        await opened
        running--
        return '"done"'
      }
    })
  await box.run(call('export const run = () => 1')) // known: its calls are quick
  const all = [true, false, true, true, false].map((verified) => outcome(box, what(verified)))
  while (running < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  const { code, error } = await outcome(box, what(true))
  t.equal(code, 'SANDBOX_BUSY')
  t.equal(error?.retryable, true)
  t.strictSame(error?.details, { waiting: 3, limit: 2 })
  t.match(error?.message, /^3 calls of this tenant wait already, as many as may, and 2 of them run at once/)
  t.match(box.status().share.tenants, [{ tenantId: 'tenant-a', running: 2, waiting: 3 }])
  t.equal((await outcome(box, call('export const run = () => 2', { tenantId: 'other' }))).output, 2)
  open()
  t.strictSame(
    (await Promise.all(all)).map((one) => one.output),
    ['done', 'done', 'done', 'done', 'done']
  )
  t.equal(peak, 2)
})

t.test('a call that a running call waits for takes no place: it would wait for ever', async (t) => {
  const box = sandbox({ callsPerCell: 1 })
  t.teardown(() => box.close())
  const depth = (n: number): ReturnType<typeof outcome> =>
    outcome(
      box,
      call('export const run = async (i, ctx) => i > 0 ? 1 + await ctx.progress(i) : 0', {
        sessionId: `depth-${n}`,
        input: `${n}`,
        concurrency: 1,
        nested: n < 4,
        limit: { wallMs: 20_000 },
        onHostCall: async () => JSON.stringify((await depth(n - 1)).output)
      })
    )
  t.equal((await depth(4)).output, 4)
})

t.test('with all cells busy a new tenant is served after the calls that run, and the busy ones go on', async (t) => {
  const box = sandbox({ maxCells: 2 })
  t.teardown(() => box.close())
  const what = call('export const run = async () => { await new Promise((go) => setTimeout(go, 30)); return 1 }', {
    limit: { wallMs: 30_000 }
  })
  let over = false
  const served = { a: 0, b: 0 }
  const busy = (['a', 'b'] as const).flatMap((tenantId) =>
    [1, 2].map(async (n) => {
      while (!over) {
        await box.run({ ...what, tenantId, sessionId: `${n}` })
        served[tenantId]++
      }
    })
  )
  while (served.a === 0 || served.b === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal((await outcome(box, { ...what, tenantId: 'new' })).output, 1)
  const before = { ...served }
  while (served.a === before.a || served.b === before.b) await new Promise((resolve) => setTimeout(resolve, 5))
  over = true
  await Promise.all(busy)
  t.ok(box.status().counts.evicted >= 1)
  t.equal(box.status().counts.retries, 0, 'no call was cut off for it')
})
