import type { Test } from 'tap'
import { planTable } from '#config/plugins.ts'
import type { Role } from '#core/auth/roles.ts'
import { createUser } from '#core/auth/users.ts'
import { TENANT_ZERO } from '#core/tenants/tenants.ts'
import { type TestApp, testApp } from '#test/support/app.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'

export interface TestUser {
  userId: string
  email: string
  headers: { authorization: string }
}

export interface TeamApp extends TestApp {
  /** A user with a login; a member of the tenant where one is named. */
  user(name: string, tenantId?: string, role?: Role): Promise<TestUser>
  /** One request, answered as status and body. */
  ask(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    url: string,
    who: { headers: Record<string, string> } | null,
    payload?: object
    // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  ): Promise<{ status: number; body: any }>
  /** Headers of Tenant Zero's key. */
  operator: { headers: { authorization: string } }
  /** Actions in a tenant's audit log, oldest first. */
  actions(tenantId: string): Promise<string[]>
}

export const USER_PASSWORD = 'correct horse battery'

/** The app with the plans of config/, Tenant Zero and users who log in. */
export async function teamApp(
  t: Pick<Test, 'teardown'>,
  options: Parameters<typeof testApp>[1] = {}
): Promise<TeamApp> {
  const base = await testApp(t, {
    ...options,
    parts: async (parts) => ({ plans: planTable, ...(await options.parts?.(parts)) })
  })
  const { app, db, sql } = base
  const zero = await base.makeTenant({ id: TENANT_ZERO, slug: 'zero', scopes: ['*', 'platform:*'] })
  const ask: TeamApp['ask'] = async (method, url, who, payload) => {
    const answer = await app.inject({ method, url, headers: who?.headers ?? {}, ...(payload ? { payload } : {}) })
    return { status: answer.statusCode, body: answer.body === '' ? null : answer.json() }
  }
  return {
    ...base,
    ask,
    operator: zero,
    async user(name, tenantId, role = 'member') {
      const email = `${name}@example.com`
      const { id } = await db.system((tx) => createUser(tx, { email, password: cheapHash(USER_PASSWORD) }))
      if (tenantId) await sql`insert into core.member (tenant_id, user_id, role) values (${tenantId}, ${id}, ${role})`
      const { body } = await ask('POST', '/v1/auth/token', null, { email, password: USER_PASSWORD })
      return { userId: id, email, headers: { authorization: `Bearer ${body.accessToken}` } }
    },
    async actions(tenantId) {
      const rows = await sql<{ action: string }[]>`
        select action from audit.entry where tenant_id = ${tenantId} order by id`
      return rows.map(({ action }) => action)
    }
  }
}
