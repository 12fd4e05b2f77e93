// Every limit in every mode, and which layer holds it. A limit that is silently not applied is the usual failure, so a
// mode where nothing holds one says so here, and must say so in status(), too.
import t from 'tap'
import { findTool } from '../supervisor/tools.ts'
import type { IsolationOptions, SandboxCall } from '../types.ts'
import { fromOutside, native } from './native-probe.ts'
import { call, outcome, sandbox } from './support.ts'

const off = { jail: false, namespaces: false, setpriv: false, prlimit: false }
const modes: { name: string; isolation: IsolationOptions }[] = [
  { name: 'all layers', isolation: {} },
  { name: 'without namespaces and jail', isolation: { namespaces: false, jail: false } },
  { name: 'without prlimit', isolation: { prlimit: false } },
  { name: 'without setpriv', isolation: { setpriv: false, jail: false } },
  { name: 'permission model only', isolation: off }
]

/** Kept by the cell and the supervisor, so the same in every mode. Calls of one `group` share a cell. */
interface GuestLimit {
  name: string
  group: string
  run: string
  codes: string[]
  limit?: Partial<SandboxCall['limits']>
  /** Host calls are answered when eight are there, and 20 ms later. */
  held?: boolean
  /** More to look at: what came out and what reached the host. */
  check?: (seen: { output: unknown; lines: number; bytes: number; peak: number; asked: number }) => boolean
}

const MEMORY = ['SANDBOX_MEMORY', 'SANDBOX_KILLED', 'SKILL_ERROR']
const guestLimits: GuestLimit[] = [
  { name: 'CPU', group: 'spin', run: 'while (true);', codes: ['SANDBOX_TIMEOUT'], limit: { cpuMs: 150 } },
  {
    name: 'wall time',
    group: 'calm',
    run: 'await new Promise(() => {})',
    codes: ['SANDBOX_TIMEOUT'],
    limit: { wallMs: 300 }
  },
  {
    name: 'memory by objects',
    group: 'objects',
    run: 'const a = []; for (;;) a.push(new Array(1e4).fill({}))',
    codes: MEMORY,
    limit: { memoryMb: 16 }
  },
  {
    name: 'memory by buffers',
    group: 'buffers',
    run: 'const a = []; for (;;) a.push(new Uint8Array(4e6).fill(1))',
    codes: MEMORY,
    limit: { memoryMb: 32 }
  },
  { name: 'result bytes', group: 'calm', run: 'return "x".repeat(2 ** 20)', codes: ['RESULT_TOO_LARGE'] },
  {
    name: 'log lines',
    group: 'calm',
    run: 'for (let i = 0; i < 1200; i++) console.log(i); return 1',
    codes: ['OK'],
    check: ({ lines }) => lines === 1001
  },
  {
    name: 'log bytes',
    group: 'calm',
    run: 'for (let i = 0; i < 100; i++) console.log("x".repeat(2000)); return 1',
    codes: ['OK'],
    check: ({ bytes }) => bytes > 60_000 && bytes < 70_000
  },
  {
    name: 'host calls',
    group: 'calm',
    run: 'for (let i = 0; i < 40; i++) await ctx.progress(i)',
    codes: ['SANDBOX_HOST_CALLS'],
    check: ({ asked }) => asked === 20
  },
  {
    name: 'host calls at once',
    group: 'calm',
    run: 'await Promise.all(Array.from({ length: 20 }, (_, i) => ctx.progress(i))); return 1',
    codes: ['OK'],
    held: true,
    check: ({ peak, asked }) => asked === 20 && peak === 8
  },
  {
    name: 'timers',
    group: 'calm',
    run: 'for (let i = 0; i < 1100; i++) setTimeout(() => {}, 1); return 1',
    codes: ['SKILL_ERROR']
  }
]

/** Kept by the system or by node. Of each the layers that hold it, any of which is enough; an empty place is a finding. */
interface NativeLimit {
  name: string
  holds: (seen: Awaited<ReturnType<typeof native>>) => boolean
  by: Layer[]
  kinds?: ('jit' | 'jitless')[]
}
type Layer = 'jail' | 'namespaces' | 'prlimit' | 'setpriv' | 'permission' | 'launch'

const nativeLimits: NativeLimit[] = [
  { name: 'no environment', holds: (seen) => seen.env.length === 0, by: ['launch'] },
  { name: 'no descriptor of the engine', holds: (seen) => seen.strayFds.length === 0, by: ['launch'] },
  { name: 'no network', holds: (seen) => !seen.connected, by: ['namespaces', 'permission'] },
  { name: 'no host file is read', holds: (seen) => seen.read.length === 0, by: ['jail', 'permission'] },
  { name: 'no host file is written', holds: (seen) => seen.wrote.length === 0, by: ['jail', 'permission'] },
  { name: 'no foreign process in /proc', holds: (seen) => !seen.foreign, by: ['namespaces', 'permission'] },
  { name: '128 files', holds: (seen) => seen.limits['Max open files'] === '128', by: ['prlimit'] },
  { name: 'no core dump', holds: (seen) => seen.limits['Max core file size'] === '0', by: ['prlimit'] },
  {
    name: '512 MB of data',
    holds: (seen) => seen.limits['Max data size'] === `${2 ** 29}`,
    by: ['prlimit'],
    kinds: ['jitless'] // with JIT the look at the resident memory holds it: cells.test.ts
  },
  { name: '128 processes', holds: (seen) => seen.limits['Max processes'] === '128', by: ['jail'] },
  { name: 'no new privileges', holds: (seen) => seen.status.NoNewPrivs === '1', by: ['setpriv'] },
  { name: 'no capability', holds: (seen) => /^0+$/.test(seen.status.CapEff ?? ''), by: ['setpriv'] }
]

const seed = Number(process.argv.find((arg) => arg.startsWith('--seed='))?.slice(7) ?? Math.floor(Math.random() * 1e9))
const whole = process.argv.includes('--whole=1')
const taken = whole ? modes : [modes[0], modes[1 + (seed % (modes.length - 1))]].filter((mode) => mode !== undefined)
t.comment(`seed ${seed}: again with --test-arg=--seed=${seed}; every mode with --test-arg=--whole=1`)

const complete = ['unshare', 'setpriv', 'prlimit', 'pivot_root', 'ldd'].every((name) => findTool(name))
const root = process.getuid?.() === 0

for (const { name, isolation } of taken) {
  t.test(name, { skip: !(complete && root) && 'needs root and util-linux' }, async (t) => {
    const box = sandbox({ isolation, graceMs: 5000 })
    t.teardown(() => box.close())
    await box.ready()
    const inside = [true, false].flatMap((verified) =>
      guestLimits.map(async (one) => {
        const label = `${one.name}, ${verified ? 'JIT' : 'jitless'}`
        const seen = { output: undefined as unknown, lines: 0, bytes: 0, peak: 0, asked: 0 }
        let flying = 0
        let eight = () => undefined as unknown
        const full = new Promise<void>((resolve) => (eight = () => setTimeout(resolve, 20)))
        const { code, output, error } = await outcome(
          box,
          call(`export async function run(input, ctx) { ${one.run} }`, {
            tenantId: one.group,
            sessionId: one.name,
            verified,
            // A machine that is busy must not end one by another limit than its own.
            limit: { cpuMs: 8000, wallMs: 20_000, ...one.limit },
            onLog: ({ message }) => {
              seen.lines++
              seen.bytes += message.length
            },
            onHostCall: async () => {
              seen.asked++
              seen.peak = Math.max(seen.peak, ++flying)
              if (seen.peak === 8) eight()
              if (one.held) await full
              flying--
              return 'null'
            }
          })
        )
        seen.output = output
        t.ok(one.codes.includes(code ?? 'OK'), `${label}: ${code ?? 'OK'} ${error?.message ?? ''}`)
        if (one.check) t.ok(one.check(seen), `${label}: ${JSON.stringify(seen)}`)
      })
    )
    const { isolation: active } = box.status()
    const has: Record<Layer, boolean> = {
      jail: active.jail,
      namespaces: active.namespaces.length > 0,
      prlimit: active.limits.length > 0,
      setpriv: active.noNewPrivs,
      permission: active.permission,
      launch: true
    }
    const inherited = fromOutside(process.pid)
    const outside = (['jit', 'jitless'] as const).map(async (kind) => {
      const seen = await native(isolation, kind)
      for (const { name: what, holds, by, kinds } of nativeLimits) {
        if (kinds && !kinds.includes(kind)) continue
        const holder = by.find((layer) => has[layer])
        // Where no layer of ours holds it, the engine's own limits are inherited: a machine may have stricter ones.
        const expected = holder !== undefined || holds({ ...seen, ...inherited })
        t.equal(holds(seen), expected, `${what}, ${kind}: held by ${holder ?? 'nothing'}`)
        if (!holder)
          t.ok(
            by.every((layer) => layer === 'permission' || active.missing.some((one) => one.layer === layer)),
            `${what}, ${kind}: status() names ${by} as missing`
          )
      }
    })
    await Promise.all([...inside, ...outside])
  })
}

t.test('the modes are what they say', async (t) => {
  const box = sandbox({ isolation: off })
  await box.ready()
  const { isolation } = box.status()
  t.match(isolation, { jail: false, namespaces: [], noNewPrivs: false, limits: [], permission: true, uid: null })
  t.strictSame(isolation.missing.map((one) => one.layer).sort(), ['jail', 'namespaces', 'prlimit', 'setpriv'])
  await box.close()
})
