/** What the sandbox needs of time; the shape of core's Clock, so the caller passes its own. All values in ms. */
export interface SandboxClock {
  now(): number
  monotonic(): number
  after(ms: number, run: () => void): { cancel(): void }
  every(ms: number, run: () => void): { cancel(): void }
}

/** The part of a pino-like logger that is used. */
export interface SandboxLog {
  info(fields: Record<string, unknown>, message: string): void
  warn(fields: Record<string, unknown>, message: string): void
}

/**
 * ESM source text by path inside the package, e.g. 'dist/index.js', and the source maps that it names ('dist/index.js.map').
 * `digest` names the content: same digest, same files.
 */
export interface SandboxSkill {
  digest: string
  entry: string
  files: ReadonlyMap<string, string>
  /** true: JIT cell; false: `--jitless` cell. The two kinds never share a process. */
  verified: boolean
}

export interface SandboxLimits {
  cpuMs: number
  wallMs: number
  /** Per isolate; raised to 8, cut to half of `cellMemoryMb`. */
  memoryMb: number
  hostCalls: number
}

export interface SandboxCall {
  tenantId: string
  sessionId: string
  skill: SandboxSkill
  /** Name of the export, `(input, ctx) => output`, sync or async. */
  export: string
  /** JSON text, at most 1 MiB of UTF-8. */
  input: string
  limits: SandboxLimits
  /** Becomes ctx.session. */
  session: { id: string; tenantId: string; step: string; attempt: number; effectKey: string }
  /** Epoch ms: what Date.now() answers during the whole call. With `seed`, all that a replay has to give again. */
  time: number
  /** Seed of Math.random and crypto for this call. */
  seed: string
  /** Names in ctx: 'log' (-> onLog), any other 'name' or 'group.name' becomes a function that ends in onHostCall. */
  capabilities: string[]
  /** JSON values that ctx has beside them, frozen: {secrets: ['API_TOKEN']} gives ctx.secrets. */
  data?: Readonly<Record<string, unknown>>
  /**
   * Answers `ctx.<name>(...args)`. `args` is the JSON text of the argument array, at most 256 KiB; the answer is JSON text.
   * A rejection reaches the guest with its message only when it has a `code` in CAPITALS; otherwise as HOST_CALL_FAILED.
   * `n` counts the call's host calls 1, 2, 3.. in the order in which the program made them; one that nobody waits for any
   * more before it was sent leaves its number out. Each n is asked once, also when the call is tried again after its cell
   * died for another's fault.
   */
  onHostCall?(name: string, args: string, n: number): Promise<string>
  onLog?(entry: { level: string; message: string }): void
  /** Cancels the call; the skill sees it as ctx.signal. */
  signal?: AbortSignal
  /**
   * The `usage.wakes` of an earlier run of this call: answers are given and timers fired in exactly that order, none by the
   * clock. With the same answers the outcome is the same, byte by byte; a tool that cannot follow fails SANDBOX_DIVERGED.
   */
  replay?: { wakes: readonly number[] }
  /** Calls of this tenant that may run at once on this host, by its plan; the rest waits. Default `callsPerCell`. */
  concurrency?: number
  /**
   * Made by a running call of the tenant, which waits for it. It takes no place of `concurrency` and `callsPerCell`
   * (its caller holds one and would never give it back), and goes before what waits.
   */
  nested?: boolean
}

/** What a call used, and what a replay of it needs. */
export interface SandboxUsage {
  /** Exact when the cell answered; of a call that died with its cell the kernel's word on the process, see meter.ts. */
  cpuMs: number
  wallMs: number
  /** Host calls that reached the supervisor, each n once. */
  hostCalls: number
  /** The isolate that ran it, unique in the life of one Sandbox; 0 when that is not known. */
  generation: number
  /** Calls that this isolate had run before: 0 is a fresh one, whose module state is that of the source. */
  nth: number
  /**
   * What woke the tool up, in order: n for the answer of host call n, -n for the n-th timer of the call. Of a call that
   * died with its cell, as far as its last host call.
   */
  wakes: readonly number[]
  /** Its end came from the program alone. False where a limit, a cancellation or a kill ended it: the clock decides there. */
  replayable: boolean
  /** Its process was killed or crashed under it. */
  killed: boolean
}

export interface SandboxResult {
  /** JSON text, at most 1 MiB, depth at most 200, no `__proto__` and no `constructor.prototype` keys. */
  output: string
  cpuMs: number
  wallMs: number
  /** Names the isolate that ran the call: it changes when a fresh one took over. Unique in the life of one Sandbox. */
  generation: number
  hostCalls: number
  usage: SandboxUsage
}

/** Each layer may be switched off (`false`); a layer that is on is still dropped when the machine refuses it. */
export interface IsolationOptions {
  /** pivot_root into an image with node, the cell and its libraries only. */
  jail?: boolean
  /** Own user, net, pid, ipc, uts and mount namespaces. */
  namespaces?: boolean
  /** no-new-privs, no capabilities, death with the parent, another uid when we are root. */
  setpriv?: boolean
  /** Limits on files, cores, processes and (jitless) data. */
  prlimit?: boolean
  /** node's --permission: seat belt, used when there is no jail. */
  permission?: boolean
}

export interface SandboxOptions {
  clock: SandboxClock
  log?: SandboxLog
  isolation?: IsolationOptions
  /** Where the cell image is built; not on a noexec mount. Default: the system's temporary folder. */
  imageDir?: string
  /** 'strict': ready() and run() fail where the jail cannot be built. Default 'best': report in status(). */
  require?: 'strict' | 'best'
  /** Cells alive at once, spares included. Default 16. */
  maxCells?: number
  /** Blank warm cells kept per kind once the kind was used. Default 1. */
  spareCells?: number
  /** Calls at once in one cell, 1..16. Default 16. */
  callsPerCell?: number
  /** Calls that may wait per tenant, for cells of both kinds. Default 256. */
  queuePerTenant?: number
  /** A cell without calls ends after this. Default 60_000. */
  idleMs?: number
  /** A cell ends after this many calls. Default 20_000. */
  recycleAfter?: number
  /** RSS of a cell above which it is killed. Default 512. */
  cellMemoryMb?: number
  /** From the deadline's dispose to SIGKILL. Default 250. */
  graceMs?: number
  /** Cores that cells may keep busy. Default: those of the machine. */
  cores?: number
}

export interface SandboxStatus {
  isolation: {
    jail: boolean
    namespaces: string[]
    noNewPrivs: boolean
    /** The cell's uid on the host when it is not ours. */
    uid: number | null
    limits: string[]
    permission: boolean
    rssPoll: boolean
    /** Why a layer that was asked for is missing. */
    missing: { layer: string; reason: string }[]
  }
  detected: boolean
  cells: { pid: number; kind: 'jit' | 'jitless'; tenantId: string | null; calls: number; runs: number; rssMb: number }[]
  waiting: number
  share: {
    cores: number
    /** Cells of a tenant that uses more than its share are put below the others in the system's priority. */
    lowers: boolean
    /** Tenants that called lately. `heavy`: their calls need a slot of the CPU. */
    tenants: { tenantId: string; running: number; waiting: number; costMs: number; heavy: boolean }[]
  }
  counts: {
    spawned: number
    kills: number
    deaths: number
    retries: number
    recycled: number
    evicted: number
    /** Cells that ran calls of more than one tenant: anything but 0 is a defect. */
    shared: number
  }
}
