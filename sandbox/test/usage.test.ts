// What a call used is told whatever its end was.
import t from 'tap'
import type { SandboxUsage } from '../index.ts'
import { Job } from '../supervisor/job.ts'
import { Journal } from '../supervisor/journal.ts'
import { Meter, processCpuMs } from '../supervisor/meter.ts'
import { call, clock, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

t.test('results and failures alike', async (t) => {
  const cases: [string, string | undefined, Partial<SandboxUsage>][] = [
    ['await ctx.progress(1); return 1', undefined, { hostCalls: 1, wakes: [1], replayable: true }],
    ['throw new Error("mine")', 'SKILL_ERROR', { hostCalls: 0, wakes: [], replayable: true }],
    ['return 1n', 'SKILL_RESULT_INVALID', { replayable: true }],
    ['return "x".repeat(2 ** 21)', 'RESULT_TOO_LARGE', { replayable: true }],
    ['for (;;) await ctx.progress(1)', 'SANDBOX_HOST_CALLS', { hostCalls: 3, wakes: [1, 2, 3], replayable: true }],
    ['for (;;);', 'SANDBOX_TIMEOUT', { replayable: false }],
    ['const a = []; for (;;) a.push(new Array(1e5).fill(1.5))', 'SANDBOX_MEMORY', { replayable: false }]
  ]
  for (const [text, code, expected] of cases) {
    const found = await outcome(
      box,
      call(`export async function run(input, ctx) { ${text} }`, {
        onHostCall: async () => '1',
        limit: { cpuMs: 300, wallMs: 20_000, memoryMb: 16, hostCalls: 3 }
      })
    )
    t.equal(found.code, code, text)
    const usage = found.result?.usage ?? found.error?.usage
    t.match(usage, { ...expected, nth: 0, killed: false }, text)
    t.ok((usage?.generation ?? 0) > 0)
    t.ok((usage?.cpuMs ?? -1) >= 0 && (usage?.wallMs ?? 0) > 0)
  }
  const { error } = await outcome(box, call('', { input: `"${'x'.repeat(2 ** 21)}"` }))
  t.equal(error?.usage, undefined, 'no cell ever ran it')
})

t.test('nth counts the calls of the isolate', async (t) => {
  const what = call('export const run = (fail) => { if (fail) throw new Error(fail); return 1 }')
  const found: unknown[] = []
  for (const input of ['null', '"no"', 'null']) {
    const { result, error } = await outcome(box, { ...what, input })
    found.push((result?.usage ?? error?.usage)?.nth)
  }
  box.endSession(what.tenantId, what.sessionId)
  found.push((await box.run({ ...what, input: 'null' })).usage.nth)
  t.strictSame(found, [0, 1, 2, 0])
})

t.test('a call that is killed with its cell is metered by the kernel', async (t) => {
  const hang = `export async function run(input, ctx) {
    await ctx.progress(1); await ctx.progress(2); [].indexOf.call({ length: 2 ** 53 - 1 }, 1)
  }`
  for (const verified of [true, false]) {
    const { error } = await outcome(
      box,
      call(hang, { verified, onHostCall: async () => '1', limit: { cpuMs: 300, wallMs: 20_000 } })
    )
    const usage = { hostCalls: 2, wakes: [1, 2], killed: true, replayable: false, generation: 0 }
    t.match(error, { code: 'SANDBOX_KILLED', usage })
    t.ok((error?.usage?.cpuMs ?? 0) >= 300, `${error?.usage?.cpuMs} ms`)
    t.ok((error?.usage?.cpuMs ?? 0) <= (error?.usage?.wallMs ?? 0))
  }
})

t.test('the kernel counts what a process used', { skip: process.platform !== 'linux' }, (t) => {
  const before = processCpuMs(process.pid) ?? 0
  const start = process.cpuUsage()
  const used = () => process.cpuUsage(start).user + process.cpuUsage(start).system
  while (used() < 100_000);
  t.ok((processCpuMs(process.pid) ?? 0) - before >= 80)
  t.equal(processCpuMs(2 ** 30), undefined)
  t.end()
})

t.test('of the time that ended calls did not report, the guilty one bears all, or each its share', (t) => {
  const meter = new Meter()
  const job = new Job(call(''))
  t.equal(job.estimate(1, true), undefined, 'it never ran')
  meter.open = 4
  const at = { ms: 0 }
  job.begin({ ...clock, monotonic: () => at.ms }, meter)
  at.ms = 1000
  job.claimedMs = 70
  t.equal(job.estimate(1, true)?.cpuMs, 70, 'what its cell said')
  job.claimedMs = 0
  meter.unaccounted = () => 800
  t.match(job.estimate(1, true), { cpuMs: 800, wallMs: 1000, killed: true, replayable: false })
  t.equal(job.evenShare, 0.25)
  t.equal(job.estimate(job.evenShare, true)?.cpuMs, 200)
  t.equal(job.estimate(0, true)?.cpuMs, 0)
  at.ms = 500
  t.equal(job.estimate(1, true)?.cpuMs, 500, 'one call is one thread')
  t.end()
})

t.test('what ended calls reported is taken off', { skip: process.platform !== 'linux' }, (t) => {
  const meter = new Meter()
  t.equal(meter.unaccounted(meter.mark), 0)
  meter.read(2 ** 30)
  t.equal(meter.mark, undefined)
  meter.read(process.pid)
  const { mark } = meter
  t.equal(meter.unaccounted(mark), 0)
  meter.read(process.pid)
  const all = meter.unaccounted(mark)
  meter.ended(1e6)
  meter.read(process.pid)
  t.ok(all >= 0 && meter.unaccounted(mark) === 0)
  t.end()
})

t.test('a journal is bounded, and without it no call is run again', async (t) => {
  const large = 'x'.repeat(1024 * 1024)
  const answer = Promise.resolve({ n: 1, ok: true, text: large })
  const journal = new Journal()
  for (let n = 1; n <= 8; n++) journal.add(n, { name: 'a', args: large, answer })
  await answer
  t.equal(journal.whole, true)
  t.equal(journal.get(8)?.args, large)
  journal.add(9, { name: 'a', args: 'x', answer })
  await answer
  t.equal(journal.whole, false)
  t.equal(journal.get(1), undefined)
  const others = Array.from({ length: 17 }, () => new Journal())
  for (const one of others)
    for (let n = 1; n <= 16; n++) one.add(n, { name: 'a', args: large, answer: new Promise(() => {}) })
  t.equal(others.filter((one) => one.whole).length, 16, '256 MiB in all')
  for (const one of others) one.drop()
  const job = new Job(call(''))
  t.equal(job.repeatable, true)
  job.journal.drop()
  t.equal(job.repeatable, false)
})
