// Every class that kills, hangs or floods a process, one after the other and together, beside another tenant's calls.
import t from 'tap'
import type { SandboxCall } from '../index.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const TO = ['SANDBOX_TIMEOUT']
const KILL = ['SANDBOX_KILLED']
const MEM = ['SANDBOX_MEMORY', 'SANDBOX_KILLED']
const attacks: [string, string, string[]][] = [
  ['a loop', 'while (true);', TO],
  ['a loop after await', 'await null; while (true);', TO],
  ['a loop after a host call', 'await ctx.progress(1); while (true);', TO],
  ['a microtask loop', 'for (;;) await 0', TO],
  ['a loop that goes on after the result', '(async () => { for (;;) await 0 })(); return 1', TO],
  ['a promise that never settles', 'await new Promise(() => {})', TO],
  ['a regular expression', 'return /^(a+)+$/.test("a".repeat(40) + "b")', TO],
  [
    'a looping stack getter',
    'const e = new Error("x"); Object.defineProperty(e, "stack", { get() { while (true); } }); throw e',
    TO
  ],
  ['a looping prepareStackTrace', 'Error.prepareStackTrace = () => { while (true); }; throw new Error("x")', TO],
  ['a looping toJSON', 'return { toJSON() { while (true); } }', TO],
  ['a looping thenable', 'return { get then() { while (true); } }', TO],
  ['a looping error prototype', 'throw Object.create(new Proxy({}, { get() { while (true); } }))', TO],
  ['a split bomb', 'return "a".repeat(2 ** 28).split("").length', KILL],
  ['an endless indexOf', 'return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)', KILL],
  ['an endless includes', 'return [].includes.call({ length: 2 ** 53 - 1 }, 1)', KILL],
  ['a growing Map', 'const m = new Map(); for (let i = 0; ; i++) m.set(i, i)', [...MEM, ...TO]],
  ['growing arrays', 'const a = []; for (;;) a.push(new Array(1e4).fill(1))', [...MEM, ...TO]],
  [
    'growing strings',
    'let s = "xxxxxxxx"; const a = []; for (;;) a.push((s + a.length).repeat(1e5).toUpperCase())',
    [...MEM, ...TO]
  ],
  ['a bigint power', 'return String((3n ** (2n ** 26n)).toString().length)', [...KILL, ...TO, ...MEM, 'SKILL_ERROR']],
  ['typed arrays', 'const a = []; for (;;) a.push(new Uint8Array(1e7).fill(1))', ['SKILL_ERROR', ...MEM]],
  ['endless recursion', 'const f = () => f() + 1; return f()', ['SKILL_ERROR']]
]

const attack = (text: string, verified: boolean, more: Partial<SandboxCall> = {}) =>
  call(`export async function run(input, ctx) { ${text} }`, {
    tenantId: 'attacker',
    verified,
    limit: { cpuMs: 400, wallMs: 800 },
    onHostCall: async () => '1',
    ...more
  })

const victim = call('let n = 0; export const run = (i) => ({ n: ++n, echo: i })', {
  tenantId: 'victim',
  sessionId: 'victim'
})

for (const verified of [true, false]) {
  t.test(
    `${verified ? 'JIT' : 'jitless'}: each attack ends with its code, and the victim's isolate lives on`,
    async (t) => {
      let n = JSON.parse((await box.run(victim)).output).n
      for (const [name, text, codes] of attacks) {
        const [{ code, output }, { result }] = await Promise.all([
          outcome(box, attack(text, verified)),
          outcome(box, victim)
        ])
        t.ok(code !== undefined && codes.includes(code), `${name}: ${code} ${JSON.stringify(output)}`)
        t.equal(JSON.parse(result?.output ?? '{}').n, ++n, 'the same isolate of the victim counted on')
        t.equal((await outcome(box, attack('return "well"', verified))).output, 'well', 'the attacker is served again')
      }
    }
  )
}

t.test('all attacks at once hurt no other tenant, and no other call of the same tenant without need', async (t) => {
  let n = JSON.parse((await box.run(victim)).output).n
  const honest = call('export const run = (i) => i', {
    tenantId: 'attacker',
    input: '"honest"',
    limit: { wallMs: 20_000 }
  })
  const running = attacks.map(async ([name, text, codes]) => {
    const { code } = await outcome(
      box,
      attack(text, true, { sessionId: name, limits: { cpuMs: 400, wallMs: 3000, memoryMb: 64, hostCalls: 5 } })
    )
    // Together, an innocent attack may end with the cell that another one killed.
    t.ok([...codes, 'SANDBOX_KILLED', 'SANDBOX_MEMORY', 'SANDBOX_TIMEOUT'].includes(`${code}`), `${name}: ${code}`)
  })
  const bystanders = Array.from({ length: 8 }, () => outcome(box, honest))
  for (let i = 0; i < 20; i++) t.equal(JSON.parse((await box.run(victim)).output).n, ++n)
  await Promise.all(running)
  for (const { output, code } of await Promise.all(bystanders)) t.equal(output ?? code, 'honest')
  t.ok(box.status().counts.kills > 0)
})
