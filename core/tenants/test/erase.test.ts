import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { silentLog } from '#core/db/index.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { eraseDue } from '#core/tenants/erasure/erase.ts'
import { childrenFirst, notErased, stepsOf } from '#core/tenants/erasure/order.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { readCatalogue } from '#test/tenancy/support/catalogue.ts'
import { fullDb, superSession } from '#test/tenancy/support/full-db.ts'
import { overrides } from '#test/tenancy/support/overrides.ts'
import { seed, tenantA, tenantB } from '#test/tenancy/support/seed.ts'

/** Two tenants with rows in every table and an object each; the first one's grace time is over. */
async function condemned(t: Test) {
  const base = await fullDb(t)
  const { db, url, secrets } = base
  const session = await superSession(t, url)
  const catalogue = await readCatalogue(session)
  t.strictSame((await seed(session, catalogue)).missing, [])
  const tables = catalogue.flatMap(({ name, columns }) => {
    if (columns.some((column) => column.name === 'tenant_id')) return [{ name, tenant: 'tenant_id::text' }]
    return name === 'pgboss.job_common' ? [{ name, tenant: `data ->> 'tenantId'` }] : []
  })
  const dir = t.testdir()
  const objects = new FileObjectStore({ dir })
  for (const tenant of [tenantA, tenantB]) await objects.put(tenant, Buffer.from('the same bytes'))
  const condemn = (suspendedFor = '1 minute', dueFor = '61 seconds') =>
    session.unsafe(`update core.tenants set erase_at = now() - interval '${dueFor}', erase_by = 'owner', suspended_by = 'deletion',
      suspended_at = now() - interval '${suspendedFor}' where tenant_id = '${tenantA}'`)
  const vault = new Vault({ db, clock: systemClock, log: silentLog as never, keys: vaultKeys(secrets.kek) })
  return {
    ...base,
    session,
    tables,
    objects,
    dir,
    condemn,
    parts: { db, log: silentLog, objects, vault },
    /** Tables that still have rows of the tenant, but for what others may read. */
    async left(tenantId: string): Promise<string[]> {
      const found: string[] = []
      for (const { name, tenant } of tables) {
        const readable = overrides[name]?.readable ?? 'false'
        const rows = await session.unsafe(`select 1 from ${name} where ${tenant} = '${tenantId}' and not (${readable})`)
        if (rows.length > 0) found.push(name)
      }
      return found
    },
    async bytesOf(tenantId: string): Promise<Record<string, string>> {
      const bytes: Record<string, string> = {}
      for (const { name, tenant } of tables) {
        const [row] = await session.unsafe(
          `select coalesce(string_agg(x::text, e'\\n' order by x::text), '') as rows from ${name} x where ${tenant} = '${tenantId}'`
        )
        bytes[name] = row?.rows
      }
      return bytes
    }
  }
}

t.test('of an erased tenant stays a tombstone and what others read; other tenants are as they were', async (t) => {
  const { parts, session, left, bytesOf, condemn, objects, tables } = await condemned(t)
  const before = await bytesOf(tenantB)
  t.equal(await eraseDue(parts), 0, 'nobody is condemned')
  await condemn('1 second')
  t.equal(await eraseDue(parts), 0, 'something of it may still run')
  await condemn('1 minute', '50 seconds')
  t.equal(await eraseDue(parts), 0, 'a restore that began before the end of its time may still commit')
  t.strictSame(
    (await left(tenantA)).length,
    tables.filter(({ name }) => (overrides[name]?.readable ?? '') !== 'true').length
  )
  await condemn()
  t.equal(await eraseDue(parts), 1)
  t.strictSame(await left(tenantA), Object.keys(notErased))
  t.strictSame(await bytesOf(tenantB), before, 'byte by byte')
  const [tombstone] = await session.unsafe(`select * from core.tenants where tenant_id = '${tenantA}'`)
  t.match(tombstone, { name: 'erased', slug: `erased-${tenantA.replaceAll('-', '')}`, settings: {}, erased_at: Date })
  const kept = await session.unsafe(`select visibility from registry.skill where tenant_id = '${tenantA}'`)
  t.strictSame(
    [...kept].map((row) => row.visibility),
    ['public']
  )
  const scopes = async (tenant: string) => (await Array.fromAsync(objects.list(tenant))).length
  t.strictSame([await scopes(tenantA), await scopes(tenantB)], [0, 1])
  const [noted] = await session.unsafe(`select subject, details from audit.entry where tenant_id = '${TENANT_ZERO}'`)
  t.match(noted, { subject: `tenant:${tenantA}`, details: { objects: 1 } })
  t.equal(await eraseDue(parts), 0, 'once')
})

t.test('a sweep that is killed after any kind of step is finished by the next one', async (t) => {
  const { parts, left, bytesOf, condemn, db, appUrl, systemUrl, dir, session } = await condemned(t)
  const before = await bytesOf(tenantB)
  await condemn()
  const steps = (await db.system(stepsOf)).map(({ table }) => table)
  const middle = steps[Math.floor(steps.length / 2)] ?? ''
  for (const step of ['vault', middle, 'objects']) {
    const script = fileURLToPath(new URL('erase-child.ts', import.meta.url))
    const child = spawn(process.execPath, [script, appUrl, systemUrl, dir, tenantA, step], { stdio: 'inherit' })
    const [, signal] = await once(child, 'exit')
    t.equal(signal, 'SIGKILL', `died after ${step}`)
    const [row] = await session.unsafe(`select erased_at from core.tenants where tenant_id = '${tenantA}'`)
    t.equal(row?.erased_at, null)
    if (step === 'vault') {
      t.equal(
        (await session.unsafe(`select 1 from vault.secret where tenant_id = '${tenantA}'`)).length,
        0,
        'secrets first'
      )
    }
  }
  t.equal(await eraseDue(parts), 1)
  t.strictSame(await left(tenantA), Object.keys(notErased))
  t.strictSame(await bytesOf(tenantB), before)
})

t.test('every table that others read says what of it outlives its tenant', async (t) => {
  const { session } = await condemned(t)
  const silent = await session.unsafe(`
    select polrelid::regclass::text as name from pg_policy p where polname = 'own_or_readable'
      and not exists (select from pg_policy k where k.polrelid = p.polrelid and k.polname = 'erase_keeps')`)
  t.strictSame([...silent], [], 'core.erase_keeps')
})

t.test('children go before their parents, and a circle is no order', async (t) => {
  const rows = [
    { table: 'a', parents: [] },
    { table: 'b', parents: ['a', 'c'] },
    { table: 'c', parents: ['a'] }
  ]
  t.strictSame(childrenFirst(rows), ['b', 'c', 'a'])
  t.throws(
    () =>
      childrenFirst([
        { table: 'x', parents: ['y'] },
        { table: 'y', parents: ['x'] }
      ]),
    /circle: x -> y -> x/
  )
})
