// Classes 22 to 27: prototype pollution over the bridge, and values that JSON maps.
import { type AttackClass, body, ERR, OK } from './types.ts'

const INVALID = ['SKILL_RESULT_INVALID'] as const

export const pollution: AttackClass[] = [
  {
    id: 22,
    title: 'a result with an own __proto__',
    variants: [
      body('parsed', 'return JSON.parse(\'{"__proto__":{"polluted":1}}\')', INVALID),
      body('deep', 'return [{ a: JSON.parse(\'{"__proto__":1}\') }]', INVALID),
      body('defined', 'return Object.defineProperty({}, "__proto__", { value: 1, enumerable: true })', INVALID),
      body('by toJSON', 'return { toJSON: () => JSON.parse(\'{"__proto__":null}\') }', INVALID),
      body('as text only', 'return "__proto__"', OK, '__proto__')
    ]
  },
  {
    id: 23,
    title: 'constructor.prototype keys',
    variants: [
      body('plain', 'return { constructor: { prototype: { polluted: 1 } } }', INVALID),
      body('deep', 'return { a: [{ constructor: { prototype: 1 } }] }', INVALID),
      body('constructor as data', 'return { constructor: "Acme" }', OK, { constructor: 'Acme' })
    ]
  },
  {
    id: 24,
    title: 'arguments that pollute',
    variants: [
      body(
        '__proto__',
        'return ctx.echo(JSON.parse(\'{"__proto__":{"x":1}}\')).catch((e) => e.code)',
        OK,
        'ARGUMENTS_INVALID'
      ),
      body(
        'constructor',
        'return ctx.echo({ constructor: { prototype: {} } }).catch((e) => e.code)',
        OK,
        'ARGUMENTS_INVALID'
      ),
      body('hasOwnProperty', 'return ctx.echo({ hasOwnProperty: 1, toString: 2 })', OK, [
        { hasOwnProperty: 1, toString: 2 }
      ])
    ]
  },
  {
    id: 25,
    title: 'keys that look alike',
    variants: [
      body(
        'unicode normal forms stay apart',
        'return Object.keys(await ctx.echo({ "\\u00e9": 1, "e\\u0301": 2 }).then((a) => a[0])).length',
        OK,
        2
      ),
      body('duplicates in text', 'return ctx.echo(JSON.parse(\'{"a":1,"a":2}\'))', OK, [{ a: 2 }]),
      body('lone surrogates', 'return "\\ud800".length', OK, 1),
      body('a lone surrogate in a key', 'return Object.keys({ ["\\udc00"]: 1 }).length', OK, 1)
    ]
  },
  {
    id: 26,
    title: 'numeric keys',
    variants: [
      body('2 ** 32 - 1', 'return { 4294967295: 1, 4294967294: 2, "-1": 3 }', OK, {
        4294967294: 2,
        4294967295: 1,
        '-1': 3
      }),
      body('as argument', 'return ctx.echo({ 4294967295: 1 })', OK, [{ 4294967295: 1 }]),
      body('an array with holes', 'const a = []; a[5] = 1; return a', OK, [null, null, null, null, null, 1]),
      body('an array of 2 ** 32 - 1', 'const a = []; a.length = 2 ** 32 - 1; return a', [
        'RESULT_TOO_LARGE',
        'SANDBOX_TIMEOUT'
      ])
    ]
  },
  {
    id: 27,
    title: 'values without JSON',
    variants: [
      body('numbers', 'return [-0, NaN, Infinity]', OK, [0, null, null]),
      body('dates and maps', 'return [new Date(0), new Map([[1, 2]]), new Set([1])]', OK, [
        '1970-01-01T00:00:00.000Z',
        {},
        {}
      ]),
      body('bigint', 'return 1n', INVALID),
      body('symbol', 'return Symbol("s")', INVALID),
      body('cyclic', 'const a = []; a.push(a); return a', INVALID),
      body('an invalid date', 'return new Date(NaN).toISOString()', ERR)
    ]
  }
]
