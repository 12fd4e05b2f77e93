import type { ZodType } from 'zod'
import type { AuditEntry } from '#core/audit/audit.ts'
import type { TenantContext, Tx } from '#core/db/index.ts'
import type { CallRecord, PinnedSkill, ToolCall } from '#core/ports/tools.ts'
import type { Permissions } from '#skills-registry/package/manifest.ts'
import type { CallBudget } from './budget.ts'

/** One host call: who asks, with what. */
export interface HostCall {
  readonly tenantId: string
  readonly sessionId: string
  readonly step: string
  readonly attempt: number
  /** The same for every attempt of the step. */
  readonly effectKey: string
  /** `<effectKey>#<attempt>/<n>`, unique in the session; the host calls of a called tool have longer ones. */
  readonly key: string
  /** The same without the attempt: what an effect outside is made idempotent by. */
  readonly idempotencyKey: string
  /** Counts the tool call's host calls from 1, in program order. */
  readonly n: number
  readonly skill: PinnedSkill
  /** Names of the skills above it, outermost first: whatever is granted by a skill's name needs the grant of each. */
  readonly callers: readonly string[]
  /** What the skill was granted, and every tool above it too. */
  readonly permissions: Permissions
  /** For `db.tenant`: the tenant, the skill as actor. */
  readonly context: TenantContext
  /** Fires when the tool call ends early. */
  readonly signal: AbortSignal
  readonly call: ToolCall
  /** `<skill>.<tool>` of the calls above, outermost first, itself last. */
  readonly chain: readonly string[]
  readonly budget: CallBudget
  /** Told by who calls another tool for it: the record goes into the journal row of this host call. */
  nested(record: CallRecord): void
}

interface MethodBase<A> {
  /** Of the argument array as the guest sent it. A misfit is ARGUMENTS_INVALID with its pointer. */
  readonly args: ZodType<A>
  /** The entry of its effect, in the transaction that journals the call; null where it only reads, or changed nothing. */
  readonly audit: ((call: HostCall, args: A, answer: unknown) => AuditEntry | null) | null
}

/** Answer and journal row in one transaction: exactly once. */
export interface InTxMethod<A> extends MethodBase<A> {
  inTx(tx: Tx, call: HostCall, args: A): Promise<unknown>
}

/** Done first, journaled then: at least once, so the world outside is told `idempotencyKey`. */
export interface OutsideMethod<A> extends MethodBase<A> {
  outside(call: HostCall, args: A): Promise<unknown>
}

// biome-ignore lint/suspicious/noExplicitAny: each method knows its own arguments
export type Method<A = any> = InTxMethod<A> | OutsideMethod<A>

/** One word of a manifest's permissions, and the host calls that a grant of it gives. */
export interface Capability {
  readonly name: keyof Permissions
  /** `storage: 'read'` -> `['storage.get', 'storage.list']`; empty where nothing was granted. */
  names(granted: Permissions): string[]
  /** By the host call's name. */
  readonly methods: Readonly<Record<string, Method>>
}

/** Types a method's arguments by its schema. */
export function method<A>(definition: InTxMethod<A> | OutsideMethod<A>): Method<A> {
  return definition
}

/** A refusal or failure that the skill's author is to read. Answers are JSON, 1 MiB of text at most. */
export class CapabilityError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'CapabilityError'
    this.code = code
  }
}
