import { createHmac } from 'node:crypto'
import t from 'tap'
import { hmacPads } from '#core/db/signature.ts'
import type { Pool } from '#core/db/types.ts'
import { adminConnection, testDb } from '#test/support/db.ts'
import { settingsSql, sign, unsigned } from '#test/support/signed.ts'
import { makeNotes, tenantA, tenantB } from './notes.ts'

const { db, sql, appUrl, secrets } = await testDb(t)
await makeNotes(sql)
for (const tenant of [tenantA, tenantB]) {
  await db.tenant(tenant, (tx) => tx`insert into lab.note (text) values (${tenant})`)
}
/** agentos_app with SQL of its own: what an injection has. */
const app = adminConnection(appUrl)
t.teardown(() => app.end({ timeout: 1 }))

const user = '018f0000-0000-7000-8000-0000000000aa'
const a = sign({ tenantId: tenantA, userId: user, claims: { role: 'viewer' } })
const b = sign({ tenantId: tenantB })
const read = 'select text from lab.note'

/** The notes that are seen after `statements` inside a transaction of tenant A, or the SQLSTATE. */
function after(...statements: string[]): Promise<unknown> {
  return afterOn(app, ...statements)
}

async function afterOn(login: Pool, ...statements: string[]): Promise<unknown> {
  const work = login.begin(async (tx) => {
    await tx.unsafe(settingsSql(a))
    for (const statement of statements) await tx.unsafe(statement)
    const rows = await tx.unsafe<{ text: string }[]>(read)
    return rows.map(({ text }) => text)
  })
  return work.catch((error) => error.code)
}

t.test('what the API process signed is taken, with user, claims and actor as they are', async (t) => {
  t.strictSame(await after(), [tenantA])
  const actor = { kind: 'user', id: 'ünï \'"\n', requestId: 'r-1', from: '::1' } as const
  const [row] = await db.tenant(
    { tenantId: tenantA, userId: 'ü:1', claims: { quoted: `it's "so"` }, actor },
    (tx) => tx`select core.tenant() as tenant, current_setting('request.jwt.claims')::jsonb as claims`
  )
  t.strictSame({ ...row }, { tenant: tenantA, claims: { tenant_id: tenantA, sub: 'ü:1', quoted: `it's "so"`, actor } })
})

// What an injection may try: [what, its statements]
const attacks: [string, ...string[]][] = [
  ['sets the tenant', settingsSql({ tenant: tenantB })],
  ['sets the tenant by SET', `set local agentos.tenant = '${tenantB}'`],
  ['sets the tenant for the session', settingsSql({ tenant: tenantB }, false)],
  ['sets the user', settingsSql({ user: '018f0000-0000-7000-8000-0000000000bb' })],
  ['empties the user', settingsSql({ user: '' })],
  ['sets the claims', settingsSql({ claims: a.claims.replace('viewer', 'owner') })],
  ['moves the line between user and claims', settingsSql({ user: '', claims: `${user}${a.claims}` })],
  ['moves octets from the user to the tenant', settingsSql({ tenant: `${tenantA}36:${user}`, user: '' })],
  ['has no signature', settingsSql({ signature: '' })],
  ['has garbage for a signature', settingsSql({ signature: `' or true --` })],
  ['signs without the key', settingsSql({ signature: createHmac('sha256', '').update('x').digest('hex') })],
  ['takes its signature in capitals', settingsSql({ signature: a.signature.toUpperCase() })],
  ["uses its own signature with another's settings", settingsSql({ ...b, signature: a.signature })],
  ["uses another's signature with its own settings", settingsSql({ signature: b.signature })],
  ['resets a setting', 'reset agentos.signature'],
  ['resets all', 'reset all'],
  ['becomes the owner', 'set local role agentos_owner'],
  ['becomes agentos_system', 'set local role agentos_system'],
  ['becomes authenticated', 'set local role authenticated'],
  ['becomes somebody by session authorization', 'set local session authorization agentos_system'],
  ['reads the key', 'select * from core.tenant_key'],
  ['changes the key', `update core.tenant_key set inner_pad = ''`],
  ['changes the check', `create or replace function core.tenant() returns uuid language sql as 'select null::uuid'`],
  ['turns the policies off', 'set local row_security = off'],
  ['is a replica', 'set local session_replication_role = replica']
]
for (const [what, ...statements] of attacks) {
  t.test(`agentos_app ${what}: no row at all`, async (t) => {
    t.equal(await after(...statements), '42501')
  })
}

t.test('what is no tenant is refused as such, rightly signed or not', async (t) => {
  const dashes = '018f000000000-7000-8000-0000-000000a1'
  for (const tenant of [
    'x'.repeat(36),
    `${'0'.repeat(36)}`,
    `{${tenantA.slice(0, 34)}}`,
    dashes,
    tenantA.replace('0', 'g')
  ]) {
    const signed = settingsSql(sign({ tenantId: tenant }))
    t.equal(await after(signed), '42501', tenant)
  }
  const garbage = settingsSql(sign({ tenantId: 'x'.repeat(36) }))
  t.equal(await after(garbage, `insert into lab.note (text) values ('x')`), '42501', 'nor is it a default')
})

t.test('functions and operators of others in the search_path are not what checks', async (t) => {
  // As if agentos_app could make them, which it cannot: everything in it says yes, or says B.
  await sql.unsafe(`
    create schema evil; grant usage on schema evil to public;
    create function evil.yes(text, text) returns boolean language sql immutable as 'select true';
    create operator evil.= (function = evil.yes, leftarg = text, rightarg = text);
    create function evil.yes(integer, integer) returns boolean language sql immutable as 'select true';
    create operator evil.= (function = evil.yes, leftarg = integer, rightarg = integer);
    create function evil.left(text, text) returns text language sql immutable as 'select $1';
    create operator evil.|| (function = evil.left, leftarg = text, rightarg = text);
    create function evil.sha256(bytea) returns bytea language sql immutable as $$ select ''::bytea $$;
    create function evil.encode(bytea, text) returns text language sql immutable as $$ select 'x' $$;
    create function evil.octet_length(text) returns integer language sql immutable as 'select 36';
    create function evil.current_setting(text, boolean) returns text language sql immutable as $$ select '${tenantB}' $$;
    create function evil.convert_to(text, name) returns bytea language sql immutable as $$ select ''::bytea $$;
    create table evil.tenant_key as select ''::bytea as inner_pad, ''::bytea as outer_pad;
    create domain evil.uuid as text; create domain evil.text as bytea;
    grant select on evil.tenant_key to public`)
  const path = 'set local search_path = evil, core, pg_catalog'
  t.strictSame(await after(path), [tenantA], 'the honest one is heard')
  const fresh = adminConnection(appUrl) // has compiled the check under no other path
  t.equal(await afterOn(fresh, path, settingsSql({ tenant: tenantB })), '42501')
  await fresh.end({ timeout: 1 })
  for (const [what, ...statements] of attacks.slice(0, 14)) t.equal(await after(path, ...statements), '42501', what)
  t.equal(await after(path, settingsSql({ tenant: tenantB, signature: 'x' })), '42501')
})

t.test('a savepoint that is rolled back takes a forged tenant with it, a committed one leaves nothing', async (t) => {
  t.strictSame(await after('savepoint s', settingsSql({ tenant: tenantB }), 'rollback to s'), [tenantA])
  await app.begin((tx) => tx.unsafe(settingsSql(a)))
  t.equal(await app.unsafe(read).catch((error) => error.code), '42501')
})

t.test('a default takes the unsigned tenant, and the policy of the same statement refuses it', async (t) => {
  const insert = (settings: string) =>
    app
      .begin((tx) => tx.unsafe(settings).then(() => tx.unsafe(`insert into lab.note (text) values ('forged')`)))
      .catch((error) => error.code)
  t.equal(await insert(settingsSql({ ...a, tenant: tenantB })), '42501')
  t.equal(await insert(settingsSql(unsigned)), '42501')
  t.equal((await sql`select 1 from lab.note where text = 'forged'`).length, 0)
})

t.test('the database makes HMAC-SHA256 as node:crypto does, and the key is nobody`s to read', async (t) => {
  const { inner, outer } = hmacPads(secrets.tenantHmacKey)
  const [row] = await sql<{ mac: string; stored: boolean }[]>`
    select encode(sha256(outer_pad || sha256(inner_pad || 'message')), 'hex') as mac,
      inner_pad = ${inner} and outer_pad = ${outer} as stored from core.tenant_key`
  const key = Buffer.from(secrets.tenantHmacKey.reveal(), 'base64url')
  t.equal(row?.mac, createHmac('sha256', key).update('message').digest('hex'))
  t.equal(row?.stored, true)
  const [acl] = await sql`
    select count(*)::int as others from pg_class c, aclexplode(relacl) g where c.oid = 'core.tenant_key'::regclass and grantee <> relowner`
  t.equal(acl?.others, 0)
})

t.test('a signature that is remembered is the one that would be made, however many there are', async (t) => {
  const first = sign({ tenantId: tenantA }).signature
  for (let n = 0; n < 2500; n++) sign({ tenantId: tenantA, userId: `u${n}` })
  t.equal(sign({ tenantId: tenantA }).signature, first)
  t.not(sign({ tenantId: tenantA, userId: 'u1' }).signature, sign({ tenantId: tenantA, userId: 'u2' }).signature)
})
