import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { z } from 'zod'
import { planTable } from '#config/plugins.ts'
import { buildApp } from '#core/app.ts'
import { systemClock } from '#core/clock.ts'
import { openDb } from '#core/db/index.ts'
import { createKernel, startKernel } from '#core/kernel.ts'
import { createLog } from '#core/log.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { definePlugin } from '#core/plugin.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { gatewayRoom } from '#core/ws/index.ts'
import pulse from '#plugins/pulse/index.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { fullDb } from './full-db.ts'

/** One tenant of the crowd. Whatever text it has holds its canary. */
export interface Member {
  tenantId: string
  canary: string
  key: string
  headers: { authorization: string }
  sessionIds: string[]
}

export const forced = ['throw', 'sql', 'cancel', 'timeout', 'abandon', 'savepoint'] as const

/** Routes that read the rows of the caller and come to grief in every way inside the transaction. */
const griefRoom = definePlugin({
  name: 'grief',
  needs: ['db'],
  register(app) {
    const config = { permission: 'authenticated' }
    app.get('/v1/grief/rows', { config }, (request) =>
      request.tenant(async (tx) => {
        const [tenants, keys, sessions] = await Promise.all([
          tx`select name from core.tenants`,
          tx`select name, tenant_id from core.api_key limit 50`,
          tx`select id, name, tenant_id from pulse.session order by id desc limit 20`
        ])
        return { tenants, keys, sessions }
      })
    )
    const schema = { params: z.object({ how: z.enum([...forced, 'terminate']) }) }
    app.get('/v1/grief/:how', { config, schema }, (request) => {
      const { how } = request.params
      return request.tenant(async (tx) => {
        const rows = await tx`select name from core.tenants`
        if (how === 'throw') throw new Error(`grief of ${rows[0]?.name}`)
        if (how === 'sql') await tx`select 1 / (select count(*) from core.tenants where name = 'nobody')`
        if (how === 'cancel') await tx`select pg_cancel_backend(pg_backend_pid()), pg_sleep(5)`
        if (how === 'timeout')
          await tx`select set_config('statement_timeout', '5', true)`.then(() => tx`select pg_sleep(5)`)
        if (how === 'terminate') await tx`select pg_terminate_backend(pg_backend_pid()), pg_sleep(5)`
        if (how === 'abandon') {
          // A query that nobody waits for, and another that is sent when the transaction is over.
          void tx`select name from core.tenants, pg_sleep(0.002)`.catch(() => {})
          void systemClock.sleep(3).then(() => tx`select set_config('agentos.tenant', '', false)`.catch(() => {}))
          throw new Error('abandoned')
        }
        await tx.savepoint((inner) => inner`select 1 / 0`).catch(() => {})
        return { rows, again: await tx`select name from core.tenants` }
      })
    })
  }
})

/** The server on four connections, with many tenants in it. */
export async function crowd(t: Test, size: number) {
  const base = await fullDb(t)
  const log = createLog({ level: 'error', destination: { write: () => {} } })
  const { tenantHmacKey } = base.secrets
  const db = await openDb({ appUrl: base.appUrl, systemUrl: base.systemUrl, tenantHmacKey, appPool: 4, systemPool: 3 })
  const kernel = createKernel({
    db,
    clock: systemClock,
    log,
    objects: new FileObjectStore({ dir: join(t.testdir(), 'objects') }),
    apiKeyPepper: base.secrets.apiKeyPepper,
    userTokenKey: base.secrets.userTokenKey,
    auditKeySeed: base.secrets.auditKeySeed,
    vaultKeys: vaultKeys(base.secrets.kek),
    hostId: randomUUID(),
    concurrency: 8
  })
  kernel.ports.provide('tools', hostTools({ echo: { run: (input) => input } }))
  const rooms = [{ room: gatewayRoom }, { room: pulse, options: { plans: planTable } }, { room: griefRoom }]
  const app = await buildApp({ kernel, rooms, kernelPorts: ['tools'] })
  await startKernel(kernel)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => kernel.shutdown.run('the test is over'))

  const members: Member[] = []
  for (let n = 0; n < size; n++) {
    const canary = `canary-${randomUUID().slice(0, 8)}`
    const tenant = await db.system((tx) => createTenant(tx, { name: canary, plan: 'pro', slug: canary }))
    const made = await db.tenant(tenant.id, (tx) => kernel.auth.createKey(tx, { name: `${canary} key`, scopes: ['*'] }))
    const key = made.key.reveal()
    members.push({ tenantId: tenant.id, canary, key, headers: { authorization: `Bearer ${key}` }, sessionIds: [] })
  }
  const { port } = app.server.address() as AddressInfo
  return { ...base, app, kernel, members, url: `ws://127.0.0.1:${port}/v1/ws`, admin: base.sql }
}
