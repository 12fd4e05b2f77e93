// Classes 54 to 59, 63 and 64: floods, side channels, capabilities as such.
import { type AttackClass, body, ERR, GROW, GROW_OR_ERR, OK, source } from './types.ts'

const TOO_LARGE = ['RESULT_TOO_LARGE'] as const
const FLOOD = ['SANDBOX_HOST_CALLS'] as const

export const outside: AttackClass[] = [
  {
    id: 54,
    title: 'log floods',
    variants: [
      body('a million lines', 'for (let i = 0; i < 1e6; i++) console.log(i); return 1', ['OK', 'SANDBOX_TIMEOUT']),
      body('lines of 1 MB', 'const s = "x".repeat(1e6); for (let i = 0; i < 1e3; i++) console.log(s); return 1', OK, 1),
      body(
        'escapes',
        'console.log("\\u001b[2J\\u001b]0;owned\\u0007\\r\\n{\\"level\\":60}\\u202e\\u2028\\u0000"); return 1',
        OK,
        1
      ),
      body('ropes', 'let s = "x"; for (let i = 0; i < 28; i++) s += s; console.log(s); return 1', OK, 1),
      body('objects that loop', 'console.log({ toJSON() { while (true); } })', ['SANDBOX_TIMEOUT']),
      body(
        'proxies',
        'console.log(new Proxy({}, { ownKeys() { throw 1 } }), { get a() { throw 2 } }, Object.create(null), Symbol("s")); return 1',
        OK,
        1
      )
    ]
  },
  {
    id: 55,
    title: 'results and errors without measure',
    variants: [
      body('500 MB', 'return "x".repeat(5e8)', TOO_LARGE),
      body('500 MB inside', 'return { a: ["x".repeat(5e8)] }', TOO_LARGE),
      body('500 MB behind toJSON', 'return { toJSON: () => "x".repeat(5e8) }', TOO_LARGE),
      body('a million levels', 'let a = {}; for (let i = 0; i < 1e6; i++) a = { a }; return a', [
        'RESULT_TOO_LARGE',
        ...GROW_OR_ERR
      ]),
      body('two bytes a character', 'return "é".repeat(1024 * 1024 - 10)', TOO_LARGE),
      body('an error of 400 MB', 'throw new Error("x".repeat(4e8))', ERR),
      body(
        'a name of 400 MB',
        'throw Object.assign(new Error("x"), { name: "x".repeat(4e8), stack: "y".repeat(4e8) })',
        ERR
      ),
      body('rejected and left alone', 'Promise.reject(new Error("x".repeat(4e8))); await new Promise(() => {})', [
        ...ERR,
        ...GROW
      ]),
      body('escapes that grow', 'return "\\u0000".repeat(1024 * 1024 - 10)', [...TOO_LARGE, 'SANDBOX_TIMEOUT'])
    ]
  },
  {
    id: 56,
    title: 'host call floods',
    variants: [
      body(
        'not awaited',
        'for (let i = 0; i < 1e5; i++) ctx.echo(i); await new Promise((r) => setTimeout(r, 50)); return 1',
        ['OK', ...FLOOD, 'SANDBOX_TIMEOUT']
      ),
      body('awaited', 'for (let i = 0; i < 1e5; i++) await ctx.echo(i)', FLOOD),
      body('at once', 'await Promise.all(Array.from({ length: 1e5 }, () => ctx.echo(1)))', [
        ...FLOOD,
        'SANDBOX_TIMEOUT'
      ]),
      body(
        'with large arguments',
        'const s = "x".repeat(2e5); await Promise.all(Array.from({ length: 100 }, () => ctx.echo(s)))',
        FLOOD
      ),
      body('that hang', 'await Promise.all(Array.from({ length: 100 }, () => ctx.hang()))', [
        ...FLOOD,
        'SANDBOX_TIMEOUT'
      ]),
      body('URLs', 'for (let i = 0; ; i++) new URL("https://example.com/" + "x".repeat(6e4))', ['SANDBOX_TIMEOUT']),
      body('random bytes', 'const b = new Uint8Array(65536); for (;;) crypto.getRandomValues(b)', ['SANDBOX_TIMEOUT'])
    ]
  },
  {
    id: 57,
    title: 'progress floods',
    variants: [
      body('awaited', 'for (let i = 0; i < 1e5; i++) await ctx.progress(i)', FLOOD),
      body('not awaited', 'for (let i = 0; i < 1e5; i++) ctx.progress(i); return 1', [
        'OK',
        ...FLOOD,
        'SANDBOX_TIMEOUT'
      ])
    ]
  },
  {
    id: 58,
    title: 'clocks',
    variants: [
      body('Date', 'const a = Date.now(); for (let i = 0; i < 1e6; i++); return Date.now() - a', OK, 0),
      body('Date across a host call', 'const a = Date.now(); await ctx.echo(1); return new Date() - a', OK, 0),
      body(
        'Date across a timer',
        'const a = Date.now(); await new Promise((r) => setTimeout(r, 20)); return Date.now() - a',
        OK,
        0
      ),
      body(
        'Intl',
        'const f = new Intl.DateTimeFormat("en", { fractionalSecondDigits: 3 }); const a = f.format(); await ctx.echo(1); return f.format() === a && JSON.stringify(f.formatToParts()) === JSON.stringify(f.formatToParts(Date.now()))',
        OK,
        true
      ),
      body(
        'Temporal',
        'const a = String(Temporal.Now.instant()); await ctx.echo(1); return String(Temporal.Now.instant()) === a',
        OK,
        true
      ),
      body(
        'names of clocks',
        'return [typeof performance, typeof SharedArrayBuffer, typeof Atomics, typeof WebAssembly, "timeStamp" in Event.prototype]',
        OK,
        ['undefined', 'undefined', 'undefined', 'undefined', false]
      ),
      source(
        'another skill of the session',
        'globalThis.mark = (globalThis.mark ?? 0) + 1; export const run = () => globalThis.mark',
        OK,
        1
      )
    ]
  },
  {
    id: 59,
    title: 'forbidden and absent look the same',
    variants: [
      body(
        'capabilities',
        'const ask = async (f) => { try { await f() } catch (e) { return e.message.replace(/ctx\\.\\w+/, "ctx.x") } }; return (await ask(() => ctx.fetch("x"))) === (await ask(() => ctx.nothing("x")))',
        OK,
        true
      ),
      body('keys of ctx', 'return Object.keys(ctx).sort()', OK, [
        'echo',
        'fail',
        'hang',
        'log',
        'progress',
        'session',
        'signal'
      ]),
      body(
        'files of the package',
        'const ask = (p) => import(p).catch((e) => e.message); return (await ask("./gone.js")) === (await ask("/etc/passwd"))',
        OK,
        true
      )
    ]
  },
  {
    id: 63,
    title: 'capabilities kept for later',
    variants: [
      {
        ...source(
          'is counted in the call that uses it',
          'let kept; export const run = async (first, ctx) => { kept ??= ctx.echo; for (let i = 0; i < 30; i++) await kept(i); return 1 }',
          FLOOD
        ),
        inputs: [true, false]
      },
      {
        ...source(
          'a saved signal',
          'let kept; export const run = async (first, ctx) => { kept ??= ctx.signal; return kept.aborted }',
          OK,
          false
        ),
        inputs: [true, false]
      },
      {
        ...source(
          'used between two calls',
          'let hits = 0; export const run = async (first, ctx) => { if (first) setTimeout(() => { hits++; ctx.echo(1) }, 0); return hits }',
          OK,
          0
        ),
        inputs: [true, false]
      }
    ]
  },
  {
    id: 64,
    title: 'arguments that change between check and use',
    variants: [
      body(
        'a getter',
        'let n = 0; const [got] = await ctx.echo({ get a() { return n++ } }); return typeof got.a',
        OK,
        'number'
      ),
      body('a toJSON that changes', 'let n = 0; return (await ctx.echo({ toJSON: () => ++n }))[0] >= 1', OK, true),
      body(
        'changed while it flies',
        'const a = { v: 1 }; const p = ctx.echo(a); a.v = 2; return (await p)[0].v',
        OK,
        1
      ),
      body(
        'a getter that grows',
        'let n = 0; return ctx.echo({ get a() { return n++ === 0 ? 1 : "x".repeat(5e6) } }).then(() => 1, (e) => e.code)',
        ['OK', ...GROW],
        'ARGUMENTS_TOO_LARGE'
      )
    ]
  }
]
