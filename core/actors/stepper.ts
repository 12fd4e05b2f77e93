import { transition } from 'xstate'
import { defineError } from '#core/errors.ts'
import { checkEvent, type PendingEvent } from '#core/events.ts'
import type { ActorRef, Arrow, Cause, MachineKind, Want } from './kind.ts'

export const MachineStuck = defineError(
  'ACTORS_MACHINE_STUCK',
  500,
  (kind: string, state: string, event: string) =>
    `${kind} in ${state} wants ${event}, and its machine has no such arrow`
)

/** Why a command moves an actor: a timer's is a timer, everybody else's a command. */
export const causeOf = (by: string): Cause => (by === 'timer' ? 'timer' : 'command')

/** An event as the host sees it: only its name matters here. */
export interface AnyEvent {
  readonly type: string
}

/** More events in a row without an effect than any sane machine has: a wants/machine loop is a bug, not a hang. */
const MAX_STEPS = 1000

/**
 * Applies events to one actor in memory, purely: XState's `transition` on a resolved state. What has to be written
 * (arrows, announced events) piles up until `take`.
 */
export class Stepper {
  state: string
  context: object
  arrows: Arrow[] = []
  events: PendingEvent[] = []
  rows: unknown[] = []
  /** The context changed since the last `take`, even without an arrow. */
  touched = false
  private readonly kind: MachineKind
  private readonly ref: ActorRef

  constructor(kind: MachineKind, ref: ActorRef, state: string, context: object) {
    this.kind = kind
    this.ref = ref
    this.state = state
    this.context = context
  }

  /** Whether the machine takes the event here. */
  can(event: AnyEvent): boolean {
    return this.kind.machine.resolveState({ value: this.state, context: this.context }).can(event)
  }

  /** @returns false when the machine has no arrow for the event here; nothing changed then */
  apply(event: AnyEvent, cause: Cause, by: string): boolean {
    const snapshot = this.kind.machine.resolveState({ value: this.state, context: this.context })
    if (!snapshot.can(event)) return false
    const [next] = transition(this.kind.machine, snapshot, event)
    const to = String(next.value)
    const applied = {
      ref: this.ref,
      event,
      from: this.state,
      to,
      before: this.context,
      context: next.context as object
    }
    for (const announced of this.kind.announce(applied)) {
      checkEvent(announced) // one bad event breaks this activation off, not the commit of its whole batch
      this.events.push(announced)
    }
    this.rows.push(...(this.kind.rows?.(applied) ?? []))
    if (to !== this.state) this.arrows.push({ from: this.state, to, cause, by })
    this.touched = true
    this.state = to
    this.context = applied.context
    return true
  }

  /** Follows the wanted events until an effect or nothing is wanted. `between` runs before each, for commands. */
  settle(by: string, between?: () => void): Extract<Want<never>, { effect: string }> | null {
    for (let step = 0; step < MAX_STEPS; step += 1) {
      between?.()
      const want = this.want()
      if (want === null || 'effect' in want) return want
      if (!this.apply(want.event, want.cause, by)) throw new MachineStuck(this.kind.kind, this.state, want.event.type)
    }
    throw new MachineStuck(this.kind.kind, this.state, 'an event for ever')
  }

  get ended(): boolean {
    return this.kind.finals.includes(this.state) && this.want() === null
  }

  get queued(): boolean {
    return this.kind.queued?.(this.state, this.context) ?? false
  }

  /** Hands over what has to be written, and starts afresh. */
  take(): { arrows: Arrow[]; events: PendingEvent[]; rows: unknown[] } {
    const taken = { arrows: this.arrows, events: this.events, rows: this.rows }
    this.arrows = []
    this.events = []
    this.rows = []
    this.touched = false
    return taken
  }

  private want(): Want<AnyEvent> | null {
    return (this.kind.wants[this.state]?.(this.context) as Want<AnyEvent> | null | undefined) ?? null
  }
}
