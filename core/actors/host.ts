import type { AnyStateMachine, ContextFrom, EventFromLogic } from 'xstate'
import type { Bus } from '#core/bus/index.ts'
import type { Clock } from '#core/clock.ts'
import type { Db, Tx } from '#core/db/index.ts'
import { defineError } from '#core/errors.ts'
import type { PendingEvent } from '#core/events.ts'
import { newId } from '#core/ids.ts'
import type { Log } from '#core/log.ts'
import { adjust, enqueue, type SlotLimits } from '#core/queue/slots.ts'
import type { Write } from './committer.ts'
import type { ActorRef, ActorRow, Effect, MachineKind } from './kind.ts'
import { Runner } from './runner.ts'
import { type AnyEvent, causeOf, Stepper } from './stepper.ts'
import { arrowRows, insertActors, insertMessage, lockActor, type Message, writeIdle } from './store.ts'

export const ActorNotFound = defineError(
  'ACTORS_NOT_FOUND',
  404,
  (kind: string, id: string) => `${kind} ${id} does not exist`
)
export const CommandRefused = defineError(
  'ACTORS_COMMAND_REFUSED',
  409,
  (kind: string, event: string, state: string) => ({
    message: `${kind} is ${state}, which takes no ${event}`,
    details: { state }
  })
)

export const InboxFull = defineError('ACTORS_INBOX_FULL', 429, (kind: string, id: string, limit: number) => ({
  message: `${limit} commands wait for ${kind} ${id} already; it takes them between its steps`,
  details: { limit },
  retryAfterMs: 1000
}))

/** Commands that may wait for one actor. */
const INBOX_MAX = 20

/** What a room registers beside its (pure) kind: what does the I/O. */
export interface KindWiring<M extends AnyStateMachine = AnyStateMachine> {
  readonly effects: Readonly<Record<string, Effect<ContextFrom<M>, EventFromLogic<M>>>>
  /** Writes the room's own rows in the commit of its actors. */
  readonly write?: Write
  /** The tenant's limits, asked at its first actor of this kind. */
  readonly limits?: (tx: Tx) => Promise<SlotLimits>
}

/** A new actor: the events that bring it from its machine's initial state to where it starts, and the room's columns. */
export interface NewActor {
  readonly id: string
  readonly context: object
  readonly columns: Readonly<Record<string, unknown>>
  readonly events: readonly AnyEvent[]
  /** Announced before what the events announce: the news that the actor exists. */
  readonly announce?: readonly PendingEvent[]
  readonly by: string
  /** Higher goes first among a tenant's own. */
  readonly band?: number
}

/** What became of a command. `pending`: the host that runs the actor will take it at the next commit. */
export interface Sent {
  readonly outcome: 'applied' | 'refused' | 'pending'
  readonly state: string
  readonly messageId: string
}

export interface ActorHostOptions {
  readonly hostId: string
  readonly db: Db
  readonly bus: Bus
  readonly clock: Clock
  readonly log: Log
  /** Activations of one kind that run here at once. */
  readonly capacity?: number
  readonly lanes?: number
}

declare module 'fastify' {
  interface FastifyInstance {
    actors: ActorHost
  }
}

/** How often a caller of `send` that waits looks for the outcome, and for how long at most. */
const ANSWER_LOOK_MS = 20

interface Registered {
  readonly kind: MachineKind
  readonly wiring: KindWiring
  readonly runner: Runner
}

/**
 * The durable actor host: any number of XState machine kinds, each actor with one activation in the whole cluster.
 * Postgres holds snapshot, journal, history and inbox; this object holds only what runs here now.
 */
export class ActorHost {
  private readonly kinds = new Map<string, Registered>()
  private readonly options: ActorHostOptions

  constructor(options: ActorHostOptions) {
    this.options = options
  }

  /** Adds a kind; before `start`. */
  register<M extends AnyStateMachine>(kind: MachineKind<M>, wiring: KindWiring<M>): void {
    const { hostId, db, bus, clock, log, capacity = 64, lanes = 3 } = this.options
    const runner = new Runner({
      kind,
      effects: wiring.effects as unknown as Readonly<Record<string, Effect<object, AnyEvent>>>,
      write: wiring.write,
      hostId,
      capacity,
      lanes,
      db,
      bus,
      clock,
      log,
      settleIdle: (message) => this.settle(kind, message)
    })
    this.kinds.set(kind.kind, { kind, wiring, runner })
  }

  async start(): Promise<void> {
    for (const { runner } of this.kinds.values()) await runner.start()
  }

  /** Takes no more work; what runs goes on. */
  async stopClaiming(): Promise<void> {
    await Promise.all([...this.kinds.values()].map(({ runner }) => runner.stopClaiming()))
  }

  /** Stops claiming, lets effects finish for `graceMs`, cuts off the rest, hands the leases back. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all([...this.kinds.values()].map(({ runner }) => runner.stop(graceMs)))
  }

  /** Activations that run here, by kind. */
  activations(): Record<string, number> {
    return Object.fromEntries([...this.kinds].map(([name, { runner }]) => [name, runner.size]))
  }

  /**
   * Creates actors in the caller's tenant transaction, in one insert: rows, history, events, places in the queue.
   * @throws QUEUE_FULL (and nothing is written)
   */
  async create(tx: Tx, kindName: string, tenantId: string, actors: readonly NewActor[]): Promise<void> {
    const { kind, wiring, runner } = this.registered(kindName)
    const made = actors.map((actor) => {
      const initial = String(kind.machine.config.initial)
      const stepper = new Stepper(kind, { tenantId, id: actor.id }, initial, actor.context)
      for (const event of actor.events) {
        if (!stepper.apply(event, 'command', actor.by)) throw new CommandRefused(kindName, event.type, stepper.state)
      }
      const wanted = stepper.settle(actor.by)
      return { actor, stepper, queued: stepper.queued, wake: wanted !== null, taken: stepper.take() }
    })
    const waiting = made.filter((one) => one.queued).length
    const rows = made.map(({ actor, stepper, queued, wake, taken }) => ({
      ...actor.columns,
      tenant_id: tenantId,
      id: actor.id,
      state: stepper.state,
      context: kind.persist(stepper.context),
      moves: taken.arrows.length,
      band: actor.band ?? 1,
      queued_at: queued ? 'now' : null, // the database's clock: Postgres reads the word
      lease_until: wake ? '-infinity' : null
    }))
    const arrows = made.flatMap(({ actor, taken }) => arrowRows(actor.id, 0, taken.arrows.length, taken.arrows))
    // Sent together, one round trip. The slot row last: claims and commits of the tenant wait for whoever holds it.
    const [, counted] = await Promise.all([
      this.options.bus.emitAll(
        tx,
        made.flatMap(({ actor, taken }) => [...(actor.announce ?? []), ...taken.events])
      ),
      insertActors(tx, kind, rows, arrows, waiting)
    ])
    if (!counted) await enqueue(tx, kindName, waiting, () => limitsOf(wiring, tx))
    const writes = made.flatMap(({ actor, stepper: { state, context }, taken: { arrows, rows } }) =>
      rows.length > 0 ? [{ ref: { tenantId, id: actor.id }, state, context, moves: arrows.length, rows }] : []
    )
    if (writes.length > 0) await wiring.write?.(tx, writes) // after the actors: these rows may point to them
    this.options.db.afterCommit(tx, () => runner.hint({ expired: made.some((one) => one.wake) }))
  }

  /**
   * Sends a command in the caller's tenant transaction. An actor that nobody runs takes it at once, in this
   * transaction; one that runs gets it into its inbox and takes it between two effects.
   * @throws ACTORS_NOT_FOUND, ACTORS_INBOX_FULL
   */
  async send(tx: Tx, kindName: string, id: string, event: AnyEvent, by: string): Promise<Sent> {
    const { kind, runner } = this.registered(kindName)
    const messageId = newId()
    const row = await lockActor(tx, kind, id)
    if (!row) throw new ActorNotFound(kindName, id)
    if (row.leased) {
      const message = { id: messageId, actorId: id, event: event as Message['event'], by }
      if (!(await insertMessage(tx, kindName, message, INBOX_MAX))) throw new InboxFull(kindName, id, INBOX_MAX)
      this.options.db.afterCommit(tx, () => runner.poke(id))
      return { outcome: 'pending', state: row.state, messageId }
    }
    const { applied, state } = await this.applyIdle(tx, kind, row, event, by)
    return { outcome: applied ? 'applied' : 'refused', state, messageId }
  }

  /** Waits, outside a transaction, until a pending command was taken; `pending` again when `ms` are over. */
  async answer(ref: ActorRef, sent: Sent, ms: number): Promise<Sent> {
    const { clock, db } = this.options
    const until = clock.monotonic() + ms
    while (clock.monotonic() < until) {
      const [row] = await db.tenant(
        ref.tenantId,
        (tx) => tx<{ outcome: 'applied' | 'refused' | null; state: string }[]>`
          select outcome, state from core.inbox
          where tenant_id = (select core.tenant()) and actor_id = ${ref.id} and id = ${sent.messageId}`
      )
      if (row?.outcome) return { ...sent, outcome: row.outcome, state: row.state }
      await clock.sleep(ANSWER_LOOK_MS)
    }
    return sent
  }

  /** A row waits for a slot or a wake-up: look now. For rooms that changed one by their own SQL. */
  hint(kindName: string): void {
    this.registered(kindName).runner.hint({ expired: true })
  }

  // A command that outlived its activation: the idle row takes it, in a transaction of its own.
  private async settle(kind: MachineKind, message: Message): Promise<void> {
    await this.options.db.tenant(message.tenantId, async (tx) => {
      const row = await lockActor(tx, kind, message.actorId)
      if (row?.leased) return // whoever runs it takes it
      const [open] = await tx`
        select 1 from core.inbox where tenant_id = (select core.tenant()) and actor_id = ${message.actorId}
          and id = ${message.id} and outcome is null`
      if (!open) return
      const by = message.by
      const done = row ? await this.applyIdle(tx, kind, row, message.event, by) : { applied: false, state: 'GONE' }
      await tx`
        update core.inbox set outcome = ${done.applied ? 'applied' : 'refused'}, state = ${done.state}
        where tenant_id = (select core.tenant()) and actor_id = ${message.actorId} and id = ${message.id}`
    })
  }

  private async applyIdle(
    tx: Tx,
    kind: MachineKind,
    row: ActorRow & { waiting: boolean },
    event: AnyEvent,
    by: string
  ): Promise<{ applied: boolean; state: string }> {
    const { bus, db } = this.options
    const { wiring, runner } = this.registered(kind.kind)
    const stepper = new Stepper(kind, row, row.state, kind.restore(row))
    if (!stepper.apply(event, causeOf(by), by)) return { applied: false, state: row.state }
    const wanted = stepper.settle(by)
    const { arrows, events, rows } = stepper.take()
    const { queued, ended, state, context } = stepper
    const wake = wanted !== null
    const stored = kind.persist(context)
    await writeIdle(tx, kind, row, { state, context: stored, arrows, queued, wake, ended })
    if (queued && row.state === kind.machine.config.initial) {
      await enqueue(tx, kind.kind, 1, () => limitsOf(wiring, tx)) // never admitted before: the cap holds
    } else if (kind.grants) {
      await adjust(tx, kind.kind, { running: 0, queued: Number(queued) - Number(row.waiting) })
    }
    if (events.length > 0) await bus.emitAll(tx, events)
    if (rows.length > 0)
      await wiring.write?.(tx, [{ ref: row, state, context, moves: row.moves + arrows.length, rows }])
    if (queued || wake) db.afterCommit(tx, () => runner.hint({ expired: wake }))
    return { applied: true, state }
  }

  private registered(kindName: string): Registered {
    const found = this.kinds.get(kindName)
    if (!found) throw new Error(`no machine kind ${kindName} is registered`)
    return found
  }
}

async function limitsOf(wiring: KindWiring, tx: Tx): Promise<SlotLimits> {
  return (await wiring.limits?.(tx)) ?? { max: null, queueMax: 1_000_000 }
}
