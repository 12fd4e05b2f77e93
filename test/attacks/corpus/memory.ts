// Classes 46 to 53: memory and stack.
import { type AttackClass, body, ERR, GROW, GROW_OR_ERR, KILL, OK, source } from './types.ts'

export const memory: AttackClass[] = [
  {
    id: 46,
    title: 'growing collections',
    variants: [
      body('Map', 'const m = new Map(); for (let i = 0; ; i++) m.set(i, i)', GROW_OR_ERR),
      body('Set', 'const s = new Set(); for (let i = 0; ; i++) s.add(i)', GROW_OR_ERR),
      body('arrays', 'const a = []; for (;;) a.push(new Array(1e4).fill(1))', GROW_OR_ERR),
      body('keys', 'const o = {}; for (let i = 0; ; i++) o["k" + i] = i', GROW_OR_ERR),
      body('symbols', 'for (let i = 0; ; i++) Symbol.for("s" + i)', GROW_OR_ERR),
      body('closures', 'let f = () => 0; for (;;) { const g = f; f = () => g }', GROW_OR_ERR),
      body('promises', 'const a = []; for (;;) a.push(Promise.reject(new Error("x")).catch(() => 0))', GROW_OR_ERR),
      source('at the top level', 'const a = []; for (;;) a.push({}); export const run = 1', [
        ...GROW_OR_ERR,
        'SKILL_LOAD_FAILED'
      ])
    ]
  },
  {
    id: 47,
    title: 'split',
    variants: [
      body('2 ** 28', 'return "a".repeat(2 ** 28).split("").length', KILL),
      body('spread', 'return [..."a".repeat(2 ** 27)].length', GROW_OR_ERR),
      body('matchAll', 'return [..."a".repeat(2 ** 26).matchAll(/a/g)].length', GROW_OR_ERR)
    ]
  },
  {
    id: 48,
    title: 'strings',
    variants: [
      body('doubling', 'let s = "x"; for (;;) s += s', ERR),
      body(
        'flattened',
        'const a = []; for (let i = 0; ; i++) a.push(("x" + i).repeat(1e6).toUpperCase())',
        GROW_OR_ERR
      ),
      body('replaceAll', 'return "x".repeat(2 ** 20).replaceAll("x", "y".repeat(2 ** 10)).length', [...GROW_OR_ERR]),
      body(
        'padEnd',
        'const a = []; for (let i = 0; ; i++) a.push(("" + i).padEnd(2 ** 24, "ab").toLowerCase())',
        GROW_OR_ERR
      ),
      body('join', 'return new Array(2 ** 20).join("x".repeat(2 ** 9)).length', [...GROW_OR_ERR, 'OK']),
      body(
        'normalize',
        'const a = []; for (let i = 0; ; i++) a.push(("\\ufdfa" + i).repeat(1e5).normalize("NFKD"))',
        GROW_OR_ERR
      ),
      body('btoa', 'let s = "x".repeat(2 ** 20); for (;;) s = btoa(s)', GROW_OR_ERR)
    ]
  },
  {
    id: 49,
    title: 'buffers',
    variants: [
      body('typed arrays', 'const a = []; for (;;) a.push(new Uint8Array(1e7).fill(1))', GROW_OR_ERR),
      body('resizable', 'const b = new ArrayBuffer(8, { maxByteLength: 2 ** 33 }); b.resize(2 ** 32)', ERR),
      body(
        'by the constructor of a buffer',
        'new (new Uint8Array(1).buffer.constructor)(8, { maxByteLength: 2 ** 33 }).resize(2 ** 32)',
        ERR
      ),
      body('transfer', 'return new ArrayBuffer(8).transfer(2 ** 32)', ERR),
      body(
        'clones',
        'const b = new Uint8Array(1e7).fill(1); const a = []; for (;;) a.push(structuredClone(b))',
        GROW_OR_ERR
      ),
      body('4 GB at once', 'return new Uint8Array(2 ** 32).fill(1).length', GROW_OR_ERR),
      body(
        'encoded text',
        'const s = "x".repeat(1e7); const a = []; for (;;) a.push(new TextEncoder().encode(s))',
        GROW_OR_ERR
      )
    ]
  },
  {
    id: 50,
    title: 'WebAssembly memory',
    variants: [
      body('memory', 'return new WebAssembly.Memory({ initial: 65536 })', ERR),
      body('table', 'return new WebAssembly.Table({ initial: 1e7, element: "anyfunc" })', ERR)
    ]
  },
  {
    id: 51,
    title: 'leaks from call to call',
    variants: [
      {
        ...source(
          'a module that keeps',
          'const kept = []; export const run = () => { for (let i = 0; i < 300; i++) kept.push(new Array(1e4).fill(i)); return kept.length > 0 }',
          ['OK', ...GROW_OR_ERR],
          true
        ),
        inputs: [1, 2, 3, 4, 5]
      },
      {
        ...source(
          'generators',
          'const kept = []; export const run = () => { for (let i = 0; i < 1e4; i++) { const g = (function* () { yield new Array(10) })(); g.next(); kept.push(g) } return 1 }',
          ['OK', ...GROW_OR_ERR]
        ),
        inputs: [1, 2, 3, 4]
      },
      {
        ...source(
          'timers of earlier calls',
          'let ran = 0; export const run = () => { for (let i = 0; i < 900; i++) setTimeout(() => ran++, 1); return ran }',
          OK,
          0
        ),
        inputs: [1, 2, 3]
      }
    ]
  },
  {
    id: 52,
    title: 'JSON bombs',
    variants: [
      body('a million nested arrays', 'let a = 1; for (let i = 0; i < 1e6; i++) a = [a]; return a', [
        'RESULT_TOO_LARGE',
        ...GROW_OR_ERR
      ]),
      body('toJSON recursion', 'const o = { toJSON() { return { o } } }; return o', [
        'SKILL_RESULT_INVALID',
        'RESULT_TOO_LARGE',
        ...GROW_OR_ERR
      ]),
      body('100 MB of text', 'return JSON.stringify("x".repeat(1e8)).length', ['OK', ...GROW_OR_ERR]),
      body('shared sub-trees', 'let a = [1]; for (let i = 0; i < 40; i++) a = [a, a]; return a', [
        'RESULT_TOO_LARGE',
        ...GROW
      ]),
      body(
        'as arguments',
        'let a = [1]; for (let i = 0; i < 40; i++) a = [a, a]; return ctx.echo(a).catch((e) => e.code)',
        ['OK', ...GROW],
        'ARGUMENTS_TOO_LARGE'
      ),
      body(
        'in a log',
        'let a = [1]; for (let i = 0; i < 40; i++) a = [a, a]; console.log(a); return 1',
        ['OK', ...GROW],
        1
      )
    ]
  },
  {
    id: 53,
    title: 'the stack',
    variants: [
      body('function', 'const f = () => f() + 1; return f()', ERR),
      body('getter', 'const o = { get a() { return o.a } }; return o.a', ERR),
      body('toString', 'const o = { toString() { return "" + o } }; return "" + o', ERR),
      body('proxy chain', 'let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x ?? null', [
        ...ERR,
        'OK',
        ...GROW
      ]),
      body('prototype chain', 'let o = {}; for (let i = 0; i < 1e5; i++) o = Object.create(o); return o.x ?? null', [
        'OK',
        ...GROW_OR_ERR
      ]),
      body('finally', 'const f = () => { try { f() } finally { f() } }; f()', [...ERR, ...GROW]),
      body('bind chain', 'let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(null); return f()', [
        ...ERR,
        'OK',
        ...GROW
      ]),
      body('a rope flattened', 'let s = "x"; for (let i = 0; i < 1e6; i++) s = "y" + s; return s.charCodeAt(5)', [
        'OK',
        ...GROW
      ]),
      body('a result that recurses', 'const o = { get a() { return o } }; return o', [
        'SKILL_RESULT_INVALID',
        'RESULT_TOO_LARGE',
        ...ERR
      ]),
      body(
        'a deep rejection',
        'const f = () => { try { return f() } catch (e) { throw new Error("deep", { cause: e }) } }; return f()',
        [...ERR, ...GROW]
      ),
      body('a clone', 'let a = 1; for (let i = 0; i < 1e5; i++) a = [a]; structuredClone(a)', [...ERR, ...GROW])
    ]
  }
]
