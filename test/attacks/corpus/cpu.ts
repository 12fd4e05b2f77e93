// Classes 28 to 45: time.
import { type AttackClass, body, ERR, GROW, GROW_OR_ERR, HANG, KILL, OK, source, TO } from './types.ts'

const evil = (name: string) =>
  `const e = new Error("x"); Object.defineProperty(e, "${name}", { get() { while (true); } }); throw e`

export const cpu: AttackClass[] = [
  {
    id: 28,
    title: 'loops',
    variants: [
      body('while (true)', 'while (true);', TO),
      source('at the top level', 'while (true); export const run = () => 1', TO),
      source('at the top level, after await', 'await null; for (;;); export const run = () => 1', TO),
      body('that catch everything', 'for (;;) try { while (true); } catch {} finally { for (;;); }', TO)
    ]
  },
  {
    id: 29,
    title: 'microtask loops',
    variants: [
      body('for await', 'for (;;) await 0', TO),
      body('queueMicrotask', 'const again = () => queueMicrotask(again); again(); await new Promise(() => {})', TO),
      body('then chains', 'const again = () => Promise.resolve().then(again); await again()', TO),
      body('async generators', 'async function* g() { for (;;) yield 1 }; for await (const _ of g());', TO)
    ]
  },
  {
    id: 30,
    title: 'a loop after the host was asked',
    variants: [
      body('echo', 'await ctx.echo(1); while (true);', TO),
      body('a failure', 'await ctx.fail().catch(() => 0); while (true);', TO),
      body('a timer', 'await new Promise((r) => setTimeout(r, 1)); while (true);', TO),
      body('the callback of a timer', 'setTimeout(() => { while (true); }, 1); await new Promise(() => {})', TO),
      body('ctx.signal', 'ctx.signal.onabort = () => { while (true); }; await new Promise(() => {})', TO)
    ]
  },
  {
    id: 31,
    title: 'work that goes on after the result',
    variants: [
      body('microtasks', '(async () => { for (;;) await 0 })(); return 1', TO),
      body('a host call and a loop', 'ctx.echo(1).then(() => { while (true); }); return 1', ['OK', ...TO]),
      body('a timer and a loop', 'setTimeout(() => { while (true); }, 1); return 1', OK, 1),
      {
        ...source(
          'into the next call',
          'let late = 0; export const run = (first, ctx) => { if (first) { setTimeout(() => late++, 0); ctx.echo(1).then(() => late++); return 1 } return late }',
          OK,
          0
        ),
        inputs: [true, false]
      }
    ]
  },
  {
    id: 32,
    title: 'promises that never settle',
    variants: [
      body('alone', 'await new Promise(() => {})', TO),
      body('of the host', 'await ctx.hang()', TO),
      source('at the top level', 'await new Promise(() => {}); export const run = () => 1', ['SKILL_LOAD_FAILED']),
      body('all of them', 'await Promise.all(Array.from({ length: 1e4 }, () => new Promise(() => {})))', TO)
    ]
  },
  {
    id: 33,
    title: 'catastrophic regular expressions',
    variants: [
      body('(a+)+', 'return /^(a+)+$/.test("a".repeat(40) + "b")', TO),
      body('alternatives', 'return /^(a|aa|a)+$/.test("a".repeat(60) + "b")', TO),
      body('backreferences', 'return /^(.*)(.*)(.*)(.*)(.*)(.*)(.*)\\1x$/.test("a".repeat(200))', TO),
      body('replaceAll', 'return "a".repeat(5e4).replace(/(a*)*b/g, "")', [...TO, 'OK', ...ERR])
    ]
  },
  {
    id: 34,
    title: 'searches without end',
    variants: [
      body('indexOf', 'return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)', KILL),
      body('includes', 'return [].includes.call({ length: 2 ** 53 - 1 }, 1)', KILL),
      body('lastIndexOf', 'return [].lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)', KILL),
      body('a sparse array', 'const a = []; a.length = 2 ** 32 - 1; return a.indexOf(2)', [...HANG, 'OK']),
      body('join', 'return [].join.call({ length: 2 ** 53 - 1 })', [...GROW_OR_ERR])
    ]
  },
  {
    id: 35,
    title: 'big integers',
    variants: [
      body('power to text', 'return (3n ** (2n ** 26n)).toString().length', [...GROW_OR_ERR]),
      body('shift to text', 'return (1n << 2n ** 29n).toString().length', [...GROW_OR_ERR]),
      body('squares', 'let x = 3n; for (;;) x = x * x', [...GROW_OR_ERR]),
      body('text to number', 'return String(BigInt("9".repeat(2e6)) % 7n)', [...GROW_OR_ERR, 'OK']),
      body('division', 'return String((3n ** 3000000n) / (3n ** 1000000n - 1n)).length', [...GROW_OR_ERR, 'OK'])
    ]
  },
  {
    id: 36,
    title: 'Intl',
    variants: [
      body('localeCompare', 'const s = "\\u0301".repeat(2 ** 24); return s.localeCompare(s + "x")', [
        ...GROW_OR_ERR,
        'OK'
      ]),
      body('normalize', 'return "\\ufdfa".repeat(2 ** 23).normalize("NFKD").length', [...GROW_OR_ERR, 'OK']),
      body(
        'formatters',
        'const a = []; for (;;) a.push(new Intl.DateTimeFormat("ar-u-nu-thai", { dateStyle: "full" }))',
        [...GROW_OR_ERR]
      ),
      body(
        'segmenter',
        'return [...new Intl.Segmenter("th", { granularity: "word" }).segment("ก".repeat(2e6))].length',
        [...GROW_OR_ERR, 'OK']
      ),
      body('upper case', 'return "ß".repeat(2 ** 26).toLocaleUpperCase("tr").length', [...GROW_OR_ERR, 'OK'])
    ]
  },
  {
    id: 37,
    title: 'arrays filled by one built-in',
    variants: [
      body('fill', 'return Array(1e9).fill(0).length', [...GROW_OR_ERR]),
      body('from', 'return Array.from({ length: 2 ** 28 }).length', [...GROW_OR_ERR]),
      body('flatMap', 'return new Array(2 ** 26).fill(0).flatMap((x) => [x, x, x, x]).length', [...GROW_OR_ERR]),
      body('concat', 'let a = [1]; for (;;) a = a.concat(a)', [...GROW_OR_ERR]),
      body('toSpliced', 'const a = []; a.length = 2 ** 27; return a.toSpliced(0, 0, 1).length', [...GROW_OR_ERR, 'OK'])
    ]
  },
  {
    id: 38,
    title: 'sorting',
    variants: [
      body('a comparator that loops', 'return [2, 1].sort(() => { while (true); })', TO),
      body('one that lies', 'return Array.from({ length: 1e5 }, (_, i) => i).sort(() => Math.random() - 0.5).length', [
        'OK',
        ...TO
      ]),
      body(
        'one that grows its array',
        'const a = [3, 2, 1]; a.sort((x, y) => { for (let i = 0; i < 1e5; i++) a.push(i); return x - y }); return a.length > 3',
        ['OK', ...GROW_OR_ERR]
      ),
      body(
        'typed arrays',
        'const a = new Float64Array(5e6); for (let i = 0; i < a.length; i++) a[i] = -i; for (;;) { a.sort(); a.reverse() }',
        [...HANG, ...GROW_OR_ERR]
      ),
      body('recursion', 'const f = () => { [2, 1].sort(f); return 0 }; f()', [...ERR, ...TO])
    ]
  },
  {
    id: 39,
    title: 'Atomics.wait',
    variants: [
      body('wait', 'Atomics.wait(new Int32Array(4), 0, 0)', ERR),
      body('waitAsync', 'await Atomics.waitAsync(new Int32Array(4), 0, 0).value', ERR),
      body('through the typed arrays', 'return typeof Int32Array.prototype.constructor.Atomics', OK, 'undefined')
    ]
  },
  {
    id: 40,
    title: 'WebAssembly loops',
    variants: [
      body('compile', 'await WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))', ERR),
      body(
        'instantiate in a promise',
        'await Promise.resolve().then(() => WebAssembly.instantiate(new Uint8Array(8)))',
        ERR
      ),
      body('asm.js', 'function A(s) { "use asm"; function f() { for (;;) {} } return f } A(globalThis)()', TO)
    ]
  },
  {
    id: 41,
    title: 'errors that loop while they are read',
    variants: [
      body('stack', evil('stack'), TO),
      body('message', evil('message'), TO),
      body('name', evil('name'), TO),
      body(
        'a class with a name getter',
        'class E extends Error { get name() { while (true); } }; throw new E("x")',
        TO
      ),
      body('toString', 'throw { toString() { while (true); }, get message() { while (true); } }', TO),
      body('prepareStackTrace', 'Error.prepareStackTrace = () => { while (true); }; throw new Error("x")', TO),
      body('a proxy prototype', 'throw Object.create(new Proxy({}, { get() { while (true); } }))', TO),
      body(
        'rejected and left alone',
        'const e = new Error("x"); Object.defineProperty(e, "message", { get() { while (true); } }); Promise.reject(e); await new Promise(() => {})',
        [...TO, ...ERR]
      ),
      source(
        'at the top level',
        'class E extends Error { get message() { while (true); } }; throw new E(); export const run = 1',
        [...TO, 'SKILL_LOAD_FAILED']
      )
    ]
  },
  {
    id: 42,
    title: 'traps in the result',
    variants: [
      body('get', 'return new Proxy({ a: 1 }, { get() { while (true); } })', TO),
      body('ownKeys', 'return new Proxy({}, { ownKeys() { while (true); } })', TO),
      body('getPrototypeOf', 'return new Proxy({}, { getPrototypeOf() { while (true); } })', ['OK', ...TO]),
      body('ownKeys that throws', 'return new Proxy({}, { ownKeys() { throw new Error("no") } })', [
        'SKILL_RESULT_INVALID'
      ]),
      body('different at each read', 'let n = 0; return { get a() { return n++ === 0 ? 1 : "x".repeat(5e8) } }', [
        'RESULT_TOO_LARGE',
        ...GROW
      ]),
      body('a getter that loops', 'return { get a() { while (true); } }', TO),
      body('an endless array', 'return new Proxy([], { get: (_, k) => k === "length" ? 2 ** 32 : 0 })', [
        'RESULT_TOO_LARGE',
        ...GROW
      ])
    ]
  },
  {
    id: 43,
    title: 'finalizers',
    variants: [
      body('FinalizationRegistry', 'new FinalizationRegistry(() => { while (true); }).register({}, 1)', ERR),
      body('WeakRef', 'return new WeakRef({}).deref()', ERR),
      body('disposal', '{ using x = { [Symbol.dispose]() { while (true); } } }', [...TO, ...ERR])
    ]
  },
  {
    id: 44,
    title: 'timer floods',
    variants: [
      body('a million', 'for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 0)', ERR),
      body('recursive', 'await new Promise(() => { const again = () => setTimeout(again, 0); again() })', [
        ...ERR,
        ...TO
      ]),
      body('set and cleared', 'for (let i = 0; i < 1e6; i++) clearTimeout(setTimeout(() => {}, 0))', ERR),
      body('setInterval', 'setInterval(() => {}, 0)', ERR),
      body('text', 'setTimeout("while (true);", 0)', ERR),
      body(
        'odd delays',
        'for (const d of [-1, NaN, Infinity, 1e300, "5", {}]) setTimeout(() => {}, d); return 1',
        OK,
        1
      ),
      body('a delay that is a trap', 'setTimeout(() => {}, { valueOf() { while (true); } })', TO)
    ]
  },
  {
    id: 45,
    title: 'parser bombs',
    variants: [
      source('arrows', `export const run = ${'x=>'.repeat(5e4)}1`, [
        'SKILL_LOAD_FAILED',
        'SANDBOX_KILLED',
        ...TO,
        ...ERR,
        'SKILL_RESULT_INVALID'
      ]),
      source('brackets', `export const run = () => ${'['.repeat(1e5)}${']'.repeat(1e5)}`, [
        'SKILL_LOAD_FAILED',
        'SANDBOX_KILLED',
        ...TO,
        ...ERR,
        'RESULT_TOO_LARGE'
      ]),
      source('10 MB', `export const run = () => 1; ${'void 0;'.repeat(1.4e6)}`, ['OK', ...GROW]),
      source('templates', `export const run = () => ${'`${'.repeat(1e4)}1${'}`'.repeat(1e4)}`, [
        'SKILL_LOAD_FAILED',
        'SANDBOX_KILLED',
        ...TO,
        ...ERR,
        'OK'
      ]),
      body('eval', 'return eval("(".repeat(1e6) + "1" + ")".repeat(1e6))', [...ERR, ...GROW]),
      body('groups of a regular expression', 'return new RegExp("(".repeat(1e5) + ")".repeat(1e5)).test("x")', [
        ...ERR,
        ...GROW,
        'OK'
      ]),
      body('JSON', 'return JSON.parse("[".repeat(5e6) + "]".repeat(5e6)).length', [...ERR, ...GROW, 'OK'])
    ]
  }
]
