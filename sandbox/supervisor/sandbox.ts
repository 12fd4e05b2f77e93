import { availableParallelism } from 'node:os'
import { SandboxError } from '../errors.ts'
import type { SandboxCall, SandboxOptions, SandboxResult, SandboxStatus } from '../types.ts'
import type { Death } from './cell-owner.ts'
import type { CellProcess } from './cell-process.ts'
import { Cells } from './cells.ts'
import { checkCall } from './check-call.ts'
import { type Detected, detect } from './detect.ts'
import { Dispatcher } from './dispatch.ts'
import { buildImage, type Image } from './image.ts'
import { cancelled, Job } from './job.ts'
import { bare, type CellKind } from './launch.ts'
import { type Settings, settle } from './settings.ts'
import { afterDeath, blamed } from './verdict.ts'

const MAX_START_FAILURES = 3
const RESPAWN_MS = 1000

/**
 * Runs skill code in child processes ("cells"), one tenant per cell. Knows nothing of sessions' meaning, tenants' plans or
 * the network: it gets source text and JSON, and gives JSON back.
 */
export class Sandbox {
  readonly #settings: Settings
  readonly #cells: Cells
  readonly #dispatcher: Dispatcher
  #image: Image | undefined
  #detected: Detected | undefined
  #detecting: Promise<void> | undefined
  #retries = 0
  #startFailures = 0
  #pumping = false
  #closed = false

  constructor(options: SandboxOptions) {
    this.#settings = settle(options, availableParallelism())
    this.#cells = new Cells(this.#settings, {
      ready: () => {
        this.#startFailures = 0
        this.#pump()
      },
      freed: (cell) => {
        this.#cells.retire(cell, this.#dispatcher.suspects(cell))
        this.#pumpSoon()
      },
      awaited: (cell) => this.#dispatcher.awaits(cell),
      gone: (cell, jobs, why) => this.#gone(cell, jobs, why),
      polled: (used, wallMs) => {
        if (!this.#closed) this.#dispatcher.polled(used, wallMs)
      }
    })
    this.#dispatcher = new Dispatcher(this.#settings, this.#cells)
  }

  /**
   * Builds the cell image and finds out which isolation this machine allows. Called by run() too.
   * @throws SandboxError SANDBOX_ISOLATION_REQUIRED with require 'strict' where the jail cannot be built
   */
  ready(): Promise<void> {
    this.#detecting ??= this.#detect()
    return this.#detecting
  }

  /** Starts blank cells of a kind before the first call needs one. */
  async warm(kind: CellKind): Promise<void> {
    await this.ready()
    this.#cells.warm(kind)
  }

  /**
   * Runs one exported function of a skill.
   * @returns its result as JSON text with what it used
   * @throws SandboxError, see its `code`; `retryable` says whether the same call may be sent again
   */
  async run(call: SandboxCall): Promise<SandboxResult> {
    if (this.#closed) throw closed()
    checkCall(call)
    if (this.#detected === undefined) await this.ready()
    if (this.#closed) throw closed()
    if (call.signal?.aborted) throw cancelled()
    this.#dispatcher.checkRoom(call)
    const job = new Job(call)
    this.#dispatcher.add(job)
    this.#pump()
    try {
      const result = await job.promise
      this.#dispatcher.ended(call.tenantId, result.cpuMs)
      return result
    } catch (error) {
      const { usage } = error as SandboxError
      if (usage) this.#dispatcher.ended(call.tenantId, usage.cpuMs)
      throw error
    }
  }

  /** Drops the isolates of a session. Running calls of it go on. */
  endSession(tenantId: string, sessionId: string): void {
    for (const cell of this.#cells.of(tenantId)) cell.endSession(sessionId)
  }

  /** What isolation is active (empty until ready()), the living cells, and the counts since the start. */
  status(): SandboxStatus {
    const { isolation, missing } = this.#detected ?? { isolation: bare, missing: [] }
    return {
      isolation: {
        jail: isolation.jail !== null,
        namespaces: isolation.namespaces ? ['user', 'net', 'pid', 'mnt', 'ipc', 'uts'] : [],
        noNewPrivs: isolation.setpriv,
        uid: isolation.uid,
        limits: isolation.prlimit ? ['core', 'nofile', 'data (jitless)'] : [],
        permission: isolation.permission,
        rssPoll: process.platform === 'linux',
        missing
      },
      detected: this.#detected !== undefined,
      cells: this.#cells.status(),
      waiting: this.#dispatcher.waiting,
      share: {
        cores: this.#settings.cores,
        lowers: this.#cells.lowers ?? false,
        tenants: this.#dispatcher.tenants()
      },
      counts: { ...this.#cells.counts, retries: this.#retries, shared: this.#cells.sharedEver }
    }
  }

  /** Fails what waits or runs with SANDBOX_CLOSED, kills every cell and resolves when the last process is gone. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#detecting?.catch(() => undefined)
    this.#cells.stop() // a spare that was about to be made would outlive us
    for (const job of this.#dispatcher.drain()) job.reject(closed())
    const cells = [...this.#cells.all]
    for (const cell of cells) {
      for (const job of cell.jobs.values()) job.reject(closed())
      cell.kill('close')
    }
    await Promise.all(cells.map((cell) => cell.exited))
    this.#image?.remove()
    this.#image = undefined
  }

  async #detect(): Promise<void> {
    this.#image?.remove()
    const image = buildImage(this.#settings.imageDir)
    this.#image = image
    const detected = await detect(image, this.#settings.isolation ?? {}, this.#settings.clock)
    if (this.#settings.require === 'strict' && detected.isolation.jail === null) {
      image.remove()
      throw new SandboxError('SANDBOX_ISOLATION_REQUIRED', 'the sandbox jail cannot be built on this machine', {
        details: { missing: detected.missing }
      })
    }
    this.#detected = detected
    if (!this.#closed) this.#cells.base = { image, isolation: detected.isolation }
    const { missing, ...layers } = this.status().isolation
    const reasons = missing.map(({ layer, reason }) => `${layer}: ${reason}`)
    this.#settings.log?.info({ ...layers, missing: reasons }, 'sandbox isolation')
  }

  #pump(): void {
    if (!this.#closed) this.#dispatcher.pump()
  }

  /** Once for all results of one chunk, and when run() has charged them. */
  #pumpSoon(): void {
    if (this.#pumping) return
    this.#pumping = true
    queueMicrotask(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #gone(cell: CellProcess, jobs: Job[], why: Death): void {
    if (this.#closed) {
      for (const job of jobs) job.reject(closed())
      return
    }
    const { reason, signal, stderr } = why
    if (jobs.length > 0 || cell.runs === 0 || reason === 'restless' || reason === 'forked')
      this.#settings.log?.warn(
        { reason, signal, stderr, tenantId: cell.tenantId, calls: jobs.length },
        'sandbox cell ended'
      )
    const unused = cell.runs === 0 && !['evicted', 'idle', 'close', 'memory'].includes(reason)
    if (unused && ++this.#startFailures >= MAX_START_FAILURES) this.#startFailed(cell)
    const refill = () => this.#cells.refill()
    const blame = blamed(jobs, why, cell.runs)
    for (const job of jobs) {
      const error = afterDeath(job, blame, why)
      if (error) job.reject(error)
      else this.#retry(job, blame === undefined)
    }
    this.#pump()
    // A cell that cannot start must not be respawned in a busy loop.
    if (unused) this.#settings.clock.after(RESPAWN_MS, refill)
    else setImmediate(refill)
  }

  #retry(job: Job, alone: boolean): void {
    this.#retries++
    // Nobody is known to be guilty, so each of them is tried alone: the guilty one then takes nobody along.
    job.alone = alone
    this.#dispatcher.again(job)
  }

  #startFailed(cell: CellProcess): void {
    this.#startFailures = 0
    // The machine changed, or a cleaner of the temporary folder took the image: look again now.
    this.#detected = undefined
    this.#cells.base = undefined
    this.#detecting = undefined
    const again = () => this.#pump()
    this.ready().then(again, again)
    for (const job of this.#dispatcher.drain(cell.kind))
      job.reject(
        new SandboxError('SANDBOX_KILLED', 'no cell could be started', {
          retryable: true,
          details: { reason: 'start' }
        })
      )
  }
}

function closed(): SandboxError {
  return new SandboxError('SANDBOX_CLOSED', 'the sandbox is closed')
}
