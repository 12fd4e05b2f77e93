import { CapabilityError } from './capability.ts'

/** What a tool call may still use beyond its own sandbox limits; the calls that it makes of other tools draw on the same. */
export class CallBudget {
  /** Of models. */
  tokens = 0
  /** Of called tools. */
  cpuMs = 0
  hostCalls = 0
  calls = 0
  readonly #maxTokens: number

  constructor(limits: { tokens: number }) {
    this.#maxTokens = limits.tokens
  }

  get tokensLeft(): number {
    return Math.max(0, this.#maxTokens - this.tokens)
  }

  /** @throws CapabilityError MODEL_BUDGET where nothing is left */
  needTokens(): void {
    if (this.tokensLeft > 0) return
    throw new CapabilityError('MODEL_BUDGET', `the ${this.#maxTokens} tokens of this call are used up`)
  }
}
