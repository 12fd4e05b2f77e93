import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ensureOwner } from '#config/first-run/owner.ts'
import { createTenant, TENANT_ZERO } from '#core/tenants/tenants.ts'
import { testApp } from '#test/support/app.ts'

async function database(t: Test) {
  const { db, auth, sql, app } = await testApp(t)
  return {
    kernel: { db, auth },
    owners: async () => (await sql`select 1 from core.member where tenant_id = ${TENANT_ZERO}`).length,
    keys: async () => (await sql`select 1 from core.api_key where tenant_id = ${TENANT_ZERO}`).length,
    whoami: async (key: string) =>
      (await app.inject({ url: '/v1/whoami', headers: { authorization: `Bearer ${key}` } })).statusCode
  }
}

t.test('the first boot makes the owner, later ones find the key, other hosts know that it is elsewhere', async (t) => {
  const { kernel, whoami, owners } = await database(t)
  const [home, other] = [t.testdir(), join(t.testdirName, 'other')]
  mkdirSync(other)
  const made = await ensureOwner(kernel, home, false)
  t.match(made, { status: 'created', file: join(home, 'owner.key') })
  const key = readFileSync(join(home, 'owner.key'), 'utf8').trim()
  t.equal(statSync(join(home, 'owner.key')).mode & 0o777, 0o600)
  t.equal(await whoami(key), 200)
  t.match(await ensureOwner(kernel, home, false), { status: 'kept', key })
  t.strictSame(await ensureOwner(kernel, other, false), { status: 'elsewhere' })
  t.equal(await owners(), 1)
})

t.test('a first boot that ended before the key was safe is finished by the next one', async (t) => {
  const { kernel, whoami, owners, keys } = await database(t)
  const home = t.testdir()
  // Where the key goes stands a folder: it cannot be written.
  mkdirSync(join(home, 'owner.key.new'))
  await t.rejects(ensureOwner(kernel, home, false), { code: 'CONFIG_OWNER_KEY_FILE', message: /EISDIR/ })
  t.strictSame([await owners(), await keys()], [0, 0])
  rmSync(join(home, 'owner.key.new'), { recursive: true })
  // The file of a boot that died between writing it and its commit.
  writeFileSync(join(home, 'owner.key'), 'ak_live_useless\n')
  const made = await ensureOwner(kernel, home, false)
  t.match(made, { status: 'created' })
  t.equal(await whoami(made.status === 'created' ? made.key : ''), 200)
})

t.test('two hosts that boot at once make one owner', async (t) => {
  const { kernel, owners, keys } = await database(t)
  const homes = ['a', 'b', 'c', 'd'].map((name) => join(t.testdir(), name))
  for (const home of homes) mkdirSync(home, { recursive: true })
  const made = await Promise.all(homes.map((home) => ensureOwner(kernel, home, false)))
  t.strictSame(made.map(({ status }) => status).sort(), ['created', 'elsewhere', 'elsewhere', 'elsewhere'])
  t.strictSame([await owners(), await keys()], [1, 1])
})

t.test('an embedded database whose key file was deleted gives its operator a new key', async (t) => {
  const { kernel, whoami } = await database(t)
  const home = t.testdir()
  await ensureOwner(kernel, home, true)
  rmSync(join(home, 'owner.key'))
  const made = await ensureOwner(kernel, home, true)
  t.match(made, { status: 'created' })
  t.equal(await whoami(readFileSync(join(home, 'owner.key'), 'utf8').trim()), 200)
})

t.test('a stranger who has the slug of Tenant Zero stops the boot', async (t) => {
  const { kernel } = await database(t)
  await kernel.db.system((tx) => createTenant(tx, { name: 'x', slug: 'zero', plan: 'pro' }))
  await t.rejects(ensureOwner(kernel, t.testdir(), false), { code: 'TENANT_SLUG_TAKEN' })
})
