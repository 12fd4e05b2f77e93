// The cell as a whole taken over: a script in its place speaks the protocol and lies.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Death } from '../supervisor/cell-owner.ts'
import { CellProcess } from '../supervisor/cell-process.ts'
import { buildImage } from '../supervisor/image.ts'
import { Job } from '../supervisor/job.ts'
import { bare, launch } from '../supervisor/launch.ts'
import { call, clock } from './support.ts'

const image = buildImage()
t.teardown(() => image.remove())

/** Runs one call on a cell whose answer to a call frame is `lie` (source; `id`, `send`, `raw`, `Kind` in scope). */
async function against(name: string, lie: string, onHostCall?: (name: string, args: string) => Promise<string>) {
  const file = `app/${name}.js`
  writeFileSync(
    join(image.dir, file),
    `import { Socket } from 'node:net'
    import { encodeFrame, FrameDecoder, Kind } from './wire/frames.js'
    const socket = new Socket({ fd: 3 })
    const raw = (bytes) => socket.write(Buffer.from(bytes))
    const send = (kind, id, head, tail) => socket.write(encodeFrame(kind, id, head, tail))
    const decoder = new FrameDecoder(1e8)
    socket.on('data', (chunk) => decoder.push(chunk, (frame) => {
      const { kind, id } = frame
      if (kind === Kind.hostResult) send(Kind.result, 1, { cpuMs: 0, isolate: 1, hostCalls: 0 }, frame.head.toString() + frame.tail.toString())
      if (kind === Kind.call) { ${lie} }
    }))
    socket.on('close', () => process.exit())
    send(Kind.ready, 0, {})`
  )
  const ready = Promise.withResolvers<void>()
  const death = Promise.withResolvers<Death>()
  let generation = 0
  const job = new Job(
    call('export const run = () => 1', { limit: { wallMs: 3000 }, ...(onHostCall ? { onHostCall } : {}) })
  )
  const owner = {
    clock,
    log: undefined,
    graceMs: 50,
    memoryMb: 300,
    namespaces: false,
    nextJobId: () => 1,
    nextGeneration: () => ++generation,
    ready: () => ready.resolve(),
    freed: () => undefined,
    gone: (_cell: CellProcess, _jobs: Job[], why: Death) => death.resolve(why)
  }
  const cell = new CellProcess(owner, 'jit', launch(image, bare, 'jit', file))
  await ready.promise
  cell.bind('tenant-a')
  cell.start(job)
  const answer = job.promise.then(
    (result) => result.output,
    (error) => error.code as string
  )
  return {
    cell,
    job,
    death: death.promise,
    answer,
    first: Promise.race([answer, death.promise.then((why) => why.reason)])
  }
}

const lies: [string, string][] = [
  ['an endless frame', 'raw([255, 255, 255, 255, 0])'],
  ['a frame shorter than its header', 'raw([0, 0, 0, 1, 0])'],
  ['a head longer than its frame', 'raw([0, 0, 0, 9, 17, 0, 0, 0, 1, 0, 0, 255, 255])'],
  ['an unknown kind', 'send(99, id, {})'],
  ['a head that is not JSON', "const f = encodeFrame(Kind.result, id, {}, ''); f[13] = 33; socket.write(f)"],
  ['numbers that are none', "send(Kind.result, id, { cpuMs: -1, isolate: 'x' }, '1')"],
  ['an unknown failure', "send(Kind.error, id, { cpuMs: 0, isolate: 0, code: 'ROOT', message: 'm' })"],
  ['a second ready', 'send(Kind.ready, id, {})'],
  ['a result of two megabytes', "send(Kind.result, id, { cpuMs: 0, isolate: 1 }, JSON.stringify('x'.repeat(2 ** 21)))"],
  ['an unknown log level', "send(Kind.log, id, { level: 'root' }, 'x')"],
  ['words about calls that are not its own', 'for (let i = 0; i < 2000; i++) send(Kind.log, 4000 + i, {}, "x")'],
  ['a log flood', "for (let i = 0; i < 5000; i++) send(Kind.log, id, { level: 'info' }, 'x')"],
  [
    'host calls beyond every limit',
    "for (let i = 0; i < 500; i++) send(Kind.hostCall, id, { n: i + 1, name: 'progress' }, '[]')"
  ],
  ['a megabyte on stderr', "process.stderr.write('x'.repeat(3e6))"],
  [
    'host calls that are not in order',
    "for (const n of [2, 1]) send(Kind.hostCall, id, { n, name: 'progress' }, '[]')"
  ],
  [
    'one host call beyond the limit, which its guest would have refused',
    "send(Kind.hostCall, id, { n: 21, name: 'progress' }, '[]')"
  ],
  ['a host call without a number', "send(Kind.hostCall, id, { n: 1.5, name: 'progress' }, '[]')"],
  ['an answer that nobody asked for', "send(Kind.result, id, { cpuMs: 0, isolate: 1, wakes: [1] }, '1')"],
  ['a timer beyond every limit', "send(Kind.result, id, { cpuMs: 0, isolate: 1, wakes: [-1001] }, '1')"],
  ['wakes that are none', "send(Kind.result, id, { cpuMs: 0, isolate: 1, wakes: [0] }, '1')"],
  ['wakes that are no list', "send(Kind.result, id, { cpuMs: 0, isolate: 1, wakes: 'x' }, '1')"],
  [
    'more wakes than a call can have',
    "send(Kind.result, id, { cpuMs: 0, isolate: 1, wakes: Array(1021).fill(-1) }, '1')"
  ],
  [
    'a divergence from nothing',
    "send(Kind.error, id, { cpuMs: 0, isolate: 1, code: 'SANDBOX_DIVERGED', message: 'm' })"
  ],
  ['its own end', 'process.exit(0)']
]
for (const [name, lie] of lies) {
  t.test(`a cell that sends ${name} is killed`, async (t) => {
    const { first, death, cell } = await against(name.replaceAll(' ', '-'), lie, () => new Promise(() => undefined))
    t.match(await first, /^(protocol|flood|crash)$/)
    await death
    t.equal(cell.state, 'dead')
  })
}

t.test('results with dangerous keys, no JSON or endless nesting are refused', async (t) => {
  const answers: [string, string][] = [
    ['{"__proto__":{"polluted":1}}', 'SKILL_RESULT_INVALID'],
    ['{"a":[{"constructor":{"prototype":{}}}]}', 'SKILL_RESULT_INVALID'],
    ['{"\\u005f_proto__":1}', 'SKILL_RESULT_INVALID'],
    ['not json', 'SKILL_RESULT_INVALID'],
    [`${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'RESULT_TOO_LARGE'],
    ['{"fine":1}', '{"fine":1}']
  ]
  for (const [index, [text, expected]] of answers.entries()) {
    const lie = `send(Kind.result, id, { cpuMs: 0, isolate: 1, hostCalls: 0 }, ${JSON.stringify(text)})`
    const { answer, cell } = await against(`result-${index}`, lie)
    t.equal(await answer, expected, text.slice(0, 60))
    cell.kill('close')
    await cell.exited
  }
})

t.test('no call is billed for more CPU than time went by', async (t) => {
  for (const [name, lie] of [
    ['result', "send(Kind.result, id, { cpuMs: 1e300, isolate: 1 }, '1')"],
    ['error', "send(Kind.error, id, { cpuMs: 1e300, isolate: 1, code: 'SKILL_ERROR', message: 'm' })"]
  ] as const) {
    const { answer, job, cell } = await against(`billed-${name}`, lie)
    await answer
    const usage = await job.promise.then(
      (result) => result.usage,
      (error) => error.usage
    )
    t.ok(usage.cpuMs <= usage.wallMs && usage.wallMs < 60_000, `${name}: ${usage.cpuMs} of ${usage.wallMs}`)
    cell.kill('close')
    await cell.exited
  }
})

t.test('a second answer changes nothing', async (t) => {
  const { answer, cell } = await against(
    'twice',
    "for (const text of ['1', '2']) send(Kind.result, id, { cpuMs: 0, isolate: 1, hostCalls: 0 }, text)"
  )
  t.equal(await answer, '1')
  t.equal(cell.state, 'ready')
  cell.kill('close')
  await cell.exited
})

t.test('a host call by a name that was not granted never reaches the host', async (t) => {
  const asked: string[] = []
  for (const name of ['secrets', 'log', '__proto__', 'toString']) {
    const lie = `send(Kind.hostCall, id, { n: 1, name: ${JSON.stringify(name)} }, '[]')`
    const { answer, cell } = await against(`denied-${name}`, lie, async (asking) => {
      asked.push(asking)
      return '1'
    })
    // The script answers with what it got: two JSON texts in a row, which is no JSON.
    t.equal(await answer, 'SKILL_RESULT_INVALID')
    cell.kill('close')
    await cell.exited
  }
  t.strictSame(asked, [])
})

t.test(
  'a cell that computes without a call is killed',
  {
    skip: process.platform !== 'linux' && 'needs /proc'
  },
  async (t) => {
    const lie = "send(Kind.result, id, { cpuMs: 0, isolate: 1 }, '1'); setTimeout(() => { for (;;); }, 50)"
    const { cell, death, answer } = await against('restless', lie)
    t.equal(await answer, '1')
    const polling = clock.every(50, () => cell.poll())
    t.teardown(() => polling.cancel())
    const hold = setInterval(() => undefined, 1000)
    t.teardown(() => clearInterval(hold))
    t.equal((await death).reason, 'restless')
  }
)

t.test(
  'a cell that starts a process is killed',
  {
    skip: process.platform !== 'linux' && 'needs /proc'
  },
  async (t) => {
    const lie = "import('node:child_process').then(({ spawn }) => spawn('sleep', ['60']))"
    const { cell, death, job } = await against('forked', lie)
    const polling = clock.every(50, () => cell.poll())
    t.teardown(() => polling.cancel())
    const why = await death
    t.equal(why.reason, 'forked')
    t.equal(job.attempts, 1)
  }
)

t.test('a silent cell is killed after deadline and grace', async (t) => {
  const { death, job } = await against('silent', '')
  const why = await death
  t.equal(why.reason, 'wallMs')
  t.equal(why.blame, job)
})
