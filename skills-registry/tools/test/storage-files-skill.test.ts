import t from 'tap'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { type Draft, signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'

// ctx.storage and ctx.files as an author finds them, in real cells.
const r = await registryApp(t)
const acme = await r.makeTenant()
const author = createKey().key
const tool = { description: 'd', input: {}, output: {}, effect: 'none' }
let calls = 0

const code = `
  export const look = (input, ctx) => ({ storage: Object.keys(ctx.storage ?? {}), files: Object.keys(ctx.files ?? {}) })
  export async function keep(input, ctx) {
    const first = await ctx.storage.set('k', { b: 1, a: [null, 'é'] }, { ifVersion: 0 })
    const conflict = await ctx.storage.set('k', 2, { ifVersion: 7 }).catch((e) => e.code + ': ' + e.message)
    const denied = await ctx.storage.set('a\\u0000', 1).catch((e) => e.code)
    const held = await ctx.storage.get('k')
    await ctx.storage.set('../x', 'only a key')
    const { keys, next } = await ctx.storage.list()
    const removed = [await ctx.storage.delete('k', { ifVersion: held.version }), await ctx.storage.delete('k')]
    const few = await ctx.storage.list({ prefix: '..', limit: 1 })
    return { first, conflict, denied, held, keys: keys.map(({ key }) => key), next, removed, few: few.keys.length }
  }
  export async function count(input, ctx) {
    const held = await ctx.storage.get('count')
    await ctx.storage.set('count', (held?.value ?? 0) + 1)
    return held?.value ?? 0
  }
  export async function write(input, ctx) {
    const line = 'añ€😀 line\\n'
    await ctx.files.write('out/log.txt', '')
    for (let n = 0; n < 10; n++) await ctx.files.append('out/log.txt', line.repeat(6000))
    await ctx.files.write('bytes', new Uint8Array([0, 255, 128]))
    const text = await ctx.files.read('out/log.txt')
    const bytes = await ctx.files.readBytes('bytes')
    const { files } = await ctx.files.list('out/')
    return {
      whole: text === line.repeat(60000),
      piece: await ctx.files.read('out/log.txt', { offset: 0, length: 2 }),
      bytes: [...bytes],
      files: files.map(({ path }) => path),
      stat: (await ctx.files.stat('out/log.txt')).bytes,
      none: await ctx.files.stat('none'),
      missing: await ctx.files.read('none').catch((e) => e.code),
      notText: await ctx.files.read('bytes').catch((e) => e.code),
      escape: await ctx.files.read('../../etc/passwd').catch((e) => e.code),
      removed: [await ctx.files.delete('bytes'), await ctx.files.delete('bytes')]
    }
  }
`

async function installed(draft: Draft) {
  const tools = { look: tool, keep: tool, count: tool, write: tool }
  const { manifest, ...more } = draft
  const signed = signedSkill({ code, ...more, manifest: { tools, ...manifest } }, { author })
  const made = await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  if (made.status !== 201) throw new Error(JSON.stringify(made.body))
  const ref = `${draft.name}@${draft.version ?? '1.0.0'}`
  const { body } = await r.post(acme, '/v1/skills', { ref })
  const [pinned] = await r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, [ref]))
  return { id: String(body.id), pinned: pinned as PinnedSkill }
}

async function call(skill: PinnedSkill, name: string) {
  calls++
  const { output } = await r.tools.call({
    tenantId: acme.tenantId,
    sessionId: '01900000-0000-7000-8000-000000000001',
    skill,
    skills: [skill],
    tool: name,
    input: {},
    step: `s${calls}`,
    attempt: 1,
    effectKey: `session/s${calls}`,
    time: 1_700_000_000_000,
    seed: 'seed',
    signal: new AbortController().signal
  })
  return output
}

const both = { permissions: { storage: 'write', files: 'write' }, limits: { cpuMs: 5000 } }
const { id, pinned } = await installed({ name: '@acme/keeper', manifest: both })

t.test('ctx has what was granted', async (t) => {
  t.strictSame(await call(pinned, 'look'), {
    storage: ['get', 'list', 'set', 'delete'],
    files: ['read', 'readBytes', 'list', 'stat', 'write', 'append', 'delete']
  })
  const reader = await installed({
    name: '@acme/reader',
    manifest: { permissions: { storage: 'read', files: 'read' } }
  })
  t.strictSame(await call(reader.pinned, 'look'), {
    storage: ['get', 'list'],
    files: ['read', 'readBytes', 'list', 'stat']
  })
})

t.test('ctx.storage keeps, lists, deletes and says what is wrong', async (t) => {
  t.strictSame(await call(pinned, 'keep'), {
    first: { version: 1 },
    conflict: 'STORAGE_CONFLICT: expected version 7, found version 1',
    denied: 'ARGUMENTS_INVALID',
    held: { value: { b: 1, a: [null, 'é'] }, version: 1 },
    keys: ['../x', 'k'],
    next: null,
    removed: [true, false],
    few: 1
  })
})

t.test('versions of a skill share what it keeps, and it is there again after an uninstall', async (t) => {
  t.equal(await call(pinned, 'count'), 0)
  const next = await installed({ name: '@acme/keeper', version: '1.1.0', manifest: both })
  t.equal(await call(next.pinned, 'count'), 1)
  for (const install of [id, next.id])
    await r.app.inject({ method: 'DELETE', url: `/v1/skills/${install}`, headers: acme.headers })
  t.match(await r.get(acme, '/v1/storage/acme/keeper/value?key=count'), { status: 200, body: { value: 2 } })
  const { body } = await r.post(acme, '/v1/skills', { ref: '@acme/keeper@1.0.0' })
  t.ok(body.id)
  t.equal(await call(pinned, 'count'), 2)
})

t.test('ctx.files writes, appends and reads whole files, of any size', async (t) => {
  t.strictSame(await call(pinned, 'write'), {
    whole: true,
    piece: 'añ',
    bytes: [0, 255, 128],
    files: ['out/log.txt'],
    stat: 60_000 * 16,
    none: null,
    missing: 'FILES_NOT_FOUND',
    notText: 'FILES_NOT_TEXT',
    escape: 'ARGUMENTS_INVALID',
    removed: [true, false]
  })
})
