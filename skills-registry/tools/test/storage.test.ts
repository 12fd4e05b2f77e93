import fc from 'fast-check'
import t from 'tap'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { createStorageCapability } from '#skills-registry/tools/capabilities/storage.ts'
import { Key, StorageOptions } from '#skills-registry/tools/capabilities/storage-options.ts'
import { type Ask, type Asker, asking } from './support/ask.ts'

const r = await registryApp(t)
const acme = await r.makeTenant()
const other = await r.makeTenant()
const defaults = StorageOptions.parse({})
const capability = createStorageCapability(defaults)
let skills = 0

/** As a skill that nobody else is. */
const fresh = (who: Partial<Asker> = {}, limits = capability) =>
  asking(r, limits, { tenantId: acme.tenantId, skill: `@acme/skill-${++skills}`, ...who })
const limited = (limits: Partial<StorageOptions>) => createStorageCapability({ ...defaults, ...limits })
const json = async (answer: Promise<string>) => JSON.parse(await answer)
const set = async (ask: Ask, key: string, value: unknown, options?: object) =>
  (await json(ask('storage.set', [key, value, ...(options ? [options] : [])]))).version as number
const get = async (ask: Ask, key: string) => await json(ask('storage.get', [key]))
const uses = async (skill: string, tenantId = acme.tenantId) => {
  const [row] = await r.sql`
    select u.keys, u.bytes::int, u.blocks, count(s.key)::int as "realKeys",
      coalesce(sum(s.bytes + octet_length(s.key)), 0)::int as "realBytes"
    from tools.storage_use u left join tools.storage s using (tenant_id, skill)
    where u.tenant_id = ${tenantId} and u.skill = ${skill} group by 1, 2, 3`
  return row
}

t.test('a grant gives its names', async (t) => {
  t.strictSame(capability.names({}), [])
  t.strictSame(capability.names({ storage: 'read' }), ['storage.get', 'storage.list'])
  t.strictSame(capability.names({ storage: 'write' }).sort(), Object.keys(capability.methods).sort())
})

t.test('what was set is got, with a version that only rises', async (t) => {
  const ask = await fresh()
  t.equal(await get(ask, 'a'), null)
  t.equal(await set(ask, 'a', { n: 1 }), 1)
  t.strictSame(await get(ask, 'a'), { value: { n: 1 }, version: 1 })
  t.equal(await set(ask, 'b', null), 2)
  t.strictSame(await get(ask, 'b'), { value: null, version: 2 })
  t.equal(await set(ask, 'a', 'again'), 3)
  t.equal(await ask('storage.delete', ['a']), 'true')
  t.equal(await ask('storage.delete', ['a']), 'false')
  t.equal(await get(ask, 'a'), null)
  t.equal(await set(ask, 'a', 'back', { ifVersion: 0 }), 4, 'a version does not come again')
})

t.test('values come back as the same text', async (t) => {
  const ask = await fresh()
  const texts = [
    '{"b":1,"a":2,"__x":1,"z":[]}',
    '{"1":0,"2":0,"b":1e+21,"a":1e-7,"":"\\u0000\\ud800\u2028"}',
    '"\\ud83d"',
    '[[[[[]]]],-1.5,true,null,""]',
    '0'
  ]
  for (const text of texts) {
    await ask('storage.set', `["k",${text}]`)
    const [row] = await r.sql`select value from tools.storage where skill = ${`@acme/skill-${skills}`}`
    t.equal(row?.value, text)
    t.match(await ask('storage.get', ['k']), `{"value":${text},`)
  }
  await fc.assert(
    fc.asyncProperty(fc.jsonValue({ maxDepth: 4 }), async (value) => {
      const text = JSON.stringify(value)
      const { version } = await json(ask('storage.set', `["k",${text}]`))
      t.equal(await ask('storage.get', ['k']), `{"value":${text},"version":${version}}`)
    }),
    { numRuns: 25 }
  )
})

t.test('what is no key or no value is refused where it stands', async (t) => {
  const ask = await fresh()
  const bad: [string, unknown[], RegExp][] = [
    ['storage.set', ['', 1], /\/0/],
    ['storage.set', ['x'.repeat(257), 1], /\/0/],
    ['storage.set', ['a\0b', 1], /\/0: contains a control/],
    ['storage.set', ['a\u202eb', 1], /\/0: contains a mark/],
    ['storage.set', ['e\u0301', 1], /\/0: is not in Unicode/],
    ['storage.get', [7], /\/0/],
    ['storage.get', ['a', 'b'], /storage.get/],
    ['storage.get', [], /storage.get/],
    ['storage.set', ['a'], /storage.set/],
    ['storage.set', ['a', 'x'.repeat(64 * 1024)], /\/1: has 65538 bytes as JSON, 65536 at most/],
    ['storage.set', ['a', 1, { ifVersion: -1 }], /\/2\/ifVersion/],
    ['storage.set', ['a', 1, { ifVersion: 1.5 }], /\/2\/ifVersion/],
    ['storage.set', ['a', 1, { ifversion: 1 }], /\/2\/ifversion: unknown key/],
    ['storage.delete', ['a', { ifVersion: 0 }], /\/1\/ifVersion/],
    ['storage.list', [{ limit: 501 }], /\/0\/limit/],
    ['storage.list', [{ prefix: '\0' }], /\/0\/prefix/],
    ['storage.list', [{ tenantId: other.tenantId }], /\/0\/tenantId: unknown key/]
  ]
  for (const [name, args, message] of bad) {
    await t.rejects(
      ask(name, args),
      { code: 'ARGUMENTS_INVALID', message },
      `${name} ${encodeURI(JSON.stringify(args).slice(0, 40))}`
    )
  }
  await t.rejects(ask('storage.set', '["\\ud800",1]'), { code: 'ARGUMENTS_INVALID', message: /lone surrogate/ })
  t.equal(await set(ask, 'x'.repeat(256), 'y'.repeat(64 * 1024 - 2)), 1, 'the largest of both')
  t.strictSame(await json(ask('storage.list', [null])), {
    keys: [{ key: 'x'.repeat(256), version: 1, bytes: 64 * 1024 }],
    next: null
  })
})

t.test('a key is text that is stored, or it is refused', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 256 }), (key) => {
      if (!Key.safeParse(key).success) return
      // Thrown and not a name of an assertion: TAP takes some of these characters for the end of a line.
      const fine = key.isWellFormed() && !key.includes('\0') && key === key.normalize('NFC') && !/\p{Bidi_C}/u.test(key)
      if (!fine) throw new Error(JSON.stringify(key))
    })
  )
  for (const key of ['../x', '/etc/passwd', '..%2f', 'C:\\x', 'a b', '👩‍👩‍👧', "'; drop", '{}', '.', '__proto__'])
    t.ok(Key.safeParse(key).success, key)
  t.end()
})

t.test('no key reaches out of its skill and its tenant', async (t) => {
  const names = ['@acme/victim', '@acme/thief', '@acme/victi']
  const victim = await fresh({ skill: '@acme/victim' })
  const stranger = await fresh({ tenantId: other.tenantId, skill: '@acme/victim' })
  const thief = await fresh({ skill: '@acme/thief' })
  await set(victim, 'secret', 'mine')
  await set(stranger, 'secret', "the other tenant's")
  const tricks = [
    'secret',
    '../victim/secret',
    '@acme/victim/secret',
    '..%2fvictim%2fsecret',
    '%2e%2e/victim/secret',
    '/@acme/victim/secret',
    `${acme.tenantId}/@acme/victim/secret`,
    `${other.tenantId}:@acme/victim:secret`,
    '．．/victim/secret',
    '%',
    '_ecret',
    "' or '1'='1"
  ]
  for (const key of tricks) {
    t.equal(await get(thief, key), null, key)
    await set(thief, key, 'planted')
  }
  for (const prefix of ['', '%', '../', '@acme/victim']) {
    const { keys } = await json(victim('storage.list', [{ prefix, limit: 500 }]))
    t.ok(
      keys.every(({ key }: { key: string }) => key === 'secret'),
      prefix
    )
  }
  t.equal((await get(victim, 'secret')).value, 'mine')
  t.equal((await get(stranger, 'secret')).value, "the other tenant's")
  for (const key of tricks) await thief('storage.delete', [key])
  t.equal((await get(victim, 'secret')).value, 'mine')
  const rows = await r.sql`
    select tenant_id, skill from tools.storage where skill = any(${names}::text[]) order by tenant_id = ${acme.tenantId}`
  t.strictSame(
    rows.map((row) => [row.tenant_id, row.skill]),
    [
      [other.tenantId, '@acme/victim'],
      [acme.tenantId, '@acme/victim']
    ]
  )
  const mine = await r.db.tenant(acme.tenantId, (tx) => tx`select distinct tenant_id from tools.storage`)
  t.strictSame(
    mine.map((row) => row.tenant_id),
    [acme.tenantId],
    'without a condition too'
  )
})

t.test('of twenty writers at once each version has one', async (t) => {
  const skill = '@acme/race'
  const askers = await Promise.all(Array.from({ length: 20 }, () => fresh({ skill })))
  const won: number[] = []
  let conflicts = 0
  await Promise.all(
    askers.map(async (ask, writer) => {
      for (let done = false; !done; ) {
        const held = await get(ask, 'n')
        const ifVersion = held?.version ?? 0
        const count = (held?.value.count ?? 0) + 1
        try {
          won.push(await set(ask, 'n', { count, writer }, { ifVersion }))
          done = true
        } catch (error) {
          t.match(error, { code: 'STORAGE_CONFLICT' })
          conflicts++
        }
      }
    })
  )
  t.equal((await get(await fresh({ skill }), 'n')).value.count, 20, 'no increment is lost')
  t.equal(new Set(won).size, 20)
  t.ok(conflicts > 0, 'they did meet')
  t.strictSame(await uses(skill), { ...(await uses(skill)), keys: 1, realKeys: 1 })
})

t.test('a conflict tells the version and nothing else', async (t) => {
  const ask = await fresh()
  await set(ask, 'k', 'hidden')
  const message = 'expected version 7, found version 1'
  await t.rejects(set(ask, 'k', 1, { ifVersion: 7 }), { code: 'STORAGE_CONFLICT', message })
  await t.rejects(set(ask, 'k', 1, { ifVersion: 0 }), { message: 'expected version 0, found version 1' })
  await t.rejects(set(ask, 'no', 1, { ifVersion: 3 }), { message: /found version 0: the key is not there/ })
  await t.rejects(ask('storage.delete', ['k', { ifVersion: 2 }]), { code: 'STORAGE_CONFLICT' })
  t.equal(await ask('storage.delete', ['k', { ifVersion: 1 }]), 'true')
})

t.test('the quota of a skill is exact, also at once', async (t) => {
  const skill = '@acme/quota'
  const few = limited({ keys: 5 })
  const askers = await Promise.all(Array.from({ length: 12 }, () => fresh({ skill }, few)))
  const made = await Promise.allSettled(askers.map((ask, i) => set(ask, `k${i}`, i)))
  const refused = made.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  t.equal(refused.length, 7)
  for (const error of refused) t.match(error, { code: 'STORAGE_QUOTA', message: /has 5 keys, 5 are allowed/ })
  t.match(await uses(skill), { keys: 5, realKeys: 5 })

  const small = '@acme/small'
  const ask = await fresh({ skill: small }, limited({ skillBytes: 100 }))
  await set(ask, 'a', 'x'.repeat(77)) // 1 + 79
  await t.rejects(set(ask, 'b', 'x'.repeat(18)), {
    code: 'STORAGE_QUOTA',
    message: /uses 80 of the 100 bytes that it may store, this write needs 21 more/
  })
  await set(ask, 'b', 'x'.repeat(17))
  t.match(await uses(small), { bytes: 100, realBytes: 100 })
  await set(ask, 'a', 'shorter')
  t.equal(await ask('storage.delete', ['b']), 'true')
  t.match(await uses(small), { keys: 1, realKeys: 1, bytes: 10, realBytes: 10, blocks: 1 })

  const lowered = await fresh({ skill: small }, limited({ skillBytes: 5 }))
  await set(lowered, 'a', 'short')
  await t.rejects(set(lowered, 'a', 'longer'), { code: 'STORAGE_QUOTA' }, 'less is always allowed, more is not')
})

t.test('the total of a tenant is exact among its skills, also at once', async (t) => {
  const tenant = await r.makeTenant({ plan: 'free' })
  const tight = limited({ tenantBytes: { free: 1024 * 1024, pro: 1 } }) // four blocks
  const askers = await Promise.all(
    Array.from({ length: 9 }, (_, i) => fresh({ tenantId: tenant.tenantId, skill: `@acme/total-${i}` }, tight))
  )
  const made = await Promise.allSettled(askers.map((ask) => set(ask, 'k', 1)))
  const refused = made.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
  t.equal(refused.length, 5)
  for (const error of refused) {
    t.match(error, { code: 'STORAGE_QUOTA', message: /other skills use 1048576 of the 1048576 bytes/ })
  }
  const first = made.findIndex(({ status }) => status === 'fulfilled')
  const last = made.findIndex(({ status }) => status === 'rejected')
  await askers[first]?.('storage.delete', ['k'])
  t.equal(await set(askers[last] as Ask, 'k', 1), 1, 'what is given back is free')
  const [row] =
    await r.sql`select sum(blocks)::int as blocks from tools.storage_use where tenant_id = ${tenant.tenantId}`
  t.equal(row?.blocks, 4)
})

t.test('pages go by the bytes of the keys', async (t) => {
  const ask = await fresh()
  const keys = ['é', 'z', 'Z', 'a', 'aa', 'ab', 'a/b', 'a%', 'a_', '\u{ffe0}', '\u{1f600}', 'ä', '日本', ' ']
  for (const key of keys) await set(ask, key, 1)
  const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const all: string[] = []
  for (let after = ''; ; ) {
    const page = await json(ask('storage.list', [{ after, limit: 3 }]))
    t.ok(page.keys.length <= 3)
    all.push(...page.keys.map(({ key }: { key: string }) => key))
    if (page.next === null) break
    t.equal(page.next, all.at(-1))
    after = page.next
  }
  t.strictSame(all, sorted)
  const withPrefix = async (prefix: string) =>
    (await json(ask('storage.list', [{ prefix }]))).keys.map(({ key }: { key: string }) => key)
  t.strictSame(await withPrefix('a'), ['a', 'a%', 'a/b', 'a_', 'aa', 'ab'])
  t.strictSame(await withPrefix('a%'), ['a%'], 'no pattern')
  t.strictSame(await withPrefix('\u{1f600}'), ['\u{1f600}'])
})

t.test('writes and deletes are audited, without the value', async (t) => {
  const ask = await fresh({ skillId: 'audited' })
  await set(ask, 'k', 'the hidden value')
  await t.rejects(set(ask, 'k', 1, { ifVersion: 9 }))
  await get(ask, 'k')
  await ask('storage.delete', ['k'])
  await ask('storage.delete', ['k'])
  const rows = await r.sql`
    select action, actor_id as actor, details from audit.entry where subject = 'skill:audited' order by id`
  const skill = `@acme/skill-${skills}`
  t.strictSame(
    rows.map((row) => ({ ...row })),
    [
      { action: 'tool.storage_written', actor: skill, details: { skill, key: 'k', bytes: 18, version: 1 } },
      { action: 'tool.storage_deleted', actor: skill, details: { skill, key: 'k' } }
    ]
  )
})

t.test('the tenant sees and deletes what its skills keep', async (t) => {
  const who = await r.makeTenant({ plan: 'free' })
  const send = async (method: 'GET' | 'DELETE', url: string, headers: object = who.headers) => {
    const { statusCode, body } = await r.app.inject({ method, url, headers: { ...headers } })
    return { status: statusCode, body: body === '' ? null : JSON.parse(body) }
  }
  for (const skill of ['@acme/a', '@acme/b']) {
    const ask = await fresh({ tenantId: who.tenantId, skill })
    for (const key of ['k/1', 'k 2', 'é']) await set(ask, key, { of: skill, key })
  }
  const total = { bytes: 2 * 256 * 1024, limit: 64 * 1024 * 1024 }
  const first = await send('GET', '/v1/storage?limit=1')
  t.match(first, { status: 200, body: { data: [{ skill: '@acme/a', keys: 3 }], total } })
  const next = await send('GET', `/v1/storage?limit=1&cursor=${first.body.nextCursor}`)
  t.match(next, { status: 200, body: { data: [{ skill: '@acme/b' }], nextCursor: null } })

  const page = await send('GET', '/v1/storage/acme/a?limit=2')
  t.match(page.body, {
    data: [
      { key: 'k 2', version: 2 },
      { key: 'k/1', version: 1 }
    ],
    used: { keys: 3 }
  })
  t.match(page.body.limits, { keys: 10_000, bytes: 16 * 1024 * 1024, valueBytes: 64 * 1024 })
  const rest = await send('GET', `/v1/storage/acme/a?limit=2&cursor=${page.body.nextCursor}`)
  t.match(rest.body, { data: [{ key: 'é' }], nextCursor: null })
  t.match((await send('GET', '/v1/storage/acme/a?prefix=k%2F')).body.data, [{ key: 'k/1' }])
  t.match(await send('GET', '/v1/storage/acme/a/value?key=k%2F1'), {
    status: 200,
    body: { key: 'k/1', version: 1, value: { of: '@acme/a', key: 'k/1' } }
  })

  for (const url of [
    '/v1/storage/acme/c',
    '/v1/storage/acme/a/value?key=no',
    '/v1/storage/ACME/a',
    '/v1/storage/acme/a%2Fb'
  ])
    t.match(await send('GET', url), { status: 404 }, url)
  t.match(await send('GET', '/v1/storage/acme/a', other.headers), { status: 404 }, 'it is nobody else’s')
  const odd = ['?cursor=x', `?cursor=${first.body.nextCursor}`, `?cursor=${'A'.repeat(40)}`]
  for (const query of odd)
    t.match(await send('GET', `/v1/storage/acme/a${query}`), { body: { code: 'REQUEST_CURSOR_INVALID' } }, query)
  t.equal((await send('GET', '/v1/storage/acme/a/value')).status, 400)

  t.equal((await send('DELETE', '/v1/storage/acme/a/value?key=k%2F1')).status, 204)
  t.equal((await send('DELETE', '/v1/storage/acme/a/value?key=k%2F1')).status, 404)
  t.match(await send('DELETE', '/v1/storage/acme/a'), { status: 200, body: { keys: 2 } })
  t.match(await send('GET', '/v1/storage/acme/a'), { status: 200, body: { data: [], used: { keys: 0, bytes: 0 } } })
  t.match((await send('GET', '/v1/storage')).body, { data: [{ skill: '@acme/b' }], total: { bytes: 256 * 1024 } })
  t.equal(await set(await fresh({ tenantId: who.tenantId, skill: '@acme/a' }), 'k/1', 1, { ifVersion: 0 }), 4)

  const weak = await r.makeKey(who.tenantId, ['storage:read'])
  t.equal((await send('DELETE', '/v1/storage/acme/b', { authorization: weak.authorization })).status, 403)
  const rows = await r.sql`
    select action, details from audit.entry where subject = 'skill:@acme/a' and tenant_id = ${who.tenantId} order by id`
  t.match(rows, [
    { action: 'tool.storage_deleted', details: { key: 'k/1', version: 1 } },
    { action: 'tool.storage_cleared', details: { skill: '@acme/a', keys: 2 } }
  ])
})
