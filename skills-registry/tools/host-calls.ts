import { type AuditEntry, audit } from '#core/audit/audit.ts'
import type { Db, Tx } from '#core/db/index.ts'
import { errorMessage } from '#core/errors.ts'
import { fieldErrors } from '#core/http/validation.ts'
import { type CallRecord, ToolError } from '#core/ports/tools.ts'
import { CapabilityError, type HostCall, type Method } from './capability.ts'
import { digestOfHostCall, digestOfJournal, type JournalEntry, readJournal, writeJournal } from './journal.ts'
import { Landing, type Place } from './landing.ts'

export interface HostCallsDeps {
  readonly db: Db
  readonly methods: ReadonlyMap<string, Method>
  readonly log: { error(fields: object, message: string): void }
}

/** What every host call of a run is told, beside its own name and arguments. */
export type Caller = Omit<HostCall, 'key' | 'idempotencyKey' | 'n' | 'nested'>

/**
 * The host calls of one run of a tool: held to their schemas, done once, journaled with their effect, answered as text.
 * A run that is repeated after a crash of its host gets the journaled answers, and nothing is done twice.
 */
export class HostCalls {
  readonly #deps: HostCallsDeps
  readonly #caller: Caller
  readonly #callKey: string
  readonly #known: ReadonlyMap<number, JournalEntry & { digest: string }>
  readonly #digests = new Map<number, string>()
  readonly #denied = new Set<string>()
  readonly #landing: Landing
  /** What the call sees as now, epoch ms. */
  readonly time: number
  /** Why the run must end, whatever its guest says. */
  broken: ToolError | undefined
  readonly #stop: (error: ToolError) => void

  /** Of an attempt that may have begun before: reads what it journaled then. */
  static async open(
    deps: HostCallsDeps,
    caller: Caller,
    options: { callKey: string; time: number; stop: (error: ToolError) => void }
  ): Promise<HostCalls> {
    const { callKey } = options
    const earlier = await deps.db.tenant(caller.context, (tx) => readJournal(tx, caller.sessionId, callKey))
    const time = earlier.time ?? options.time
    // The tools that it calls see the same now. Their journals are in the sums of the outermost call.
    const call = { ...caller.call, time }
    if (caller.budget.outermost === caller.budget) caller.budget.resume(earlier.spent)
    return new HostCalls(deps, { ...caller, call }, { ...options, time }, earlier.entries)
  }

  private constructor(
    deps: HostCallsDeps,
    caller: Caller,
    options: { callKey: string; time: number; stop: (error: ToolError) => void },
    known: ReadonlyMap<number, JournalEntry & { digest: string }>
  ) {
    this.#deps = deps
    this.#caller = caller
    this.#callKey = options.callKey
    this.#stop = options.stop
    this.#known = known
    this.#landing = new Landing(known.values())
    this.time = options.time
  }

  /** Over the host calls that woke the guest; null for none. */
  digest(wakes: readonly number[]): string | null {
    return digestOfJournal(this.#digests, wakes)
  }

  /**
   * Answers one host call of the guest with JSON text.
   * @throws CapabilityError what its author is to read; whatever else is thrown shows the guest HOST_CALL_FAILED
   */
  async answer(name: string, args: string, n: number): Promise<string> {
    if (this.broken) throw this.broken
    const place = this.#landing.asked(n)
    const known = this.#known.get(n)
    if (known) return await this.#again(known, name, args, place)
    const entry = await this.#fresh(name, args, n)
    this.#digests.set(n, digestOfHostCall(entry))
    return said(entry)
  }

  async #again(known: JournalEntry & { digest: string }, name: string, args: string, place?: Place): Promise<string> {
    if (known.name !== name || known.args !== args) {
      const message = `host call ${known.n} was ${known.name} in the run that a crash cut off, now it is ${name} with other arguments: the tool does not repeat itself`
      throw this.#break(new ToolError('TOOL_DIVERGED', message, { retryable: true, details: { n: known.n } }))
    }
    await place?.before
    place?.given()
    if (this.broken) throw this.broken
    this.#digests.set(known.n, known.digest)
    return said(known)
  }

  /** What no earlier run answered; its guest hears of it when it has heard what landed before. */
  async #fresh(name: string, args: string, n: number): Promise<JournalEntry> {
    let place: Place | undefined
    const land = () => {
      place ??= this.#landing.next()
      return place
    }
    try {
      const entry = await this.#do(name, args, n, land)
      await land().before
      return entry
    } finally {
      place?.given()
    }
  }

  /** Does it, or finds out why not; either way it is journaled before anybody hears of it. */
  async #do(name: string, args: string, n: number, land: () => { landed: number }): Promise<JournalEntry> {
    const method = this.#deps.methods.get(name)
    const records: CallRecord[] = []
    const effectKey = this.#caller.effectKey
    const call: HostCall = {
      ...this.#caller,
      n,
      key: `${this.#callKey}/${n}`,
      idempotencyKey: `${effectKey}/${n}`,
      nested: (record) => records.push(record)
    }
    this.#checkJournal()
    const entry = (ok: boolean, value: unknown): JournalEntry => {
      const answer = JSON.stringify(value)
      if (answer === undefined) throw new Error(`${name} answered undefined`)
      this.#caller.budget.addJournal(answer.length + args.length)
      return { n, name, args, ok, answer, landed: land().landed, call: records[0] ?? null }
    }
    try {
      if (!method) throw new CapabilityError('CAPABILITY_DENIED', `${name} was not granted`)
      const given = readArguments(method, name, args)
      if ('inTx' in method) {
        return await this.#write(async (tx) => {
          this.#caller.signal.throwIfAborted() // it may have waited long for its turn
          const value = await method.inTx(tx, call, given)
          return { entry: entry(true, value), audit: method.audit?.(call, given, value) ?? null }
        })
      }
      const value = await method.outside(call, given)
      const done = entry(true, value)
      return await this.#journal(done, method.audit?.(call, given, value) ?? null)
    } catch (error) {
      // Of a call that has ended nobody hears the answer; whoever repeats the attempt has to do it properly.
      if (this.#caller.signal.aborted) throw error
      if (error instanceof ToolError) throw this.#break(error)
      return await this.#journal(entry(false, this.#failure(error)), this.#refusal(error, name))
    }
  }

  /** Ends the call: a refusal that it could catch would be one more row, and so would the next. */
  #checkJournal(): void {
    try {
      this.#caller.budget.checkJournal()
    } catch (error) {
      throw error instanceof CapabilityError ? this.#break(new ToolError(error.code, error.message)) : error
    }
  }

  #failure(error: unknown): { code: string; message: string } {
    if (error instanceof CapabilityError) return { code: error.code, message: error.message }
    const { sessionId, step } = this.#caller
    this.#deps.log.error({ err: error, sessionId, step, error: errorMessage(error) }, 'a host call broke')
    return { code: 'HOST_CALL_FAILED', message: 'the host could not answer' }
  }

  /** Once per call and capability: a flood of refused calls is one row. */
  #refusal(error: unknown, name: string): AuditEntry | null {
    if (!(error instanceof CapabilityError && error.code === 'CAPABILITY_DENIED') || this.#denied.has(name)) return null
    this.#denied.add(name)
    const { skill, step, sessionId } = this.#caller
    const details = { skill: skill.name, version: skill.version, step, capability: name, reason: error.message }
    return { action: 'tool.denied', subject: `session:${sessionId}`, details }
  }

  #journal(entry: JournalEntry, audited: AuditEntry | null): Promise<JournalEntry> {
    return this.#write(async () => ({ entry, audit: audited }))
  }

  async #write(work: (tx: Tx) => Promise<{ entry: JournalEntry; audit: AuditEntry | null }>): Promise<JournalEntry> {
    const { context, sessionId } = this.#caller
    try {
      return await this.#deps.db.tenant(context, async (tx) => {
        const done = await work(tx)
        await Promise.all([
          writeJournal(tx, sessionId, this.#callKey, this.time, done.entry),
          done.audit ? audit(tx, done.audit) : undefined
        ])
        return done.entry
      })
    } catch (error) {
      if (error instanceof CapabilityError || this.#caller.signal.aborted) throw error
      const taken = error instanceof Error && 'code' in error && error.code === '23505'
      const message = taken
        ? 'another host runs this attempt too'
        : 'a host call could not be journaled: its tool call ends here'
      throw this.#break(new ToolError('TOOL_JOURNAL_FAILED', message, { retryable: true, cause: error }))
    }
  }

  #break(error: ToolError): ToolError {
    this.broken ??= error
    this.#stop(error)
    return error
  }
}

function said({ ok, answer }: JournalEntry): string {
  if (ok) return answer
  const { code, message } = JSON.parse(answer) as { code: string; message: string }
  throw new CapabilityError(code, message)
}

function readArguments(method: Method, name: string, text: string): unknown {
  const parsed = method.args.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  const [first] = fieldErrors(parsed.error)
  throw new CapabilityError('ARGUMENTS_INVALID', `ctx.${name} ${first?.pointer ?? ''}: ${first?.detail ?? 'malformed'}`)
}
