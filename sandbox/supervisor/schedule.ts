// Which tenant's call may start now, as far as the CPU is concerned. Pure: times (monotonic ms) and CPU (ms) come in as numbers.
//
// A call that takes no time starts at once. So does one of a tenant that uses less than half of its share: it has a credit
// of CPU that fills up again. Any other needs one of a few slots, as many as there are cores (one core fewer while there are
// tenants within their shares), and a slot goes to whoever used the least CPU. So a tenant with 1,000 queued calls holds a
// slot or two, never the machine, and those of others find a core free.

const HEAVY_MS = 3 // below it a call is over before a second core could have helped
const LONG_MS = 10 * HEAVY_MS
const LONG_HOLD_MS = 60_000 // after two long calls: or a tenant would hide bursts of them between quick ones
const LONG_PAIR_MS = 10_000
const GUESS_MS = 25 // of a tenant that has not finished a call yet
const CREDIT_MS = 100
const FREE = 0.5 // of a tenant's share of the cores
const RECENT_MS = 1000
const LEARN = 1 / 8
const AWAKE = 0.2 // of a core: a cell below it only waits, unless it is kept from running
const LEAD_MS = 100 // that cells may tell before the system has measured it
const BUSY = 0.5 // above it the measure is exact enough to learn from: the system counts in ticks of 10 ms

/** What one tenant asks of this host, over all of its cells. */
export class Account {
  readonly tenantId: string
  /** In queues. */
  waiting = 0
  /** CPU of one call; undefined until something is known. */
  costMs: number | undefined
  longAt = Number.NEGATIVE_INFINITY
  longUntil = Number.NEGATIVE_INFINITY
  /** CPU so far, lifted to the others' level whenever it comes back: no tenant saves up turns. */
  usedMs = 0
  creditMs = CREDIT_MS
  creditAt = 0
  askedAt = Number.NEGATIVE_INFINITY
  /** When its cells were looked at last, and how many of their threads ran or wanted to; without a look, all may. */
  seenAt = Number.NEGATIVE_INFINITY
  awake = Number.POSITIVE_INFINITY
  /** Calls finished since the last measurement. */
  finished = 0
  /** CPU as its cells told it, and as the system measured it: the larger one counts. */
  toldMs = 0
  measuredMs = 0

  constructor(tenantId: string) {
    this.tenantId = tenantId
  }
}

export class FairShare {
  readonly #cores: number
  readonly #onCpu: (account: Account) => number
  readonly #accounts = new Map<string, Account>()
  readonly #recent = new Set<Account>()

  /**
   * @param cores of this host, 1 or more
   * @param onCpu calls of a tenant that run and want CPU now, as far as is known
   */
  constructor(cores: number, onCpu: (account: Account) => number) {
    this.#cores = cores
    this.#onCpu = onCpu
  }

  account(tenantId: string): Account {
    let account = this.#accounts.get(tenantId)
    if (!account) {
      account = new Account(tenantId)
      this.#accounts.set(tenantId, account)
    }
    return account
  }

  get accounts(): Iterable<Account> {
    return this.#accounts.values()
  }

  /** A call came in. */
  asked(account: Account, now: number): void {
    account.askedAt = now
    if (this.#recent.has(account)) return
    let least = Number.POSITIVE_INFINITY
    for (const other of this.#recent) least = Math.min(least, other.usedMs)
    if (least !== Number.POSITIVE_INFINITY) account.usedMs = Math.max(account.usedMs, least)
    this.#recent.add(account)
  }

  /** May a call of this tenant start? For a light one: always. */
  mayStart(account: Account, now: number): boolean {
    if (!this.heavy(account, now)) return true
    const running = this.#onCpu(account)
    if (account.costMs === undefined && running === 0) return true
    if (this.#credit(account, now) > running * (account.costMs ?? CREDIT_MS)) return true
    let taken = 0
    let within = false
    for (const other of this.#recent) {
      if (this.heavy(other, now)) taken += this.#onCpu(other)
      within ||= this.#isWithin(other, now)
    }
    // Among themselves one call more than cores keeps these busy while a result is on its way.
    const slots = within && this.#recent.size > 1 ? Math.max(1, this.#cores - 1) : this.#cores + 1
    return taken < slots
  }

  /** Orders tenants that wait for a slot: the least CPU lately first, what their running calls will cost included. */
  before(one: Account, other: Account): number {
    return this.#due(one) - this.#due(other)
  }

  heavy(account: Account, now: number): boolean {
    if (account.costMs === undefined || account.costMs > HEAVY_MS) return true
    return now < account.longUntil && this.#recent.size > 1
  }

  /** A call ended. @param cpuMs as its cell says, or what is known of a killed one */
  finished(account: Account, cpuMs: number, now: number): void {
    account.finished++
    this.#charge(account, cpuMs, 0, now)
    learn(account, cpuMs, now)
  }

  /**
   * What the system measured of the tenant's cells: a cell that was taken over tells of less CPU than it uses, or of more,
   * to use it later.
   * @param cpuMs used in the last `wallMs`
   * @param awake threads that run or want to, where somebody looked: on a busy machine who got no CPU may still want it
   * @returns whether calls that sleep gave room
   */
  measured(account: Account, cpuMs: number, wallMs: number, now: number, awake?: number): boolean {
    const running = this.#onCpu(account)
    const rate = cpuMs / wallMs
    if (rate > BUSY) learn(account, cpuMs / Math.max(1, account.finished + running), now)
    this.#charge(account, 0, cpuMs, now)
    account.toldMs = Math.min(account.toldMs, account.measuredMs + LEAD_MS)
    account.finished = 0
    account.seenAt = now
    account.awake = awake ?? Number.POSITIVE_INFINITY
    if (awake === 0 && rate <= AWAKE && running > 0 && account.costMs === undefined) account.costMs = 0
    return this.#onCpu(account) < running
  }

  /** Forgets who has been away. @param busy has calls in cells */
  prune(now: number, busy: (account: Account) => boolean): void {
    for (const account of this.#recent)
      if (now - account.askedAt > RECENT_MS && account.waiting === 0 && !busy(account)) this.#recent.delete(account)
    for (const [tenantId, account] of this.#accounts)
      if (!this.#recent.has(account) && now - account.askedAt > LONG_HOLD_MS) this.#accounts.delete(tenantId)
  }

  /** Uses more than its share while somebody else is about. */
  greedy(account: Account, now: number): boolean {
    return this.#recent.size > 1 && !this.#isWithin(account, now)
  }

  #isWithin(account: Account, now: number): boolean {
    return !this.heavy(account, now) || this.#credit(account, now) > 0
  }

  #due(account: Account): number {
    return account.usedMs + this.#onCpu(account) * (account.costMs ?? GUESS_MS)
  }

  #charge(account: Account, toldMs: number, measuredMs: number, now: number): void {
    const before = Math.max(account.toldMs, account.measuredMs)
    account.toldMs += toldMs
    account.measuredMs += measuredMs
    const cpuMs = Math.max(account.toldMs, account.measuredMs) - before
    account.usedMs += cpuMs
    // A debt without an end would punish long after the crowd has gone.
    account.creditMs = Math.max(-CREDIT_MS, this.#credit(account, now) - cpuMs)
  }

  #credit(account: Account, now: number): number {
    const perMs = (FREE * this.#cores) / Math.max(1, this.#recent.size)
    account.creditMs = Math.min(CREDIT_MS, account.creditMs + (now - account.creditAt) * perMs)
    account.creditAt = now
    return account.creditMs
  }
}

function learn(account: Account, cpuMs: number, now: number): void {
  account.costMs = (account.costMs ?? cpuMs) * (1 - LEARN) + cpuMs * LEARN
  if (cpuMs < LONG_MS) return
  // One alone may be a collection of garbage, or the machine's.
  if (now - account.longAt < LONG_PAIR_MS) account.longUntil = now + LONG_HOLD_MS
  account.longAt = now
}
