import { randomBytes } from 'node:crypto'
import t from 'tap'
import { Doctor } from '#core/doctor/doctor.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { addVaultChecks } from '#core/vault/doctor.ts'
import { type KeyWrapper, LocalKeys, vaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { testApp } from '#test/support/app.ts'

const server = await testApp(t)
const { app, db, sql, clock, log, secrets } = server

async function linesOf(vault: Vault): Promise<Record<string, [boolean | 'unknown', string]>> {
  const doctor = new Doctor({ clock })
  addVaultChecks(doctor, db, vault)
  const { checks } = must(await doctor.run('tenancy'), 'a report')
  return Object.fromEntries(checks.map(({ name, ok, detail }) => [name, [ok, detail]]))
}

function vaultOn(wrapper: KeyWrapper): Vault {
  return new Vault({ db, clock, log, keys: { ...vaultKeys(secrets.kek), wrapper } })
}

t.test('without a secret there is nothing to unwrap; with some, every line is green', async (t) => {
  t.match(await linesOf(app.vault), { 'vault.data_keys': ['unknown', /no tenant/] })
  for (let n = 0; n < 3; n++) {
    const { tenantId } = await server.makeTenant()
    await db.tenant(tenantId, (tx) => app.vault.put(tx, 'TOKEN', new Secret('value')))
  }
  t.strictSame(await linesOf(app.vault), {
    'vault.keks': [true, 'configured: 1'],
    'vault.rotation': [true, 'version 1; older ones may leave VAULT_KEKS'],
    'vault.data_keys': [true, '3 data keys'],
    'vault.binding': [true, 'version 1 binds the tenant']
  })
})

t.test('a version that is in use and not configured is a red line, and so are its data keys', async (t) => {
  const other = new Secret(randomBytes(32).toString('base64'))
  t.match(await linesOf(vaultOn(new LocalKeys([[2, other]]))), {
    'vault.keks': [false, /version 1 \(3 data keys\)/],
    'vault.rotation': [false, '3 data keys wait for version 2'],
    'vault.data_keys': [false, /^3 of 3 do not unwrap/]
  })
})

t.test('a rotation that is not done is a red line until it is', async (t) => {
  const list = new Secret(`2:${randomBytes(32).toString('base64')},1:derived`)
  const vault = new Vault({ db, clock, log, keys: vaultKeys(secrets.kek, list) })
  t.match(await linesOf(vault), { 'vault.keks': [true], 'vault.rotation': [false, /3 data keys wait/] })
  await vault.rotation.run()
  t.match(await linesOf(vault), { 'vault.keks': [true], 'vault.rotation': [true], 'vault.data_keys': [true] })
  t.match(await linesOf(app.vault), { 'vault.keks': [false, /version 2/] }, 'a host without the new key says so')
})

t.test('a damaged data key is a red line that names its tenant', async (t) => {
  const { tenantId } = await server.makeTenant()
  const list = vaultOn(new LocalKeys([[2, new Secret(randomBytes(32).toString('base64'))]]))
  await sql`delete from vault.data_key`
  await db.tenant(tenantId, (tx) => list.put(tx, 'TOKEN', new Secret('value')))
  t.match(await linesOf(list), { 'vault.data_keys': [true, '1 data keys'] })
  await sql`update vault.data_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)`
  t.match(await linesOf(list), { 'vault.data_keys': [false, new RegExp(`${tenantId}/1 \\(version 2\\)`)] })
})

t.test('a key wrapper that does not bind the tenant is a red line', async (t) => {
  const loose: KeyWrapper = {
    current: 1,
    versions: new Set([1]),
    wrap: async (_tenantId, dataKey) => Buffer.from(dataKey),
    unwrap: async (_tenantId, wrapped) => Buffer.from(wrapped)
  }
  t.match(await linesOf(vaultOn(loose)), { 'vault.binding': [false, 'it unwrapped'] })
})
