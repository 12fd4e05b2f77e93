// The scheduler alone, on cores and a clock that are simulated: a verdict here depends on no machine.
import t from 'tap'
import { type Account, FairShare } from '../supervisor/schedule.ts'

const STEP_MS = 0.25
const POLL_MS = 50

interface Running {
  account: Account
  leftMs: number
  costMs: number
  askedAt: number
}

/** Cores that are shared alike by whatever runs, as a system without priorities does it. */
class Machine {
  readonly share: FairShare
  readonly running: Running[] = []
  readonly queues = new Map<Account, { costMs: number; askedAt: number }[]>()
  readonly latencies = new Map<string, number[]>()
  readonly startedBy: string[] = []
  now = 0
  readonly #cores: number
  readonly #used = new Map<Account, number>()
  /** false: everything starts at once, as without a scheduler. */
  fair = true

  constructor(cores: number) {
    this.#cores = cores
    this.share = new FairShare(cores, (account) => this.running.filter((one) => one.account === account).length)
  }

  ask(tenantId: string, costMs: number, count = 1): void {
    const account = this.share.account(tenantId)
    this.share.asked(account, this.now)
    const queue = this.queues.get(account) ?? []
    for (let i = 0; i < count; i++) queue.push({ costMs, askedAt: this.now })
    account.waiting = queue.length
    this.queues.set(account, queue)
    this.pump()
  }

  pump(): void {
    for (;;) {
      const candidates = [...this.queues]
        .filter(([account, queue]) => queue.length > 0 && this.running.filter((o) => o.account === account).length < 16)
        .filter(([account]) => !this.fair || this.share.mayStart(account, this.now))
        .sort(([one], [other]) => this.share.before(one, other))
      const [next] = candidates
      const call = next?.[1].shift()
      if (!next || !call) return
      next[0].waiting = next[1].length
      this.startedBy.push(next[0].tenantId)
      this.running.push({ account: next[0], leftMs: call.costMs, ...call })
    }
  }

  /** `each` is called at every step, for tenants that ask as time goes by. */
  run(ms: number, each: (now: number) => void = () => undefined): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now += STEP_MS
      const speed = Math.min(1, this.#cores / Math.max(1, this.running.length))
      for (const one of [...this.running]) {
        one.leftMs -= STEP_MS * speed
        this.#used.set(one.account, (this.#used.get(one.account) ?? 0) + STEP_MS * speed)
        if (one.leftMs > 0) continue
        this.running.splice(this.running.indexOf(one), 1)
        this.share.finished(one.account, one.costMs, this.now)
        const { tenantId } = one.account
        this.latencies.set(tenantId, [...(this.latencies.get(tenantId) ?? []), this.now - one.askedAt])
      }
      if (this.now % POLL_MS === 0) {
        for (const account of this.share.accounts)
          this.share.measured(account, this.#used.get(account) ?? 0, POLL_MS, this.now)
        this.#used.clear()
        this.share.prune(this.now, (account) => this.running.some((one) => one.account === account))
      }
      each(this.now)
      this.pump()
    }
  }

  p99(tenantId: string): number {
    const sorted = [...(this.latencies.get(tenantId) ?? [])].sort((a, b) => a - b)
    return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN
  }

  count(tenantId: string): number {
    return this.latencies.get(tenantId)?.length ?? 0
  }
}

/** p99 of a tenant with a call of `costMs` every `everyMs`, beside what `crowd` queues. */
function quiet(machine: Machine, costMs: number, everyMs: number, crowd?: (machine: Machine) => void): number {
  machine.run(2000, (now) => now % everyMs === 0 && machine.ask('quiet', costMs))
  crowd?.(machine)
  // Nobody knows yet what a new tenant's calls take: the first of each starts at once.
  machine.run(1000, (now) => now % everyMs === 0 && machine.ask('quiet', costMs))
  machine.latencies.clear()
  machine.run(8000, (now) => now % everyMs === 0 && machine.ask('quiet', costMs))
  return machine.p99('quiet')
}

for (const cores of [2, 4, 8]) {
  t.test(`${cores} cores: 1,000 queued heavy calls of a tenant leave another's p99 within 2x`, async (t) => {
    for (const costMs of [0.5, 2, 8]) {
      const alone = quiet(new Machine(cores), costMs, 25)
      const beside = quiet(new Machine(cores), costMs, 25, (machine) => machine.ask('heavy', 80, 1000))
      t.ok(beside <= alone * 2, `${costMs} ms calls: ${alone} alone, ${beside} beside`)
      const unfair = new Machine(cores)
      unfair.fair = false
      const without = quiet(unfair, costMs, 25, (machine) => machine.ask('heavy', 80, 1000))
      t.ok(without >= beside, `${without} without shares`)
    }
  })

  t.test(`${cores} cores: five tenants with 1,000 queued heavy calls each do no worse to it than one`, async (t) => {
    const alone = quiet(new Machine(cores), 2, 25)
    const beside = quiet(new Machine(cores), 2, 25, (machine) => {
      for (const name of ['a', 'b', 'c', 'd', 'e']) machine.ask(name, 40, 1000)
    })
    t.ok(beside <= alone * 2, `${alone} alone, ${beside} beside`)
  })
}

t.test('tenants that all want more than there is get the same CPU, whatever one call of theirs takes', async (t) => {
  const machine = new Machine(4)
  machine.ask('long', 200, 1000)
  machine.ask('middle', 50, 4000)
  machine.ask('short', 10, 20_000)
  machine.run(20_000)
  const cpu = ['long', 'middle', 'short'].map((name, i) => machine.count(name) * ([200, 50, 10][i] ?? 0))
  t.ok(Math.max(...cpu) / Math.min(...cpu) < 1.15, cpu.join())
  const all = cpu.reduce((sum, one) => sum + one, 0)
  t.ok(all > 0.95 * 4 * 20_000, `no core is idle while somebody waits: ${all} ms of CPU`)
})

t.test('who was away comes back with no turns saved up, and does not wait for a round of the others', async (t) => {
  const machine = new Machine(2)
  machine.ask('early', 20, 10)
  machine.run(3000)
  machine.ask('other', 20, 5000)
  machine.run(6000)
  machine.startedBy.length = 0
  machine.ask('early', 20, 500)
  machine.run(1000)
  const mine = machine.startedBy.filter((name) => name === 'early').length
  const ratio = mine / machine.startedBy.length
  t.ok(ratio > 0.4 && ratio < 0.62, `${mine} of ${machine.startedBy.length}`)
})

t.test('a tenant of quick calls is held by nothing', async (t) => {
  const share = new FairShare(2, () => 16)
  const account = share.account('quick')
  share.asked(account, 0)
  for (let i = 0; i < 20; i++) share.finished(account, 0.1, i)
  t.equal(share.heavy(account, 100), false)
  t.equal(share.mayStart(account, 100), true)
})

t.test('long calls between quick ones are remembered: bursts cannot hide behind them', async (t) => {
  const share = new FairShare(2, () => 3)
  const account = share.account('sly')
  share.asked(account, 0)
  share.finished(account, 200, 0)
  for (let i = 0; i < 1000; i++) share.finished(account, 0.01, 10)
  share.asked(share.account('other'), 0)
  t.equal(share.heavy(account, 1000), false, 'one alone may have been a collection of garbage')
  share.finished(account, 200, 2000)
  for (let i = 0; i < 1000; i++) share.finished(account, 0.01, 10)
  t.equal(share.heavy(account, 3000), true)
  t.equal(share.heavy(account, 63_000), false)
})

t.test('what the system measured counts, not what a cell tells', async (t) => {
  let onCpu = 2
  const share = new FairShare(2, () => onCpu)
  const liar = share.account('liar')
  const honest = share.account('honest')
  for (const account of [liar, honest]) share.asked(account, 0)
  for (let now = 50; now <= 1000; now += 50) {
    share.finished(liar, 0, now)
    share.measured(liar, 50, 50, now)
    share.finished(honest, 25, now)
    share.measured(honest, 25, 50, now)
  }
  t.equal(share.heavy(liar, 1000), true)
  onCpu = 0
  t.ok(share.before(honest, liar) < 0, 'the liar has used more')
})

t.test('a cell that tells of CPU that it did not use has nothing of it later', async (t) => {
  const share = new FairShare(2, () => 0)
  const liar = share.account('liar')
  const other = share.account('other')
  for (const account of [liar, other]) share.asked(account, 0)
  for (let i = 0; i < 20; i++) share.finished(liar, 1000, 0)
  share.measured(liar, 0, 50, 50)
  const { usedMs } = liar
  for (let now = 100; now <= 2000; now += 50) {
    for (const account of [liar, other]) share.asked(account, now)
    share.measured(liar, 100, 50, now)
  }
  t.ok(liar.usedMs - usedMs > 3000, `${liar.usedMs - usedMs} of 3900 ms`)
  t.equal(share.greedy(liar, 2000), true)
})

t.test('calls that wait for timers hold no slot', async (t) => {
  const share = new FairShare(1, (account) => Math.min(2, account.awake))
  const sleeper = share.account('sleeper')
  share.asked(sleeper, 0)
  for (let i = 0; i < 4; i++) share.finished(sleeper, 60, 0)
  t.equal(share.mayStart(sleeper, 10), false)
  t.equal(share.measured(sleeper, 0, 50, 50, 2), false, 'nothing used, for want of a core')
  t.equal(share.mayStart(sleeper, 50), false)
  t.equal(share.measured(sleeper, 0, 50, 50, 0), true)
  t.equal(share.mayStart(sleeper, 50), true)
})

t.test('accounts of tenants that are gone are forgotten', async (t) => {
  const share = new FairShare(2, () => 0)
  share.asked(share.account('gone'), 0)
  share.prune(30_000, () => false)
  t.equal([...share.accounts].length, 1)
  share.prune(61_000, () => false)
  t.equal([...share.accounts].length, 0)
})
