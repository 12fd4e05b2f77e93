import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createAuth } from '#core/auth/auth.ts'
import { systemClock } from '#core/clock.ts'
import { deriveSecrets, loginUrl, openDb } from '#core/db/index.ts'
import { readPostmaster } from '#core/db/postmaster.ts'
import type { Pool } from '#core/db/types.ts'
import { createLog } from '#core/log.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { adminConnection } from './db.ts'

/** The embedded database of a running server, looked at from outside: as its operator could. */
export interface ServerHome {
  /** As superuser. */
  sql: Pool
  postmaster: number
  /** Another tenant, with an API key of all scopes. */
  makeTenant(): Promise<{ tenantId: string; key: string }>
}

/** @param home AGENTOS_HOME of a server that is ready */
export async function openHome(t: Pick<Test, 'teardown'>, home: string): Promise<ServerHome> {
  const { pid, port } = must(await readPostmaster(join(home, 'postgres', 'data')), 'a running postmaster')
  const password = await readFile(join(home, 'postgres', 'password'), 'utf8')
  const url = `postgres://postgres:${password.trim()}@127.0.0.1:${port}/agentos`
  const sql = adminConnection(url, 2)
  const secrets = deriveSecrets(new Secret((await readFile(join(home, 'secret'), 'utf8')).trim()))
  const db = await openDb({
    appUrl: loginUrl(url, 'agentos_app', secrets.appPassword),
    systemUrl: loginUrl(url, 'agentos_system', secrets.systemPassword),
    tenantHmacKey: secrets.tenantHmacKey,
    appPool: 2,
    systemPool: 2
  })
  t.teardown(async () => {
    await db.close()
    await sql.end({ timeout: 1 })
  })
  return {
    sql,
    postmaster: pid,
    async makeTenant() {
      const log = createLog({ level: 'silent' })
      const auth = createAuth({
        db,
        clock: systemClock,
        pepper: secrets.apiKeyPepper,
        userTokenKey: secrets.userTokenKey,
        log
      })
      const slug = `t-${randomBytes(6).toString('hex')}`
      const { id } = await db.system((tx) => createTenant(tx, { name: slug, slug, plan: 'pro' }))
      const { key } = await db.tenant(id, (tx) => auth.createKey(tx, { name: 'test', scopes: ['*'] }))
      return { tenantId: id, key: key.reveal() }
    }
  }
}
