import { createHash } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import t from 'tap'
import { run, type Surroundings } from '#clients/cli/program.ts'
import type { Call, HostCall, Recording } from '#clients/cli/replay/recording.ts'
import { openSandbox, replay } from '#clients/cli/replay/run.ts'
import { systemClock } from '#core/clock.ts'
import { Sandbox, SandboxError } from '#sandbox/index.ts'
import { sealOf } from '#skills-registry/tools/seal.ts'
import { runNode } from '#test/support/run-node.ts'

const SESSION = '01900000-0000-7000-8000-000000000001'
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

const SOURCE = `
let calls = 0
export async function look(input, ctx) {
  calls += 1
  const first = await ctx.storage.get(input.key)
  const [second, timer] = await Promise.all([
    ctx.storage.get('second'),
    new Promise((resolve) => setTimeout(() => resolve('rang'), 3))
  ])
  ctx.progress(0.5, 'half')
  const third = await ctx.storage.get(String(first.value)).catch((error) => error.code)
  return { calls, first, second, third, timer, draw: Math.random(), now: Date.now(), secrets: ctx.secrets }
}
export async function fail(input, ctx) {
  calls += 1
  await ctx.storage.get('gone')
}
`

/** As the server seals a record. */
const sealed = (call: Omit<Call, 'seal'>) =>
  sealOf({ ...call, effectKey: call.session.effectKey, hostCalls: 0, cpuMs: 0 })

/** A session as a server would have recorded it: made by a sandbox with JIT. */
async function record(): Promise<Recording> {
  const sandbox = new Sandbox({ clock: systemClock, spareCells: 0 })
  const calls: Call[] = []
  const call = async (step: string, tool: string, input: object, sessionId: string) => {
    const host: HostCall[] = []
    const session = { id: SESSION, tenantId: 'tenant', step, attempt: 1, effectKey: `${SESSION}/${step}` }
    const limits = { cpuMs: 1000, wallMs: 10_000, memoryMb: 64, hostCalls: 20 }
    const asked = {
      time: 1_700_000_000_000,
      seed: `${SESSION}:${step}`,
      capabilities: ['log', 'progress', 'storage.get']
    }
    const data = { secrets: ['TOKEN'] }
    const answer = (n: number, name: string, args: string) => {
      const [key] = JSON.parse(args)
      const ok = key !== 'gone'
      const text = JSON.stringify(
        ok ? { value: key === 'second' ? [1, 2] : 'gone', version: n } : { code: 'STORAGE_AWAY', message: 'away' }
      )
      const entry = { n, name, args, ok, answer: text, landed: host.length + 1 }
      host.push({ ...entry, digest: sha256(JSON.stringify([n, name, args, ok, text, entry.landed])) })
      if (!ok) throw Object.assign(new Error('away'), { code: 'STORAGE_AWAY' })
      return text
    }
    const request = {
      ...asked,
      tenantId: 'tenant',
      sessionId,
      skill: {
        digest: 'sha256:one',
        entry: 'dist/index.js',
        files: new Map([['dist/index.js', SOURCE]]),
        verified: true
      },
      export: tool,
      input: JSON.stringify(input),
      limits,
      session,
      data,
      onHostCall: async (name: string, args: string, n: number) =>
        name === 'progress' ? 'null' : answer(n, name, args)
    }
    const { usage, outcome } = await sandbox.run(request).then(
      ({ usage, output }) => ({ usage, outcome: { output: sha256(output), bytes: Buffer.byteLength(output) } }),
      (error: unknown) => {
        if (!(error instanceof SandboxError)) throw error
        return { usage: error.usage, outcome: { code: error.code, message: error.message, limit: false } }
      }
    )
    if (!usage) throw new Error('it never ran')
    const { generation, nth, wakes } = usage
    const heard = host.filter(({ n }) => wakes.includes(n)).sort((a, b) => a.n - b.n)
    const made = {
      key: `${SESSION}/${step}#1`,
      step,
      attempt: 1,
      digest: 'sha256:one',
      skill: '@test/one',
      version: '1.0.0',
      tool,
      input: request.input,
      session,
      data,
      ...asked,
      limits,
      generation,
      nth,
      wakes: [...wakes],
      hostDigest: heard.length === 0 ? null : sha256(heard.map(({ digest }) => digest).join('\n')),
      outcome,
      host: host.sort((a, b) => a.n - b.n)
    }
    calls.push({ ...made, seal: sealed(made) })
  }
  await call('first', 'look', { key: 'a' }, 'one')
  await call('second', 'look', { key: 'b' }, 'one')
  await call('third', 'fail', {}, 'one')
  await call('fourth', 'look', { key: 'c' }, 'another isolate')
  await sandbox.close()
  const skill = {
    digest: 'sha256:one',
    name: '@test/one',
    version: '1.0.0',
    entry: 'dist/index.js',
    files: { 'dist/index.js': SOURCE }
  }
  return { format: 1, sessionId: SESSION, complete: true, skills: [skill], calls }
}

let recording: Recording
const sandbox = openSandbox()
t.before(async () => {
  recording = await record()
})
t.teardown(() => sandbox.close())

/** The command, in this process. */
async function agentos(args: string[], env: Record<string, string> = {}) {
  const texts = { out: '', err: '' }
  const into = (name: 'out' | 'err') =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        texts[name] += String(chunk)
        done()
      }
    })
  const around = { env: { AGENTOS_HOME: '/nowhere', ...env }, stdout: into('out'), stderr: into('err') }
  const code = await run(args, { ...around, interrupted: new AbortController().signal } as unknown as Surroundings)
  return { code, ...texts }
}

/** What becomes of each call of a changed recording, as `result call: why`. */
async function verdicts(change: (copy: Recording) => void, wanted?: string, reseal = true): Promise<string[]> {
  const copy = structuredClone(recording)
  change(copy)
  if (reseal) for (const call of copy.calls) call.seal = sealed(call)
  const told: string[] = []
  for await (const { result, call, why = '' } of replay(sandbox, copy, {
    wanted,
    signal: new AbortController().signal
  })) {
    told.push(`${result} ${call}: ${why}`)
  }
  return told
}

/** Of one call, with another source. */
async function withSource(from: string, to: string, wanted: string): Promise<string | undefined> {
  const [first] = await verdicts(({ skills, calls }) => {
    const digest = `sha256:${sha256(to)}`
    Object.assign(at(skills, 0), { digest, files: { 'dist/index.js': SOURCE.replace(from, to) } })
    for (const call of calls) call.digest = digest
  }, wanted)
  return first
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index]
  if (found === undefined) throw new Error(`nothing at ${index}`)
  return found
}

t.test('what is unchanged is identical to the byte: module state, timers, failures and all', async (t) => {
  t.strictSame(await verdicts(() => {}), [
    'identical first#1: ',
    'identical second#1: ',
    'identical third#1: ',
    'identical fourth#1: '
  ])
})

t.test('one byte of a journaled answer is changed: that very host call is named', async (t) => {
  const file = join(t.testdir(), 'session.json')
  for (const index of [0, 1, 2]) {
    const copy = structuredClone(recording)
    const entry = at(at(copy.calls, 1).host, index)
    entry.answer = entry.answer.replace('a', 'b').replace('1', '2')
    const told = await verdicts((one) => Object.assign(one, copy), 'second#1')
    t.strictSame(told, [`changed second#1: host call ${entry.n} (storage.get) was changed after it was recorded`])
    await writeFile(file, JSON.stringify(copy))
  }
  // As it is typed, where no server is and no key.
  const program = runNode(t, 'clients/cli/agentos.js', ['replay', file], { AGENTOS_HOME: '/nowhere' })
  const { code } = await program.ended
  const out = program.stdout()
  t.match(
    out,
    /^identical first#1 \(@test\/one 1\.0\.0 look, 3 host calls, \d+ ms\)\nchanged {3}second#1: host call \d /
  )
  t.match(out, /\nskipped {3}third#1: an earlier call of its isolate was changed .*\nidentical fourth#1 /)
  t.match(out, /\n4 calls: 2 identical, 1 changed, 1 not comparable\nchanged: call second#1, host call \d .*\n$/)
  t.equal(code, 1)
})

t.test('an answer that was changed together with its digest is found by the record of its call', async (t) => {
  const [first] = await verdicts(({ calls }) => {
    const entry = at(at(calls, 0).host, 0)
    entry.answer = entry.answer.replace('gone', 'away')
    entry.digest = sha256(JSON.stringify([entry.n, entry.name, entry.args, entry.ok, entry.answer, entry.landed]))
  }, 'first#1')
  t.equal(first, 'changed first#1: its host calls are not those that were recorded with its outcome')
})

t.test('whatever else is changed in a call, it is named', async (t) => {
  const changes: ((call: Call) => unknown)[] = [
    (call) => Object.assign(call, { input: call.input.replace('b', 'B') }),
    (call) => call.wakes.push(-9),
    (call) => call.wakes.reverse(),
    (call) => Object.assign(call, { time: call.time + 1 }),
    (call) => Object.assign(call, { seed: `${call.seed}x` }),
    (call) => Object.assign(call, { tool: 'fail' }),
    (call) => Object.assign(call, { nth: 0 }),
    (call) => Object.assign(call, { generation: call.generation + 7 }),
    (call) => Object.assign(call, { data: { secrets: ['TOKEM'] } }),
    (call) => Object.assign(call, { outcome: { code: 'SANDBOX_TIMEOUT', message: 'late', limit: true } }),
    (call) => Object.assign(call.session, { attempt: 2 }),
    (call) => Object.assign(call.limits, { hostCalls: 21 }),
    (call) => call.capabilities.pop()
  ]
  for (const change of changes) {
    const told = await verdicts(({ calls }) => change(at(calls, 1)), 'second#1', false)
    t.strictSame(told, ['changed second#1: its input or its record was changed after it was recorded'], String(change))
  }
})

t.test('other code is named by the first thing that it does in another way', async (t) => {
  t.equal(
    await withSource("get('second')", "get('other')", 'first#1'),
    'diverged first#1: host call 2 storage.get: recorded args ["second"], now ["other"]'
  )
  t.match(
    await withSource('draw: Math.random()', 'draw: 1', 'first#1'),
    /^diverged first#1: output differs: recorded \d+ bytes, now \d+; now \{"calls":1,/
  )
  t.match(
    await withSource("get('gone')", "get('gone').catch(() => { throw new Error('mine') })", 'third#1'),
    /^diverged third#1: recorded SKILL_ERROR: .*away.*, now SKILL_ERROR: mine/
  )
  t.match(await withSource("ctx.storage.get('second')", "'none'", 'first#1'), /^diverged first#1: host call /)
  t.match(
    await withSource('return { calls', "await ctx.storage.get('x'); return { calls", 'first#1'),
    /^diverged first#1: /
  )
})

t.test('what a limit ended is not comparable, and neither is what stands on it', async (t) => {
  const told = await verdicts(({ calls }) => {
    at(calls, 0).outcome = { code: 'SANDBOX_TIMEOUT', message: 'late', limit: true }
    at(calls, 3).nth = 4
  })
  t.strictSame(told, [
    'skipped first#1: ended by SANDBOX_TIMEOUT',
    'skipped second#1: an earlier call of its isolate was ended by a limit',
    'skipped third#1: an earlier call of its isolate was ended by a limit',
    'skipped fourth#1: earlier calls of its isolate are not in the recording'
  ])
})

t.test('a call that had an end and now meets a limit went another way', async (t) => {
  t.match(
    await withSource(
      'calls += 1\n  const first',
      'const all = []; for (;;) all.push(new Array(1e6).fill(1.5))\n  const first',
      'first#1'
    ),
    /^diverged first#1: host call 1 storage.get: recorded, now it is not made, but SANDBOX_MEMORY: /
  )
  t.match(
    await withSource(
      'return { calls',
      'const all = []; for (;;) all.push(new Array(1e6).fill(1.5))\n  return { calls',
      'first#1'
    ),
    /^diverged first#1: recorded an output, now SANDBOX_MEMORY: /
  )
  t.match(
    await withSource('let calls = 0', 'let calls = 0 0', 'first#1'),
    /^diverged first#1: host call 1 storage.get: recorded, now it is not made, but SKILL_LOAD_FAILED: /
  )
})

t.test('a machine whose sandbox runs nothing has no verdict', async (t) => {
  const closed = openSandbox()
  await closed.close()
  const all = replay(closed, recording, { signal: new AbortController().signal })
  await t.rejects(all.next(), { message: new RegExp(`^${SESSION}/first#1: SANDBOX_CLOSED: `) })
})

t.test('a session without calls is not identical to anything', async (t) => {
  const file = join(t.testdir({ 'session.json': JSON.stringify({ ...recording, calls: [] }) }), 'session.json')
  t.match(await agentos(['replay', file]), {
    code: 1,
    out: '',
    err: /nothing to replay: .* before calls were recorded/
  })
})

t.test('a session comes from its server, and --save keeps it for when there is none', async (t) => {
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.url)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ ...recording, complete: false }))
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const env = { AGENTOS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, AGENTOS_TOKEN: 'x' }
  const file = join(t.testdir(), 'kept.json')
  const online = await agentos(['replay', SESSION, '--save', file, '--call', 'fourth#1', '--json'], env)
  server.close().closeAllConnections()
  t.match(JSON.parse(online.out), {
    ok: true,
    sessionId: SESSION,
    complete: false,
    identical: 1,
    first: null,
    calls: [{ call: 'fourth#1', result: 'identical' }]
  })
  t.equal(online.code, 0)
  t.strictSame(asked, [`/v1/sessions/${SESSION}/recording`])
  t.equal((await stat(file)).mode & 0o777, 0o600)

  t.match(await agentos(['replay', SESSION], env), { code: 4, err: /nothing answers/ })
  t.match(await agentos(['replay', file, '--save', 'x.json']), {
    code: 2,
    err: /--save keeps the recording of a session/
  })
  const none = await agentos(['replay', file, '--call', 'fifth#1'])
  t.match(none, { code: 2, err: /no call fifth#1; it has first#1, second#1/ })
})

t.test('a file that is no recording is 2 and one line', async (t) => {
  const cases: [string, RegExp][] = [
    ['nonsense', /is no JSON/],
    ['{}', /is no recording of format 1/],
    [JSON.stringify({ ...recording, calls: [{ key: 'x' }] }), /is broken at \/calls\/0/],
    [JSON.stringify({ ...recording, skills: [null] }), /is broken at \/skills\/0/],
    [JSON.stringify({ ...recording, calls: [{ ...recording.calls[0], host: [null] }] }), /is broken at \/calls\/0/]
  ]
  for (const [text, message] of cases) {
    const file = join(t.testdir({ 'session.json': text }), 'session.json')
    t.match(await agentos(['replay', file]), { code: 2, out: '', err: message })
  }
  t.match(await agentos(['replay', '/nowhere/session.json']), { code: 2, err: /cannot be read \(ENOENT\)/ })
})
