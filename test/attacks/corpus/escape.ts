// Classes 1 to 21: out of the realm, and to be somebody else.
import { type AttackClass, body, ERR, OK, source, TO } from './types.ts'

const GONE = 'undefined'
const typeofProcess = (of: string) => `return (${of}).constructor.constructor("return typeof process")()`
const WALK = (start: string) => `
  const seen = new Set(); const found = []; const todo = [${start}]
  while (todo.length > 0 && seen.size < 20000) {
    const value = todo.pop()
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) continue
    seen.add(value)
    todo.push(Object.getPrototypeOf(value))
    for (const key of Reflect.ownKeys(value)) {
      if (/^(derefInto|getSync|setSync|applySync|applySyncPromise|applyIgnored|release|binding|dlopen|mainModule)$/.test(String(key))) found.push(String(key))
      const own = Reflect.getOwnPropertyDescriptor(value, key)
      todo.push(own.value, own.get, own.set)
    }
  }
  return found`

// All that a skill finds beside the language; language and web names are sandbox/README.md's.
const DOCUMENTED =
  'AbortController AbortSignal DOMException Event EventTarget Headers TextDecoder TextEncoder URL URLSearchParams atob btoa clearTimeout console crypto queueMicrotask setTimeout structuredClone'

export const escapes: AttackClass[] = [
  {
    id: 1,
    title: 'the constructor of a constructor',
    variants: [
      body('globalThis', typeofProcess('globalThis'), OK, GONE),
      body('the input', typeofProcess('input'), OK, GONE),
      body('console', typeofProcess('console.log'), OK, GONE),
      body('a capability', typeofProcess('ctx.echo'), OK, GONE),
      body('a host answer', typeofProcess('await ctx.echo([1])'), OK, GONE),
      body('ctx', typeofProcess('ctx'), ERR),
      body('process itself', 'return globalThis.constructor.constructor("return process")().pid', ERR)
    ]
  },
  {
    id: 2,
    title: 'the constructor of async functions',
    variants: [
      body('async', 'return (async () => {}).constructor("return typeof process + typeof require")()', OK, GONE + GONE),
      body('async of a host promise', 'return ctx.echo(1).constructor.constructor("return typeof process")()', OK, GONE)
    ]
  },
  {
    id: 3,
    title: 'the constructors of generators',
    variants: [
      body('generator', 'return (function* () {}).constructor("yield typeof process")().next().value', OK, GONE),
      body(
        'async generator',
        'return (await (async function* () {}).constructor("yield typeof process")().next()).value',
        OK,
        GONE
      )
    ]
  },
  {
    id: 4,
    title: 'Error.prepareStackTrace hands out call sites',
    variants: [
      body(
        'getThis and getFunction',
        'Error.prepareStackTrace = (_, sites) => sites.map((s) => [typeof s.getThis?.(), typeof s.getFunction?.()]); const seen = new Error("x").stack; return [].concat(...[].concat(seen)).filter((one) => one === "object" || one === "function").length',
        OK,
        0
      ),
      body(
        'in a host error',
        'Error.prepareStackTrace = (_, sites) => sites.map((s) => String(s.getFileName?.())).join(); try { await ctx.fail() } catch (e) { return String(e.stack).includes("/work") }',
        OK,
        false
      ),
      body('a throwing one', 'Error.prepareStackTrace = () => { throw 1 }; throw new Error("x")', ERR)
    ]
  },
  {
    id: 5,
    title: 'host paths in long stacks',
    variants: [
      body(
        'stackTraceLimit',
        'Error.stackTraceLimit = Infinity; (function deep(n) { if (n === 0) throw new Error("x"); deep(n - 1) })(50)',
        ERR
      ),
      body(
        'the stack itself',
        'Error.stackTraceLimit = Infinity; return /\\/(work|tmp|app|usr)\\/|node:|isolated-vm/.test(new Error("x").stack)',
        OK,
        false
      ),
      body(
        'captureStackTrace',
        'const o = {}; Error.captureStackTrace?.(o); return /\\/(work|tmp|app|usr)\\/|node:/.test(o.stack)',
        OK,
        false
      )
    ]
  },
  {
    id: 6,
    title: 'a caught host error is walked',
    variants: [
      body(
        'its constructor',
        'try { await ctx.fail() } catch (e) { return e.constructor.constructor("return typeof process")() }',
        OK,
        GONE
      ),
      body(
        'its realm',
        'try { await ctx.fail() } catch (e) { return e instanceof Error && Object.getPrototypeOf(e) === Error.prototype }',
        OK,
        true
      ),
      body(
        'a built-in that throws',
        'try { structuredClone(() => 1) } catch (e) { return e.constructor.constructor("return typeof process")() }',
        OK,
        GONE
      ),
      body(
        'an invalid URL',
        'try { new URL("::") } catch (e) { return e.constructor.constructor("return typeof process")() }',
        OK,
        GONE
      )
    ]
  },
  {
    id: 7,
    title: 'secrets in host errors',
    variants: [
      body('message', 'try { await ctx.fail() } catch (e) { return [e.code, e.message] }', OK, [
        'HOST_CALL_FAILED',
        'the host could not answer'
      ]),
      body('stack', 'try { await ctx.fail() } catch (e) { return /s3cret|engine|\\/work/.test(e.stack) }', OK, false),
      body('own properties', 'try { await ctx.fail() } catch (e) { return Object.getOwnPropertyNames(e).sort() }', OK, [
        'code',
        'message',
        'stack'
      ]),
      body('not caught', 'await ctx.fail()', ERR)
    ]
  },
  {
    id: 8,
    title: 'species of the host promise',
    variants: [
      body(
        'a subclass that collects',
        'let got = 0; class P extends Promise { static get [Symbol.species]() { got++; return P } constructor(f) { super(f) } }; const p = ctx.echo(1); Object.setPrototypeOf(p, P.prototype); return [await p, typeof P.prototype.constructor]',
        OK,
        [[1], 'function']
      ),
      body(
        'constructor poisoned',
        'Object.defineProperty(Promise.prototype, "constructor", { get() { throw new Error("p") } }); return await ctx.echo(1)',
        ERR
      )
    ]
  },
  {
    id: 9,
    title: 'a thenable as result',
    variants: [
      body('resolves', 'return { then(r) { r(42) } }', OK, 42),
      body('gets no host function', 'return { then(r) { r(r.constructor("return typeof process")()) } }', OK, GONE),
      body('nested', 'return { a: { then(r) { r(42) } } }', OK, { a: {} }),
      body('rejects', 'return { then(_, no) { no(new Error("x")) } }', ERR)
    ]
  },
  {
    id: 10,
    title: 'a looping thenable',
    variants: [
      body('getter', 'return { get then() { while (true); } }', TO),
      body('then', 'return { then() { while (true); } }', TO),
      body('endless chain', 'const next = () => ({ then(r) { r(next()) } }); return next()', TO),
      body('never', 'return { then() {} }', TO)
    ]
  },
  {
    id: 11,
    title: 'Promise.prototype.then poisoned before a host call',
    variants: [
      body('throws', 'Promise.prototype.then = () => { throw new Error("then") }; return await ctx.echo(1)', OK, [1]),
      body(
        'collects',
        'const got = []; const { then } = Promise.prototype; Promise.prototype.then = function (...a) { got.push(a); return then.apply(this, a) }; await ctx.echo(1); return got.length',
        OK,
        0
      ),
      body(
        'Promise replaced',
        'globalThis.Promise = class { constructor() { throw new Error("no") } }; return await ctx.echo(2)',
        OK,
        [2]
      ),
      body('loops', 'Promise.prototype.then = () => { while (true); }; return Promise.resolve(1)', TO)
    ]
  },
  {
    id: 12,
    title: 'toJSON and JSON poisoned',
    variants: [
      body('toJSON loops', 'Object.prototype.toJSON = () => { while (true); }; return {}', TO),
      body('stringify throws', 'JSON.stringify = () => { throw 1 }; return await ctx.echo(1)', OK, [1]),
      body('parse throws', 'JSON.parse = () => { throw 1 }; return await ctx.echo({ a: 1 })', OK, [{ a: 1 }]),
      body('toJSON lies', 'Object.prototype.toJSON = () => "lie"; return { a: 1 }', OK, 'lie'),
      body('toJSON of an error', 'Object.prototype.toJSON = () => { while (true); }; throw new Error("x")', ERR)
    ]
  },
  {
    id: 13,
    title: 'other built-ins poisoned',
    variants: [
      body('iterators', 'Array.prototype[Symbol.iterator] = () => { throw 1 }; return await ctx.echo(1)', [
        'OK',
        'SKILL_ERROR'
      ]),
      body('slice', 'String.prototype.slice = () => { throw 1 }; throw new Error("x".repeat(1e5))', ERR),
      body(
        'call and apply',
        'Function.prototype.call = Function.prototype.apply = () => { throw 1 }; return await ctx.echo(1)',
        OK,
        [1]
      ),
      body(
        'Reflect and Object',
        'Reflect.apply = Object.keys = Object.freeze = () => { throw 1 }; return await ctx.echo({ a: 1 })',
        OK,
        [{ a: 1 }]
      ),
      body('Map', 'Map.prototype.get = Map.prototype.set = () => { throw 1 }; return await ctx.echo(1)', OK, [1]),
      body(
        'setters on prototypes',
        'for (const k of ["0", "n", "name", "text", "resolve", "value", "get", "then"]) Object.defineProperty(Object.prototype, k, { set() { throw new Error("set") }, configurable: true }); return await ctx.echo(1)',
        ['OK', 'SKILL_ERROR']
      )
    ]
  },
  {
    id: 14,
    title: 'the global object holds only documented names',
    variants: [
      body(
        'names',
        `const language = 'AggregateError Array ArrayBuffer AsyncDisposableStack BigInt BigInt64Array BigUint64Array Boolean DataView Date DisposableStack Error EvalError Float16Array Float32Array Float64Array Function Infinity Int16Array Int32Array Int8Array Intl Iterator JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set String SuppressedError Symbol SyntaxError Temporal TypeError URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakSet decodeURI decodeURIComponent encodeURI encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined unescape ${DOCUMENTED}'.split(' '); return Reflect.ownKeys(globalThis).map(String).filter((name) => !language.includes(name))`,
        OK,
        []
      ),
      body(
        'symbols',
        'return Object.getOwnPropertySymbols(globalThis).map(String).filter((name) => name !== "Symbol(Symbol.toStringTag)")',
        OK,
        []
      ),
      body(
        'its prototypes',
        'let o = globalThis; const names = []; while ((o = Object.getPrototypeOf(o)) && o !== Object.prototype) names.push(...Reflect.ownKeys(o).map(String)); return names.filter((name) => name !== "constructor")',
        OK,
        []
      )
    ]
  },
  {
    id: 15,
    title: 'imports',
    variants: [
      body('import() of a built-in', 'return import("node:fs")', ERR),
      body('import() of a file', 'return import("./index.js")', ERR),
      source('static built-in', 'import "node:fs"; export const run = () => 1', ['SKILL_LOAD_FAILED']),
      source('static package', 'import "lodash"; export const run = () => 1', ['SKILL_LOAD_FAILED']),
      source('absolute path', 'import "/app/cell/guest.js"; export const run = () => 1', ['SKILL_LOAD_FAILED']),
      source('climbing', 'import "../../../app/cell/guest.js"; export const run = () => 1', ['SKILL_LOAD_FAILED']),
      source('data URL', 'import "data:text/javascript,1"; export const run = () => 1', ['SKILL_LOAD_FAILED']),
      body('import.meta', 'return Reflect.ownKeys(import.meta)', OK, []),
      source('import.meta.url', 'export const run = () => import.meta.url ?? null', OK, null)
    ]
  },
  {
    id: 16,
    title: 'realms and evaluation',
    variants: [
      body('ShadowRealm', 'return new ShadowRealm().evaluate("typeof process")', ERR),
      body('eval', 'return eval("typeof process + typeof require")', OK, GONE + GONE),
      body('indirect eval', 'return (0, eval)("typeof process")', OK, GONE),
      body(
        'new Function with with',
        'return new Function("p", "with (p) { return typeof process }")(new Proxy({}, { has: () => false }))',
        OK,
        GONE
      ),
      body(
        'with a proxy that has all',
        'return new Function("p", "with (p) { return process }")(new Proxy({}, { has: () => true, get: (_, k) => k === Symbol.unscopables ? undefined : "mine" }))',
        OK,
        'mine'
      )
    ]
  },
  {
    id: 17,
    title: 'callers',
    variants: [
      body('arguments.callee.caller', 'return (function () { return arguments.callee.caller })()', ERR),
      body(
        'caller of a sloppy function',
        'const f = new Function("return [typeof arguments.callee.caller, typeof arguments.callee.caller?.caller]"); return f()',
        ['OK', 'SKILL_ERROR']
      ),
      body(
        'Function.prototype.caller of a capability',
        'return typeof Object.getOwnPropertyDescriptor(ctx.echo, "caller")',
        OK,
        GONE
      ),
      body(
        'from a toJSON',
        'const f = new Function("return String(arguments.callee.caller === null)"); return { toJSON: f }',
        OK,
        'true'
      )
    ]
  },
  {
    id: 18,
    title: 'host functions as objects',
    variants: [
      body('constructor', 'return ctx.echo.constructor === Function', OK, true),
      body(
        'bind and apply with odd this',
        'return [await ctx.echo.bind(globalThis)(1), await ctx.echo.apply(new Proxy({}, { get() { throw 1 } }), [2])]',
        OK,
        [[1], [2]]
      ),
      body('new', 'return new ctx.echo(1)', ERR),
      body(
        'prototype',
        'return [typeof ctx.echo.prototype, Object.getPrototypeOf(ctx.echo) === Function.prototype]',
        OK,
        [GONE, true]
      ),
      body('toString', 'return /post|kit|hostCall\\b.*launch/.test(ctx.echo.toString())', OK, false)
    ]
  },
  {
    id: 19,
    title: 'references of isolated-vm',
    variants: [
      body('reachable from globalThis', WALK('globalThis'), OK, []),
      body('reachable from ctx', WALK('ctx'), OK, []),
      body(
        'reachable from errors',
        `const errors = []; for (const f of [() => ctx.fail(), () => new URL("::"), () => crypto.getRandomValues(1), () => setTimeout("x")]) try { await f() } catch (e) { errors.push(e) }; ${WALK('...errors')}`,
        OK,
        []
      ),
      body('the two ways out', 'return [typeof post, typeof ask, typeof kit, typeof globalThis.post]', OK, [
        GONE,
        GONE,
        GONE,
        GONE
      ])
    ]
  },
  {
    id: 20,
    title: 'shared memory regained',
    variants: [
      body('WebAssembly', 'return new WebAssembly.Memory({ shared: true, initial: 1, maximum: 2 }).buffer', ERR),
      body('names', 'return [typeof WebAssembly, typeof SharedArrayBuffer, typeof Atomics]', OK, [GONE, GONE, GONE]),
      body(
        'clone of a buffer',
        'return structuredClone(new Uint8Array(8)).buffer.constructor === ArrayBuffer',
        OK,
        true
      ),
      body(
        'through typed arrays',
        'return Object.getOwnPropertyNames(Object.getPrototypeOf(new Uint8Array(1).buffer)).filter((n) => /resiz|transfer|max|grow/.test(n))',
        OK,
        []
      )
    ]
  },
  {
    id: 21,
    title: 'code caches and snapshots in a package',
    variants: [
      {
        name: 'files beside the entry are data',
        files: {
          'dist/index.js': 'export const run = () => 1',
          'dist/index.js.cache': '\u0000\u0001',
          'snapshot.bin': 'x',
          'dist/index.js.map': '{}'
        },
        expect: OK,
        output: 1
      }
    ]
  }
]
