// Who starts next and where, with cells that only pretend: a verdict here depends on no machine.
import { spawn } from 'node:child_process'
import t from 'tap'
import { Dispatcher } from '../supervisor/dispatch.ts'
import { Job } from '../supervisor/job.ts'
import { settle } from '../supervisor/settings.ts'
import type { SandboxCall } from '../types.ts'
import { call, clock } from './support.ts'

/** Cells of which `room` more can be had. `pid`: of the process that is looked at in their place. */
function stage(options: { cores?: number; queuePerTenant?: number; room?: number; pid?: number }) {
  let now = 1000
  let jobs = 0
  const made = new Map<string, Record<string, unknown>[]>()
  const bound: string[] = []
  const cells = {
    room: options.room ?? 9,
    of: (tenantId: string) => made.get(tenantId) ?? [],
    setLow: () => undefined,
    makeRoom: () => undefined,
    bind(tenantId: string, kind: string, alone: boolean) {
      if (cells.room === 0) return undefined
      cells.room--
      bound.push(tenantId)
      const cell = { kind, alone, tenantId, pid: options.pid ?? 0, state: 'ready', draining: false }
      const inside = new Map<number, Job>()
      const start = (job: Job) => {
        job.startedAt = now
        inside.set(++jobs, job)
      }
      made.set(tenantId, [{ ...cell, sessions: new Set(), jobs: inside, start }])
      return made.get(tenantId)?.[0]
    }
  }
  const { cores = 2, queuePerTenant = 256 } = options
  const settings = { ...settle({ clock, queuePerTenant }, cores), clock: { ...clock, monotonic: () => now } }
  const dispatcher = new Dispatcher(settings, cells as never)
  return {
    cells,
    bound,
    dispatcher,
    tick: (ms: number) => (now += ms),
    ask(tenantId: string, more: Partial<SandboxCall> = {}) {
      const job = new Job(call('', { tenantId, ...more }))
      dispatcher.checkRoom(job.call)
      dispatcher.add(job)
      dispatcher.pump()
      return job
    },
    running: (tenantId: string) => [...((cells.of(tenantId)[0]?.jobs ?? new Map()) as Map<number, Job>).values()]
  }
}

t.test(
  'a call that computes while a host call is under way, or gets no CPU, holds its slot',
  {
    skip: process.platform !== 'linux' && 'needs /proc'
  },
  async (t) => {
    const { dispatcher, ask, running, tick } = stage({ cores: 1, pid: process.pid }) // this thread is awake when it looks
    for (let i = 0; i < 2; i++) dispatcher.ended('sly', 500)
    dispatcher.ended('other', 0.1)
    ask('other')
    for (let i = 0; i < 10; i++) ask('sly')
    for (let look = 0; look < 20; look++) {
      for (const job of running('sly')) job.hostFlying = 1
      tick(50)
      dispatcher.polled(new Map([['sly', look % 2 === 0 ? 0 : 50]]), 50)
    }
    t.equal(running('sly').length, 1)
  }
)

t.test(
  'a call that sleeps gives its slot to the next',
  {
    skip: process.platform !== 'linux' && 'needs /proc'
  },
  async (t) => {
    const asleep = spawn('sleep', ['60'])
    t.teardown(() => asleep.kill())
    await new Promise((resolve) => asleep.once('spawn', resolve))
    await new Promise((resolve) => setTimeout(resolve, 100)) // it starts
    const { dispatcher, ask, running, tick } = stage({ cores: 1, pid: asleep.pid ?? 0 })
    for (let i = 0; i < 2; i++) dispatcher.ended('calm', 500)
    dispatcher.ended('other', 0.1)
    ask('other')
    for (let i = 0; i < 5; i++) ask('calm')
    t.equal(running('calm').length, 1)
    for (let look = 0; look < 10; look++) {
      tick(50)
      dispatcher.polled(new Map([['calm', 0]]), 50)
    }
    t.equal(running('calm').length, 5)
  }
)

t.test('a cell that becomes free is for whoever waits longest, not for the quickest calls', async (t) => {
  const { cells, dispatcher, ask, bound, tick } = stage({ room: 0 })
  for (let i = 0; i < 9; i++) dispatcher.ended('quick', 0.1)
  ask('new')
  tick(10)
  ask('quick')
  cells.room = 1
  dispatcher.pump()
  t.strictSame(bound, ['new'])
})

t.test('what a running call waits for joins it in a cell that takes no others any more', async (t) => {
  const { cells, ask, running } = stage({ room: 1 })
  ask('a')
  Object.assign(cells.of('a')[0] ?? {}, { state: 'retiring', draining: true })
  ask('a')
  t.equal(running('a').length, 1)
  ask('a', { nested: true })
  t.equal(running('a').length, 2)
})

t.test('a long queue does not fail what running calls wait for', async (t) => {
  const { ask } = stage({ room: 0, queuePerTenant: 2 })
  ask('a')
  ask('a')
  t.throws(() => ask('a'), { code: 'SANDBOX_BUSY' })
  ask('a', { nested: true })
  ask('a', { nested: true })
  t.throws(() => ask('a', { nested: true }), { code: 'SANDBOX_BUSY' })
})

t.test('what a running call waits for does not wait behind one that is tried again and finds no place', async (t) => {
  const { cells, dispatcher, ask, running } = stage({})
  ask('a', { concurrency: 1 })
  dispatcher.again(new Job(call('', { tenantId: 'a', concurrency: 1 })))
  dispatcher.pump()
  t.equal(running('a').length, 1)
  cells.room = 0
  ask('a', { concurrency: 1, nested: true, sessionId: 'first' })
  t.equal(running('a').length, 2)
  Object.assign(cells.of('a')[0] ?? {}, { state: 'starting' })
  ask('a', { nested: true })
  dispatcher.again(new Job(call('', { tenantId: 'a', concurrency: 1 })))
  Object.assign(cells.of('a')[0] ?? {}, { state: 'ready' })
  dispatcher.pump()
  t.equal(running('a').length, 3)
})
