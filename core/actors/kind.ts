import type { AnyStateMachine, ContextFrom, EventFromLogic } from 'xstate'
import type { PendingEvent } from '#core/events.ts'

/** JSON as Postgres stores it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Why a move happened, as the history shows it (docs/spec/session-machine.json, notes). */
export type Cause = 'command' | 'step' | 'gate' | 'timer' | 'recovery'

/** Who owns an actor and which one it is. */
export interface ActorRef {
  readonly tenantId: string
  readonly id: string
}

/**
 * What a state wants done, derived from state and context alone, so that a restored actor wants exactly the same:
 * an event (the next arrow follows at once, in the same commit) or an effect (the host commits first, then does it).
 * `pure` effects touch nothing outside (a gate's arithmetic): no commit is needed before them.
 * `notBefore` is epoch ms: the effect waits until then (a retry's backoff).
 */
export type Want<E> =
  | { readonly event: E; readonly cause: Cause }
  | { readonly effect: string; readonly key: string; readonly pure?: boolean; readonly notBefore?: number }

/** One entry per state that wants something; a state without one waits for a command, and its actor is passivated. */
export type Wants<M extends AnyStateMachine> = Readonly<
  Record<string, (context: ContextFrom<M>) => Want<EventFromLogic<M>> | null>
>

/** One move of one actor: `from` and `to` differ, every one is a row of core.transition. */
export interface Arrow {
  readonly from: string
  readonly to: string
  readonly cause: Cause
  readonly by: string
}

/** What one applied event did, as `announce` sees it. `from` equals `to` where only the context changed. */
export interface Applied<Context, Event> {
  readonly ref: ActorRef
  readonly event: Event
  readonly from: string
  readonly to: string
  readonly before: Context
  readonly context: Context
}

/**
 * How a room's XState machine lives on the actor host. All of it is pure; what does I/O is registered apart
 * (`actors.register(kind, { effects, write })`).
 */
export interface MachineKind<M extends AnyStateMachine = AnyStateMachine> {
  /** Name of the kind, `session`; also the slot class where `grants` is set. */
  readonly kind: string
  /** The room's table, made an actor table by `call core.actor_table(...)` in its SQL. */
  readonly table: string
  /** Columns of the table that `restore` reads beyond the host's own. */
  readonly columns: readonly string[]
  readonly machine: M
  readonly wants: Wants<M>
  /** States in which the actor takes no command any more. */
  readonly finals: readonly string[]
  /**
   * States that wait for a tenant slot, and the state a granted slot moves them to. The claim makes this arrow in SQL,
   * so a test of the room holds it against the machine's own arrow. Absent: the kind is not limited per tenant.
   */
  readonly grants?: Readonly<Record<string, { readonly to: string; readonly event: string }>>
  /** Events that do not wait for the running effect: its signal is aborted. */
  readonly interrupts: readonly string[]
  /**
   * What ends an actor whose activation breaks off again and again without a commit (a bug, an outcome that cannot be
   * written): else it would be taken up for ever. Null where nothing can.
   */
  broken?(state: string, context: ContextFrom<M>): EventFromLogic<M> | null
  /** True where this state and context wait in the queue for a slot. */
  queued?(state: string, context: ContextFrom<M>): boolean
  /** The part of the context that is stored in the row's `context`; the rest comes back by `restore`. */
  persist(context: ContextFrom<M>): object
  /** The machine's context from the row (`context`, and the named `columns`). */
  restore(row: ActorRow): ContextFrom<M>
  /** The events that one applied event announces, in their order. */
  announce(applied: Applied<ContextFrom<M>, EventFromLogic<M>>): PendingEvent[]
  /** Rows of the room's own tables that belong to the same commit; `write` (register) puts them there. */
  rows?(applied: Applied<ContextFrom<M>, EventFromLogic<M>>): unknown[]
}

/** A row as the claim hands it to the host. */
export interface ActorRow {
  readonly tenantId: string
  readonly id: string
  readonly state: string
  readonly context: Record<string, Json>
  readonly epoch: number
  /** Grows with every commit; with the epoch it is the fence, and it makes a repeated commit harmless. */
  readonly version: number
  readonly moves: number
  readonly slotted: boolean
  /** Activations in a row that broke off without a commit. */
  readonly breaks: number
  readonly columns: Readonly<Record<string, unknown>>
}

/** Marks a machine kind; the types of wants, restore and announce follow from the machine. */
export function defineMachine<M extends AnyStateMachine>(kind: MachineKind<M>): MachineKind<M> {
  return kind
}

/** Keys of notes begin with this: a host that takes an actor up does not load them. */
export const NOTE_KEY = 'call:'

/** A row of the journal that goes with an outcome and decides nothing: written once per key, read by the room itself. */
export interface Note {
  readonly key: `${typeof NOTE_KEY}${string}`
  readonly record: Json
}

/**
 * What an effect answers: the event for the machine, the outcome to be recorded once (never repeated), and notes that are
 * kept in the same commit, also where nothing is recorded (an attempt that will be repeated).
 */
export interface Outcome<E> {
  readonly event: E
  readonly record?: Json
  readonly notes?: readonly Note[]
}

/** What an effect is told. `journal` holds the recorded outcomes of this actor by key. */
export interface EffectCall<Context> {
  readonly ref: ActorRef
  readonly context: Context
  readonly key: string
  readonly epoch: number
  readonly journal: ReadonlyMap<string, Json>
  readonly signal: AbortSignal
}

/** The I/O of one effect, and how a recorded outcome becomes the machine's event again without repeating it. */
export interface Effect<Context, E> {
  run(call: EffectCall<Context>): Promise<Outcome<E>>
  replay(record: Json, call: EffectCall<Context>): E
}
