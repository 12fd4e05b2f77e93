// ctx through the real sandbox, on a host that answers as the tools room does.
import t from 'tap'
import type { SandboxCall } from '../index.ts'
import { ALL, fakeHost, refusal } from './fake-host.ts'
import { call, outcome, sandbox } from './support.ts'

const box = sandbox()
t.teardown(() => box.close())

const body = (text: string) => `export async function run(input, ctx) { ${text} }`
async function run(text: string, more: Partial<SandboxCall> & { host?: ReturnType<typeof fakeHost> } = {}) {
  const { host = fakeHost(), ...rest } = more
  const what = call(body(text), { capabilities: ALL, ...rest, onHostCall: host.onHostCall })
  const { output, code, error } = await outcome(box, what)
  return { output: code ? `${code}: ${error?.message}` : output, asked: host.asked, error }
}
const TRY = 'const fails = async (f) => { try { return await f() } catch (e) { return [e.code, e.message] } };'

t.test('storage keeps values by version; a write that lost the race says so', async (t) => {
  const { output, asked } = await run(`${TRY}
    const none = await ctx.storage.get('seen')
    const first = await ctx.storage.set('seen', { n: [1, null, 'é'] }, { ifVersion: 0 })
    const lost = await fails(() => ctx.storage.set('seen', 2, { ifVersion: 0 }))
    const read = await ctx.storage.get('seen')
    await ctx.storage.set('other', null)
    return { none, first, lost, read, listed: await ctx.storage.list({ prefix: 's' }), all: (await ctx.storage.list()).keys.length,
      gone: [await ctx.storage.delete('seen', { ifVersion: 1 }), await ctx.storage.delete('seen')] }`)
  t.strictSame(output, {
    none: null,
    first: { version: 1 },
    lost: ['STORAGE_CONFLICT', 'seen has version 1'],
    read: { value: { n: [1, null, 'é'] }, version: 1 },
    listed: { keys: [{ key: 'seen', version: 1 }], next: null },
    all: 2,
    gone: [true, false]
  })
  t.strictSame(
    asked.map(({ name, args }) => [name, ...args]),
    [
      ['storage.get', 'seen'],
      ['storage.set', 'seen', { n: [1, null, 'é'] }, { ifVersion: 0 }],
      ['storage.set', 'seen', 2, { ifVersion: 0 }],
      ['storage.get', 'seen'],
      ['storage.set', 'other', null, {}],
      ['storage.list', { prefix: 's' }],
      ['storage.list', {}],
      ['storage.delete', 'seen', { ifVersion: 1 }],
      ['storage.delete', 'seen', {}]
    ]
  )
})

t.test('what would be lost in JSON is refused before it is stored', async (t) => {
  const { output, asked } = await run(`${TRY}
    const found = await ctx.storage.get('none')
    return [await fails(() => ctx.storage.set('a', undefined)), await fails(() => ctx.storage.set('a', 1, { ifVersion: found?.version })),
      await fails(() => ctx.storage.set('a', 1n)), await fails(() => ctx.files.write('a', { a: 1 })),
      await fails(() => ctx.storage.set('a', 'x'.repeat(300000)))]`)
  t.strictSame(output, [
    ['ARGUMENTS_INVALID', 'ctx.storage.set: the value is undefined; null is a value'],
    ['ARGUMENTS_INVALID', 'ctx.storage.set: ifVersion is undefined; 0 means that the key must not exist yet'],
    ['ARGUMENTS_INVALID', 'the arguments of ctx.storage.set are not JSON: Do not know how to serialize a BigInt'],
    ['ARGUMENTS_INVALID', 'ctx.files.write: the content is a string, a Uint8Array or an ArrayBuffer'],
    ['ARGUMENTS_TOO_LARGE', 'the arguments of ctx.storage.set are 256 KiB of JSON at most']
  ])
  t.equal(asked.length, 1, 'only the get reached the host')
})

t.test('files are text or bytes, and long ones are read to their end in pieces', async (t) => {
  const { output, asked } = await run(`${TRY}
    const bytes = new Uint8Array([0, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    const made = [await ctx.files.write('a.txt', 'one two three four'), await ctx.files.append('a.txt', '!'),
      await ctx.files.write('b.bin', bytes.subarray(1)), await ctx.files.append('b.bin', new DataView(bytes.buffer, 0, 1)), await ctx.files.write('c.bin', bytes.buffer)]
    const back = await ctx.files.readBytes('b.bin')
    return { made, text: await ctx.files.read('a.txt'), piece: await ctx.files.read('a.txt', { offset: 4, length: 3 }), back: [back instanceof Uint8Array, ...back],
      list: (await ctx.files.list('a')).files, all: (await ctx.files.list()).files.length, stat: await ctx.files.stat('c.bin'), none: await ctx.files.stat('x'),
      missing: await fails(() => ctx.files.read('x')), gone: await ctx.files.delete('a.txt') }`)
  t.match(output, {
    made: [{ bytes: 18 }, { bytes: 19 }, { bytes: 10 }, { bytes: 11 }, { bytes: 11 }],
    text: 'one two three four!',
    piece: 'two',
    back: [true, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0],
    list: [{ path: 'a.txt' }],
    all: 3,
    stat: { bytes: 11 },
    none: null,
    missing: ['FILES_NOT_FOUND', 'x is not there'],
    gone: true
  })
  const reads = asked
    .filter(({ name, args }) => name === 'files.read' && args[0] === 'a.txt')
    .map(({ args }) => args[1])
  t.strictSame(reads, [
    { as: 'text', offset: 0 },
    { as: 'text', offset: 8 },
    { as: 'text', offset: 16 },
    { as: 'text', offset: 4, length: 3 }
  ])
})

t.test('events, model, tools and progress hand over what they are given', async (t) => {
  const { output, asked } = await run(
    `
    ctx.progress(0.5, 'half')
    return [await ctx.events.publish('release.seen', { tag: 'v1' }), await ctx.model.run({ prompt: 'well?', maxTokens: 5 }),
      await ctx.tools.call('csv-profile.profile', { csv: 'a' }), await ctx.tools.call('a.b'), ctx.secrets, Object.isFrozen(ctx.secrets)]`,
    {
      data: { secrets: ['API_TOKEN'] }
    }
  )
  t.strictSame(output, [
    { event: 'skill.acme.release.seen' },
    { text: 'yes', model: 'small', usage: { inputTokens: 3, outputTokens: 1 } },
    { address: 'csv-profile.profile', input: { csv: 'a' } },
    { address: 'a.b', input: {} },
    ['API_TOKEN'],
    true
  ])
  t.strictSame(asked[0], { name: 'progress', args: [0.5, 'half'] })
})

t.test('ctx has what was granted, and a group without a grant is not there', async (t) => {
  const shape = `const seen = {}; for (const k of Reflect.ownKeys(ctx)) seen[k] = typeof ctx[k] === 'object' && ctx[k] !== null ? Object.keys(ctx[k]).sort().join(' ') : typeof ctx[k]; return seen`
  t.strictSame((await run(shape, { capabilities: [] })).output, {
    session: 'attempt effectKey id step tenantId',
    signal: 'onabort'
  })
  const readers = ['storage.get', 'storage.list', 'files.read', 'files.list', 'files.stat']
  t.strictSame((await run(shape, { capabilities: readers })).output, {
    storage: 'get list',
    files: 'list read readBytes stat',
    session: 'attempt effectKey id step tenantId',
    signal: 'onabort'
  })
  const { output } = await run(shape)
  t.match(output, {
    storage: 'delete get list set',
    files: 'append delete list read readBytes stat write',
    fetch: 'function'
  })
  t.match(
    (await run('return ctx.storage.set("a", 1)', { capabilities: readers })).output,
    /^SKILL_ERROR: ctx.storage.set is not/
  )
  const wrong = { ...call(body('return 1')), data: { storage: 1 }, capabilities: ['storage.get'] }
  await t.rejects(box.run(wrong), TypeError, 'data never stands where a capability does')
})

t.test('nothing of ctx can be changed, and a function of it that was kept works in no other call', async (t) => {
  const frozen = `const r = []; for (const f of [() => { ctx.storage.get = 1 }, () => { ctx.storage.set.call = 1 }, () => { ctx.fetch = 1 }, () => { ctx.secrets.push('X') }, () => { delete ctx.files }]) try { f(); r.push('changed') } catch (e) { r.push(e.name) } return r`
  t.strictSame((await run(frozen, { data: { secrets: [] } })).output, Array(5).fill('TypeError'))
  const source = `let kept; let answers = []
    export const run = async (input, ctx) => {
      if (input === 'keep') { kept = ctx; setTimeout(() => {}, 5); return typeof kept.storage.set }
      for (const f of [() => kept.storage.set('a', 1), () => kept.files.read('a'), () => kept.fetch('https://a.example')]) try { answers.push(await f()) } catch (e) { answers.push(e.code) }
      return answers
    }`
  const host = fakeHost()
  const what = call(source, { capabilities: ALL, onHostCall: host.onHostCall, input: '"keep"' })
  t.equal((await outcome(box, what)).output, 'function')
  const later = { ...what, capabilities: ['log'], input: '"use"' }
  t.strictSame((await outcome(box, later)).output, Array(3).fill('CAPABILITY_DENIED'), 'a later call with fewer grants')
  t.strictSame(host.asked, [])
  const after = call(
    `const late = []
     const linger = async (ctx) => { for (let i = 0; i < 50; i++) await 0; try { await ctx.storage.get('x') } catch (e) { late.push(e.code) } }
     export const run = (input, ctx) => { if (input === 1) linger(ctx); return late }`,
    { capabilities: ALL, onHostCall: host.onHostCall, input: '1' }
  )
  t.strictSame((await outcome(box, after)).output, [])
  t.strictSame((await outcome(box, { ...after, input: '2' })).output, ['CAPABILITY_DENIED'], 'used when none runs')
  t.strictSame(host.asked, [])
})

t.test('an error of a host call has its code, and the stack of the line that made the call', async (t) => {
  const host = fakeHost({
    'storage.get': () => {
      throw refusal('STORAGE_QUOTA', 'full')
    }
  })
  const source = `import { read } from './read.js'
export async function run(input, ctx) {
  await null
  return await read(ctx)
}`
  const files = {
    'dist/index.js': source,
    'dist/read.js': "export async function read(ctx) {\n  return ctx.storage.get('a')\n}"
  }
  for (const verified of [true, false]) {
    const what = call(files, { capabilities: ALL, onHostCall: host.onHostCall, verified })
    const { code, error } = await outcome(box, what)
    t.equal(code, 'SKILL_ERROR')
    t.equal(error?.message, 'full')
    t.equal(error?.details.stack, 'at read (dist/read.js:2:22)\nat run (dist/index.js:4:16)')
  }
  const { output } = await run(
    'try { await ctx.storage.set("a") } catch (e) { return [e instanceof TypeError, e.stack.split("\\n").length, e.stack] }'
  )
  t.match(output, [
    true,
    Number,
    /^TypeError: ctx.storage.set: the value is undefined[^\n]*\n {4}at run \(skill:\/dist\/index.js:1:/
  ])
})

t.test('a host that answers nonsense is a coded error, not a crash', async (t) => {
  for (const answer of [
    null,
    7,
    'x',
    [],
    {},
    { status: 'x', headers: 1, body: 2 },
    { status: 200, headers: [[1]], body: {} }
  ]) {
    const { output } = await run(
      'try { return await (await ctx.fetch("https://a.example")).text() } catch (e) { return e.code }',
      { host: fakeHost({ fetch: () => answer }) }
    )
    t.equal(output, 'HOST_CALL_FAILED', JSON.stringify(answer))
  }
  const { output } = await run(
    'try { return await ctx.files.read("a") } catch (e) { return [e.name, e.code ?? null] }',
    {
      host: fakeHost({ 'files.read': () => null })
    }
  )
  t.strictSame(output, ['Error', 'HOST_CALL_FAILED'])
})
