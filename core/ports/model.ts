import type { TenantContext } from '#core/db/index.ts'

declare module '#core/ports/ports.ts' {
  interface PortMap {
    model: ModelPort
  }
}

export interface ModelMessage {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** Tokens as the provider of the model counted them. */
interface ModelUsage {
  inputTokens: number
  outputTokens: number
}

export interface ModelRequest {
  tenantId: string
  /** For `db.tenant`: the tenant, who asks as actor. */
  context: TenantContext
  sessionId: string
  /** At least one. */
  messages: readonly ModelMessage[]
  /** A model's name as the provider of this port knows it; absent: its own choice. */
  model?: string
  /** Of the answer, at most. */
  maxTokens: number
  /** The same for every attempt at this question: what was answered and paid once is not asked again. */
  idempotencyKey: string
  signal: AbortSignal
}

export interface ModelAnswer {
  text: string
  /** The one that answered. */
  model: string
  usage: ModelUsage
}

/** What a room that asks a model for a skill needs. Its provider is the room that knows models (the router). */
export interface ModelPort {
  /** @throws ModelError, also where the signal fired */
  run(request: ModelRequest): Promise<ModelAnswer>
}

/** A question without an answer. Code (CAPITALS, `MODEL_*`) and message are for who asked: no prompt, no key in them. */
export class ModelError extends Error {
  readonly code: string
  /** What it used all the same. */
  readonly usage: ModelUsage | undefined

  constructor(code: string, message: string, options: { usage?: ModelUsage; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ModelError'
    this.code = code
    this.usage = options.usage
  }
}
