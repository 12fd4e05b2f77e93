import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import { crashPoint } from '#core/crash-point.ts'
import type { Db } from '#core/db/index.ts'
import { AppError } from '#core/errors.ts'
import type { Log } from '#core/log.ts'
import { type Claimed, claimExpired, claimQueued, countBreak, expireOwn, handBack, renew } from '#core/queue/claim.ts'
import { LEASE_MS, POLL_MS, RENEW_MS, SCAN_MS } from '#core/queue/lease.ts'
import { recount } from '#core/queue/slots.ts'
import { Activation } from './activation.ts'
import { Committer, type Write } from './committer.ts'
import type { Effect, MachineKind } from './kind.ts'
import { type AnyEvent, Stepper } from './stepper.ts'
import { loadJournal, type Message, openMessagesOf, orphanMessages } from './store.ts'

export interface RunnerOptions {
  readonly kind: MachineKind
  readonly effects: Readonly<Record<string, Effect<object, AnyEvent>>>
  readonly write?: Write | undefined
  readonly hostId: string
  /** Activations that this host runs at once. */
  readonly capacity: number
  /** Commit transactions that run at once. */
  readonly lanes: number
  readonly db: Db
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  /** Applies a command to an actor that nobody runs (the host's `send` path). */
  settleIdle(message: Message): Promise<void>
}

const RECOUNT_MS = 60_000
const RECOUNT_SLOTS = 500
const ORPHANS_PER_LOOK = 100

/**
 * Runs the actors of one kind on this host: claims queued ones when hinted (else every POLL_MS), takes over expired
 * leases every SCAN_MS, renews its own every RENEW_MS, brings commands to the activations it holds.
 */
export class Runner {
  private readonly options: RunnerOptions
  private readonly committer: Committer
  private readonly active = new Map<string, Activation>()
  private readonly timers: { cancel(): void }[] = []
  private claiming: Promise<void> | null = null
  private again = false
  private expiredHint = false
  private looking = false
  private lookAgain = false
  private stopped = true
  private renewedAt = 0
  private idle: (() => void) | null = null

  constructor(options: RunnerOptions) {
    this.options = options
    const { kind, hostId, db, bus, clock, log, lanes, write } = options
    this.committer = new Committer({ kind, hostId, db, bus, clock, log, lanes, ...(write ? { write } : {}) })
  }

  /** Number of activations held here. */
  get size(): number {
    return this.active.size
  }

  async start(): Promise<void> {
    const { clock, db, kind, hostId } = this.options
    await db.system((tx) => expireOwn(tx, kind, hostId))
    this.stopped = false
    this.renewedAt = clock.monotonic()
    this.timers.push(
      clock.every(POLL_MS, () => {
        this.hint()
        void this.look()
      }),
      clock.every(SCAN_MS, () => this.hint({ expired: true })),
      clock.every(RENEW_MS, () => void this.renew()),
      clock.every(RECOUNT_MS, () => void this.recount())
    )
    this.hint({ expired: true })
  }

  /** There may be work: claim now. Hints while a claim runs are answered by one more claim. */
  hint(options: { expired?: boolean } = {}): void {
    if (options.expired) this.expiredHint = true
    if (this.stopped) return
    if (this.claiming) {
      this.again = true
      return
    }
    this.claiming = this.claim().finally(() => {
      this.claiming = null
    })
  }

  /** A command was written for an actor that somebody runs: if it is us, look now instead of at the next poll. */
  poke(actorId: string): void {
    if (this.active.has(actorId)) void this.look()
  }

  /** Claims nothing more; leases of what runs are still renewed and commands brought to it. */
  async stopClaiming(): Promise<void> {
    this.stopped = true
    await this.claiming
  }

  /**
   * Stops claiming and lets running effects finish for `graceMs`; what still runs then is cut off. Leases go back.
   */
  async stop(graceMs: number): Promise<void> {
    await this.stopClaiming()
    for (const timer of this.timers.splice(0)) timer.cancel()
    for (const activation of this.active.values()) activation.drain(false)
    const { clock } = this.options
    const renewing = clock.every(RENEW_MS, () => void this.renew()) // a long grace must not outlive the leases
    const cut = clock.after(graceMs, () => {
      for (const activation of this.active.values()) activation.drain(true)
    })
    await this.drained()
    cut.cancel()
    renewing.cancel()
  }

  private drained(): Promise<void> {
    if (this.active.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.idle = resolve
    })
  }

  private async claim(): Promise<void> {
    do {
      this.again = false
      const free = this.options.capacity - this.active.size
      if (free <= 0 || this.stopped) return
      try {
        const { rows, messages } = await this.claimRows(free)
        if (rows.length > 0) crashPoint('claimed')
        for (const row of rows) this.activate(row, messages)
        if (rows.length > 0) this.again = true // there may be more: the claim takes a few of each tenant
      } catch (error) {
        this.options.log.warn(
          { err: error, kind: this.options.kind.kind },
          'claim failed; trying again at the next poll'
        )
        return
      }
    } while (this.again)
  }

  private async claimRows(free: number): Promise<{ rows: Claimed[]; messages: Message[] }> {
    const { db, bus, kind, hostId } = this.options
    const scan = this.expiredHint
    this.expiredHint = false
    return await db.system(async (tx) => {
      const expired = scan ? await claimExpired(tx, kind, hostId, free) : []
      // As many as fit: there may be more, and whoever makes room must not have to wait for the next scan.
      if (expired.length === free) this.expiredHint = true
      const room = free - expired.length
      const queued = kind.grants && room > 0 ? await claimQueued(tx, kind, hostId, room) : []
      const events = queued.flatMap((row) => this.announced(row))
      if (events.length > 0) await bus.emitAll(tx, events)
      // A command that was accepted before its host died is taken before the next effect, not whenever the poll sees it.
      const messages = expired.length > 0 ? await openMessagesOf(tx, kind.kind, expired) : []
      return { rows: [...expired, ...queued], messages }
    })
  }

  // The claim moved the row in SQL; what the machine announces for that arrow is asked of the machine itself.
  private announced(row: Claimed) {
    const { kind } = this.options
    const grant = kind.grants?.[row.from]
    if (!grant) return []
    const stepper = new Stepper(kind, row, row.from, kind.restore({ ...row, state: row.from }))
    if (!stepper.apply({ type: grant.event }, 'command', 'scheduler') || stepper.state !== row.state) {
      throw new Error(`${kind.kind}: the claim moves ${row.from} to ${row.state}, the machine to ${stepper.state}`)
    }
    return stepper.take().events.map((event) => ({ ...event, tenantId: row.tenantId }))
  }

  private activate(row: Claimed, messages: readonly Message[]): void {
    const { kind, effects, clock, db, log } = this.options
    // The same actor twice on one host: its lease ran out here and was claimed again. The older activation is fenced.
    this.active.get(row.id)?.lose()
    const activation = new Activation(row, {
      kind,
      effects,
      clock,
      commit: (entry) => this.committer.commit(entry),
      fetchMail: (held) => this.fetchMail(held),
      loadJournal: (ref) => db.tenant(ref.tenantId, (tx) => loadJournal(tx, ref.id))
    })
    this.active.set(row.id, activation)
    for (const message of messages) if (message.actorId === row.id) activation.deliver(message)
    void activation
      .run()
      .then((ended) => (ended === 'handed-back' ? this.handBack(activation) : undefined))
      .catch((error: unknown) => {
        // A bug or an outage: the lease runs out and the actor is taken up again, here or elsewhere.
        log.error({ err: error, kind: kind.kind, actor: row.id, tenantId: row.tenantId }, 'activation broke off')
        // Held up only by a busy or absent database, it need not wait for that.
        if (error instanceof AppError && error.status === 503) return this.handBack(activation).catch(() => {})
        return db.system((tx) => countBreak(tx, kind, this.options.hostId, activation.lease)).catch(() => {})
      })
      .finally(() => this.deactivate(row.id, activation))
  }

  private deactivate(id: string, activation: Activation): void {
    if (this.active.get(id) === activation) this.active.delete(id)
    for (const message of activation.leftover()) void this.settleIdle(message)
    if (this.active.size === 0) this.idle?.()
    this.hint()
  }

  private async handBack(activation: Activation): Promise<void> {
    const { db, kind, hostId } = this.options
    await db.system((tx) => handBack(tx, kind, hostId, [activation.lease]))
  }

  private async renew(): Promise<void> {
    const { db, kind, hostId, clock, log } = this.options
    const held = [...this.active.values()]
    if (held.length === 0) {
      this.renewedAt = clock.monotonic()
      return
    }
    const asked = clock.monotonic()
    try {
      const ours = await db.system((tx) =>
        renew(
          tx,
          kind,
          hostId,
          held.map((activation) => activation.lease)
        )
      )
      this.renewedAt = asked
      for (const activation of held) {
        const lease = ours.get(activation.ref.id)
        if (!lease) activation.lose()
        // Handed back in its state; whoever claims it once the tenant is resumed repeats the effect under its key.
        else if (lease.suspended) activation.drain(true)
      }
    } catch (error) {
      log.warn({ err: error, kind: kind.kind }, 'leases not renewed')
      // Past the lease another host may act already: stop starting effects. (Commits are fenced in any case.)
      if (clock.monotonic() - this.renewedAt > LEASE_MS) for (const activation of held) activation.lose()
    }
  }

  private async fetchMail(activation: Activation): Promise<void> {
    const { db, kind } = this.options
    const messages = await db.system((tx) => openMessagesOf(tx, kind.kind, [activation.ref]))
    for (const message of messages) activation.deliver(message)
  }

  private async look(): Promise<void> {
    if (this.looking) {
      this.lookAgain = true // what it reads may be older than what it was called for
      return
    }
    this.looking = true
    try {
      const { db, kind } = this.options
      const held = [...this.active.values()].map((activation) => activation.ref)
      const { mine, orphans } = await db.system(async (tx) => ({
        mine: held.length > 0 ? await openMessagesOf(tx, kind.kind, held) : [],
        orphans: await orphanMessages(tx, kind, ORPHANS_PER_LOOK)
      }))
      for (const message of mine) this.active.get(message.actorId)?.deliver(message)
      for (const message of orphans) await this.settleIdle(message)
    } catch (error) {
      this.options.log.warn({ err: error, kind: this.options.kind.kind }, 'inbox not read')
    } finally {
      this.looking = false
      if (this.lookAgain) {
        this.lookAgain = false
        void this.look()
      }
    }
  }

  private async settleIdle(message: Message): Promise<void> {
    try {
      await this.options.settleIdle(message)
    } catch (error) {
      this.options.log.warn({ err: error, actor: message.actorId }, 'command left in the inbox')
    }
  }

  private async recount(): Promise<void> {
    const { db, kind, log } = this.options
    if (!kind.grants) return
    try {
      const repaired = await db.system((tx) => recount(tx, kind, RECOUNT_SLOTS))
      for (const slot of repaired) log.error({ ...slot, kind: kind.kind }, 'slot counts repaired: report this')
    } catch (error) {
      log.warn({ err: error, kind: kind.kind }, 'slots not recounted')
    }
  }
}
