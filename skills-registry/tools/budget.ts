import type { ToolUsage } from '#core/ports/tools.ts'
import { CapabilityError } from './capability.ts'

/** Of one tool call that a step asked for, the tools that it calls included. */
export const CALL_LIMITS = { events: 100, calledTools: 256, journalChars: 16 * 1024 * 1024 } as const

/** What an earlier run of the same attempt, which a crash cut off, had used of it when it was last heard of. */
export interface Spent {
  tokens: number
  calls: number
  events: number
  journalChars: number
}

/**
 * What a tool call may still use beyond its own sandbox limits, and what the tools that it called used. A called tool has
 * one of its own, which draws on its caller's.
 */
export class CallBudget {
  /** Of models, those of called tools included. */
  tokens = 0
  /** Of called tools, and of those that they called. */
  cpuMs = 0
  hostCalls = 0
  calls = 0
  #maxTokens: number
  readonly #caller: CallBudget | undefined
  #reserved = 0
  #events = 0
  #started = 0
  #journalChars = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(limits: { tokens: number }, caller?: CallBudget) {
    this.#maxTokens = limits.tokens
    this.#caller = caller
  }

  /** The budget of the step's own call. */
  get outermost(): CallBudget {
    return this.#caller?.outermost ?? this
  }

  get tokensLeft(): number {
    const own = Math.max(0, this.#maxTokens - this.tokens - this.#reserved)
    return this.#caller ? Math.min(own, this.#caller.tokensLeft) : own
  }

  /**
   * Sets tokens aside, so that questions asked at the same time cannot spend them twice.
   * @param needed what the question itself costs, about; @param wanted for the answer, at most
   * @returns how many the answer may have, and what ends the reservation: with the tokens really used
   * @throws CapabilityError MODEL_BUDGET where no token would be left for an answer
   */
  reserveTokens(needed: number, wanted: number): { answer: number; settle: (used: number) => void } {
    const left = this.tokensLeft
    if (needed >= left) {
      const asks = needed > 0 ? `, about ${needed} of which the question needs` : ''
      throw new CapabilityError('MODEL_BUDGET', `${left} tokens are left to this call${asks}`)
    }
    const answer = Math.min(wanted, left - needed)
    this.#reserve(needed + answer)
    const settle = (used: number) => {
      this.#reserve(-(needed + answer))
      this.#spend(used)
    }
    return { answer, settle }
  }

  /** @throws CapabilityError EVENTS_LIMIT */
  countEvent(): void {
    const all = this.outermost
    if (all.#events >= CALL_LIMITS.events) {
      throw new CapabilityError('EVENTS_LIMIT', `a call of a tool publishes ${CALL_LIMITS.events} events at most`)
    }
    all.#events += 1
  }

  /** @throws CapabilityError TOOL_CALLS */
  countCalledTool(): void {
    const all = this.outermost
    if (all.#started >= CALL_LIMITS.calledTools) {
      throw new CapabilityError(
        'TOOL_CALLS',
        `one call of a tool may lead to ${CALL_LIMITS.calledTools} others at most`
      )
    }
    all.#started += 1
  }

  /**
   * Arguments and answers are kept: what all of a call may cost in the journal and in memory.
   * @throws CapabilityError SANDBOX_HOST_CALLS where it is used up already
   */
  checkJournal(): void {
    if (this.outermost.#journalChars <= CALL_LIMITS.journalChars) return
    const message = `the host calls of this call are longer than ${CALL_LIMITS.journalChars} characters together`
    throw new CapabilityError('SANDBOX_HOST_CALLS', message)
  }

  addJournal(chars: number): void {
    this.outermost.#journalChars += chars
  }

  /**
   * For a call that is run again after a crash: what it has left is less by that. What it used (`tokens`) is not more: the run
   * that was cut off has told it, if it could.
   */
  resume({ tokens, calls, events, journalChars }: Spent): void {
    this.#maxTokens = Math.max(0, this.#maxTokens - tokens)
    this.#started += calls
    this.#events += events
    this.#journalChars += journalChars
  }

  /** What one called tool used by itself, without those that it called in turn: they came here on their own. */
  addCalled(usage: Pick<ToolUsage, 'cpuMs' | 'hostCalls'>): void {
    this.cpuMs += usage.cpuMs
    this.hostCalls += usage.hostCalls
    this.calls += 1
    this.#caller?.addCalled(usage)
  }

  /**
   * One after the other, in the order asked. Tools that a tool calls do not wait for a place of their tenant (their caller
   * holds one, with a single place they would wait for ever), so this is what bounds them: one running per level.
   */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {}) // its failure is its own caller's
    return turn
  }

  #reserve(tokens: number): void {
    this.#reserved += tokens
    if (this.#caller) this.#caller.#reserve(tokens)
  }

  #spend(tokens: number): void {
    this.tokens += tokens
    if (this.#caller) this.#caller.#spend(tokens)
  }
}
