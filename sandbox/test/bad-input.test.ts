// What a tool may hand back wrongly: each has one code and one message that its author can use, in each mode of a cell.
import t from 'tap'
import type { IsolationOptions } from '../types.ts'
import { call, outcome, sandbox } from './support.ts'

interface Case {
  body: string
  code?: string
  message?: string
  output?: unknown
  /** With 300 ms of CPU and 700 ms. */
  soon?: true
  /** Its last line in the log. */
  line?: string
}

const FLOOD = 'log limit reached (1000 lines, 64 KiB): the rest of this call is not recorded'
const cases: Record<string, Case> = {
  'nothing at all': {
    body: 'return',
    code: 'SKILL_RESULT_INVALID',
    message: 'the tool returned undefined; return null or a JSON value'
  },
  'a function': {
    body: 'return () => 1',
    code: 'SKILL_RESULT_INVALID',
    message: 'the tool returned a function, which is not JSON'
  },
  'a bigint inside': {
    body: 'return { price: 10n }',
    code: 'SKILL_RESULT_INVALID',
    message: 'the result is not JSON: Do not know how to serialize a BigInt'
  },
  'a circle': {
    body: 'const a = {}; a.self = a; return a',
    code: 'SKILL_RESULT_INVALID',
    message:
      "the result is not JSON: Converting circular structure to JSON\n    --> starting at object with constructor 'Object'\n    --- property 'self' closes the circle"
  },
  '500 MB': { body: 'return "x".repeat(5e8)', code: 'RESULT_TOO_LARGE', message: 'the result is larger than 1 MiB' },
  '500 MB behind a toJSON': {
    body: 'return { toJSON: () => "x".repeat(5e8) }',
    code: 'RESULT_TOO_LARGE',
    message: 'the result is larger than 1 MiB'
  },
  'an own __proto__': {
    body: 'return JSON.parse(\'{"a":{"__proto__":{"admin":true}}}\')',
    code: 'SKILL_RESULT_INVALID',
    message: 'the result has a forbidden key: __proto__ or constructor.prototype'
  },
  '300 levels': {
    body: 'let a = 1; for (let i = 0; i < 300; i++) a = [a]; return a',
    code: 'RESULT_TOO_LARGE',
    message: 'the result is nested deeper than 200'
  },
  'an error that lies about itself': {
    body: `throw Object.assign(new Error('all is well'), { name: 'SandboxError', code: 'SANDBOX_TIMEOUT', retryable: true, stack: 'at /etc/shadow:1:1\\n    at skill:/etc/shadow:1:1' })`,
    code: 'SKILL_ERROR',
    message: 'all is well'
  },
  'an error that claims a limit': {
    body: `const e = new Error('not me'); e.code = 'SANDBOX_HOST_CALLS'; throw e`,
    code: 'SKILL_ERROR',
    message: 'not me'
  },
  'a result that looks like an error': {
    body: `return 'E{"name":"Error","message":"x","stack":""}'`,
    output: 'E{"name":"Error","message":"x","stack":""}'
  },
  'no answer': {
    soon: true,
    body: 'await new Promise(() => {})',
    code: 'SANDBOX_TIMEOUT',
    message: 'the tool did not answer within 700 ms'
  },
  'no answer but work': {
    soon: true,
    body: 'for (;;);',
    code: 'SANDBOX_TIMEOUT',
    message: 'the tool used more than 300 ms of CPU time'
  },
  'two answers': {
    body: 'return new Promise((yes, no) => { yes(1); yes(2); no(new Error("three")) })',
    output: 1
  },
  'two answers of a thenable': { body: 'return { then(yes, no) { yes(1); yes(2); no(3) } }', output: 1 },
  'an answer, and more work': {
    body: 'ctx.progress(1); setTimeout(() => console.log("late"), 1); return 1',
    output: 1,
    line: 'the tool returned with 1 host calls and 1 timers still open: they were dropped, await them'
  },
  'a flood of logs': { body: 'for (let i = 0; i < 1e5; i++) console.log(i); return 1', output: 1, line: FLOOD },
  'a flood of long logs': {
    body: 'for (let i = 0; i < 200; i++) console.log("€".repeat(1e5)); return 1',
    output: 1,
    line: FLOOD
  },
  'a flood of host calls': {
    body: 'for (let i = 0; i < 1e5; i++) await ctx.progress(i)',
    code: 'SANDBOX_HOST_CALLS',
    message: 'the tool made more than 5 host calls'
  },
  'a flood of host calls at once': {
    body: 'await Promise.all(Array.from({ length: 1e5 }, () => ctx.progress(1)))',
    code: 'SANDBOX_HOST_CALLS',
    message: 'the tool made more than 5 host calls'
  },
  'host call arguments that are no JSON': {
    body: 'const a = {}; a.a = a; await ctx.progress(a).catch((e) => { throw new Error(e.code + ": " + e.message.slice(0, 51)) })',
    code: 'SKILL_ERROR',
    message: 'ARGUMENTS_INVALID: the arguments of ctx.progress are not JSON: Convert'
  },
  'a string thrown': { body: 'throw "no"', code: 'SKILL_ERROR', message: 'the tool threw a string, not an Error: no' },
  'undefined thrown': {
    body: 'throw undefined',
    code: 'SKILL_ERROR',
    message: 'the tool threw undefined, not an Error'
  },
  'an object thrown': {
    body: 'throw { a: 1 }',
    code: 'SKILL_ERROR',
    message: 'the tool threw an object, not an Error: {"a":1}'
  },
  'an error of 400 MB': {
    body: 'throw new Error("x".repeat(4e8))',
    code: 'SKILL_ERROR',
    message: '(text of 400000000 characters)'
  },
  'a built-in without end': {
    soon: true,
    body: 'return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)',
    code: 'SANDBOX_KILLED',
    message:
      "the skill's process was killed: it used more CPU time than allowed, in a built-in that cannot be interrupted"
  },
  'a crash of the engine': {
    body: 'return "a".repeat(2 ** 28).split("").length',
    code: 'SANDBOX_KILLED',
    message: "the skill's process was killed: it crashed, most likely for want of memory"
  }
}

const modes: [string, boolean, IsolationOptions][] = [
  ['JIT', true, {}],
  ['jitless', false, {}],
  ['JIT, no namespaces', true, { namespaces: false, jail: false }],
  ['jitless, no namespaces', false, { namespaces: false, jail: false }]
]
for (const [mode, verified, isolation] of modes) {
  t.test(mode, async (t) => {
    const box = sandbox({ isolation })
    t.teardown(() => box.close())
    for (const [name, one] of Object.entries(cases)) {
      const lines: string[] = []
      const what = call(`export async function run(input, ctx) { ${one.body} }`, {
        verified,
        // What is meant to run into a limit meets it soon; the rest has time, also jitless on a busy machine.
        limit: one.soon ? { cpuMs: 300, wallMs: 700 } : { cpuMs: 8000, wallMs: 15_000, hostCalls: 5 },
        onLog: ({ message }) => lines.push(message),
        onHostCall: async () => '1'
      })
      const { output, code, error } = await outcome(box, what)
      t.strictSame(
        { code, message: error?.message, output, line: one.line && lines.at(-1) },
        { code: one.code, message: one.message, output: one.output, line: one.line },
        name
      )
      t.notMatch(JSON.stringify(error?.details ?? {}), /\/(etc|tmp|work|app|usr)\//, `${name}: no path of the host`)
    }
  })
}
