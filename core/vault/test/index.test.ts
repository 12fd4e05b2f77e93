import t from 'tap'
import { Ports } from '#core/ports/ports.ts'
import { Secret } from '#core/secret.ts'
import { testApp } from '#test/support/app.ts'

t.test(
  "rooms that send requests find the vault behind the port `secrets`, its checks are among the doctor's",
  async (t) => {
    const { app, db, makeTenant } = await testApp(t, { parts: () => ({ ports: new Ports() }) })
    const { tenantId } = await makeTenant()
    const value = await db.tenant(tenantId, async (tx) => {
      await app.vault.put(tx, 'TOKEN', new Secret('value'))
      await app.vault.grant(tx, 'TOKEN', { kind: 'skill', grantee: '@acme/weather' }, ['api.example.com'])
      const use = { skill: '@acme/weather', host: 'api.example.com' }
      return await app.ports.get('secrets').reveal(tx, 'TOKEN', use)
    })
    t.equal(value.reveal(), 'value')
    const checks = app.doctor.groups().flatMap((group) => group.checks)
    t.strictSame(
      checks.filter((name) => name.startsWith('vault.')),
      ['vault.keks', 'vault.rotation', 'vault.data_keys', 'vault.binding']
    )
  }
)
