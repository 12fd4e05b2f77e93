import type { Clock } from '#core/clock.ts'
import { crashPoint } from '#core/crash-point.ts'
import type { Claimed } from '#core/queue/claim.ts'
import type { LeaseKey } from '#core/queue/lease.ts'
import type { Committed, Entry } from './committer.ts'
import type { ActorRef, Effect, EffectCall, Json, MachineKind, Outcome, Want } from './kind.ts'
import { type AnyEvent, causeOf, MachineStuck, Stepper } from './stepper.ts'
import type { Answer, Message } from './store.ts'

export interface ActivationDeps {
  readonly kind: MachineKind
  readonly effects: Readonly<Record<string, Effect<object, AnyEvent>>>
  readonly clock: Clock
  commit(entry: Entry): Promise<Committed>
  /** Brings the commands that wait for this actor (`deliver`). */
  fetchMail(activation: Activation): Promise<void>
  loadJournal(ref: ActorRef): Promise<Map<string, Json>>
}

/** Activations of one actor that may break off in a row; about one lease lies between two. */
const MAX_BREAKS = 5

type EffectWant = Extract<Want<AnyEvent>, { effect: string }>

/** Why an activation ended; `lost`: another epoch owns the actor; `handed-back`: the host is going down. */
export type Ended = 'released' | 'lost' | 'handed-back'

/**
 * One actor while this host holds its lease: applies outcomes and commands, commits, and only then acts on what the
 * new state wants. Commands are taken between effects; those that interrupt abort the running one.
 */
export class Activation {
  readonly ref: ActorRef
  readonly lease: LeaseKey
  private readonly row: Claimed
  private readonly deps: ActivationDeps
  private readonly stepper: Stepper
  private version: number
  private moves: number
  private journal: Map<string, Json> | undefined
  private fresh: { key: string; record: Json }[] = []
  private inbox: Message[] = []
  private readonly seen = new Set<string>()
  private answers: Answer[] = []
  private running: AbortController | null = null
  private waiting = false
  private draining = false
  private gone = false

  constructor(row: Claimed, deps: ActivationDeps) {
    this.row = row
    this.deps = deps
    this.ref = { tenantId: row.tenantId, id: row.id }
    this.lease = { tenantId: row.tenantId, id: row.id, epoch: row.epoch }
    this.version = row.version
    this.moves = row.moves
    this.stepper = new Stepper(deps.kind, this.ref, row.state, deps.kind.restore(row))
  }

  /** Hands over a command from the inbox; the same message twice is taken once. */
  deliver(message: Message): void {
    if (this.seen.has(message.id)) return
    this.seen.add(message.id)
    this.inbox.push(message)
    // A wait has nothing to lose; an effect is cut off only for an event that the machine then takes.
    const interrupts = this.deps.kind.interrupts.includes(message.event.type) && this.stepper.can(message.event)
    if (interrupts || this.waiting) this.running?.abort()
  }

  /** Ends at the next commit; with `now` the running effect is cut off (it will be repeated under its key). */
  drain(now: boolean): void {
    this.draining = true
    if (now) this.running?.abort()
  }

  /** The lease is gone: stop acting. Whatever is still committed is refused by the fence. */
  lose(): void {
    this.gone = true
    this.running?.abort()
  }

  /** Commands that came too late for this activation; the idle row takes them. */
  leftover(): Message[] {
    return this.inbox.splice(0)
  }

  async run(): Promise<Ended> {
    this.endBroken()
    for (;;) {
      const want = this.stepper.settle('scheduler', () => this.takeCommands())
      if (want === null) return (await this.commit(true)) ? 'released' : 'lost'
      if (!want.pure && this.dirty() && !(await this.commit(false))) return 'lost'
      if (this.gone) return 'lost'
      if (this.draining && !want.pure) return 'handed-back'
      if (this.inbox.length > 0) continue // a command came in while we committed: before the effect, not after it
      const outcome = await this.perform(want)
      if (outcome === null) {
        if (this.gone) return 'lost'
        continue
      }
      crashPoint('effect-done')
      if (outcome.record !== undefined) this.remember(want.key, outcome.record)
      if (outcome.notes !== undefined) this.fresh.push(...outcome.notes)
      if (!this.stepper.apply(outcome.event, want.pure ? 'gate' : 'step', 'scheduler')) {
        // Recorded or not, it would come again at once and for ever.
        throw new MachineStuck(this.deps.kind.kind, this.stepper.state, outcome.event.type)
      }
    }
  }

  // What broke off this often would break off again: the kind says how it ends, and the history says why.
  private endBroken(): void {
    if (this.row.breaks < MAX_BREAKS) return
    const event = this.deps.kind.broken?.(this.stepper.state, this.stepper.context) as AnyEvent | null | undefined
    if (event) this.stepper.apply(event, 'recovery', 'scheduler')
  }

  private takeCommands(): void {
    for (let message = this.inbox.shift(); message; message = this.inbox.shift()) {
      const applied = this.stepper.apply(message.event, causeOf(message.by), message.by)
      const outcome = applied ? 'applied' : 'refused'
      this.answers.push({ messageId: message.id, outcome, state: this.stepper.state })
    }
  }

  /** @returns null when the effect was interrupted: a command, the drain or a lost lease decides what comes next */
  private async perform(want: EffectWant): Promise<Outcome<AnyEvent> | null> {
    const effect = this.deps.effects[want.effect]
    if (!effect) throw new Error(`${this.deps.kind.kind} has no effect ${want.effect}`)
    const controller = new AbortController()
    this.running = controller
    try {
      const journal = await this.history()
      const call: EffectCall<object> = {
        ref: this.ref,
        context: this.stepper.context,
        key: want.key,
        epoch: this.lease.epoch,
        journal,
        signal: controller.signal
      }
      const recorded = journal.get(want.key)
      if (recorded !== undefined) return { event: effect.replay(recorded, call) }
      if (want.notBefore !== undefined) await this.wait(want.notBefore, controller.signal)
      if (controller.signal.aborted) return null
      crashPoint('before-effect')
      return await effect.run(call)
    } catch (error) {
      if (controller.signal.aborted) return null
      throw error
    } finally {
      this.running = null
    }
  }

  private async wait(until: number, signal: AbortSignal): Promise<void> {
    const ms = until - this.deps.clock.now()
    if (ms <= 0) return
    this.waiting = true
    await this.deps.clock.sleep(ms, signal).finally(() => {
      this.waiting = false
    })
  }

  private async history(): Promise<Map<string, Json>> {
    // Version 1 is the first claim of a new row: nothing was recorded yet, and the usual case costs no query.
    this.journal ??= this.row.version === 1 ? new Map() : await this.deps.loadJournal(this.ref)
    return this.journal
  }

  private remember(key: string, record: Json): void {
    this.fresh.push({ key, record })
    this.journal?.set(key, record)
  }

  private dirty(): boolean {
    return this.stepper.touched || this.answers.length > 0
  }

  private async commit(release: boolean): Promise<boolean> {
    const { arrows, events, rows } = this.stepper.take()
    this.moves += arrows.length
    const entry: Entry = {
      commit: {
        ref: this.ref,
        epoch: this.lease.epoch,
        version: this.version,
        state: this.stepper.state,
        context: this.deps.kind.persist(this.stepper.context),
        moves: this.moves,
        arrows,
        journal: this.fresh,
        answered: this.answers,
        release,
        slotted: this.row.slotted,
        queued: release && this.stepper.queued,
        ended: this.stepper.ended
      },
      events,
      rows
    }
    this.version += 1
    this.fresh = []
    this.answers = []
    crashPoint('before-commit')
    const outcome = await this.deps.commit(entry)
    crashPoint('after-commit')
    if (outcome === 'lost') this.gone = true
    // A command that was accepted before this commit is taken before the next effect.
    if (outcome === 'mail' && !release) await this.deps.fetchMail(this)
    return outcome !== 'lost'
  }
}
