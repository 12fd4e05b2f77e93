import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { newId } from '#core/ids.ts'
import skillsRegistry from '#skills-registry/index.ts'
import { createKey, type SigningKey } from '#skills-registry/signing/keys.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import tools from '#skills-registry/tools/index.ts'
import type { TestTenant } from '#test/support/app.ts'
import type { TestDbOptions } from '#test/support/db.ts'
import { type PulseApp, pulseApp } from '#test/support/pulse-app.ts'
import { keepData } from './rows/tools-data.ts'

/** What a tenant has: one of everything that a route can name, each with the tenant's canary where text can be. */
export interface Citizen extends TestTenant {
  name: string
  canary: string
  scope: string
  sessionId: string
  keyId: string
  installId: string
  secretName: string
  memberId: string
  invitationId: string
}

export interface World extends PulseApp {
  citizen(name: string): Promise<Citizen>
  /** A session that waits to be run. */
  session(who: Citizen): Promise<string>
  key(who: Citizen): Promise<string>
  install(who: Citizen): Promise<string>
  member(who: Citizen): Promise<string>
  invitation(who: Citizen): Promise<string>
  /** A secret that its agent `teller` may use; always the same one. */
  putSecret(who: Citizen): Promise<string>
  publish(who: TestTenant, name: string): Promise<void>
}

/** The whole server: every room as it is, on a database of its own. */
export async function world(t: Test, open: TestDbOptions['open'] = {}): Promise<World> {
  const keyFile = join(t.testdir(), 'registry.key')
  const app = await pulseApp(t, null, {
    rooms: [{ room: skillsRegistry, options: { keyFile } }, { room: tools }],
    open
  })
  const post = async (who: TestTenant, url: string, payload: object, wanted: readonly number[]) => {
    const answer = await app.app.inject({ method: 'POST', url, payload, headers: who.headers })
    if (!wanted.includes(answer.statusCode)) throw new Error(`${url}: ${answer.statusCode} ${answer.body}`)
    return answer.json()
  }
  const authors = new Map<string, SigningKey>()
  const publish: World['publish'] = async (who, name) => {
    const scope = name.split('/')[0] ?? ''
    const signed = signedSkill({ name }, { author: authors.get(scope) ?? createKey().key })
    authors.set(scope, signed.author) // a scope belongs to the key of its first publication
    const form = uploadForm([
      ['package', signed.archive],
      ['bundle', signed.authorBundle]
    ])
    const headers = { ...who.headers, ...form.headers }
    const request = { method: 'POST', url: '/v1/registry/skills', payload: form.payload, headers } as const
    const { statusCode, body } = await app.app.inject(request)
    if (statusCode !== 201) throw new Error(`${name}: ${statusCode} ${body}`)
  }
  const made: World = Object.assign(app, {
    publish,
    session: async (who: Citizen) => (await post(who, '/v1/sessions', manual(who), [201])).id,
    key: async (who: Citizen) =>
      (await post(who, '/v1/keys', { name: `${who.canary} key`, scopes: ['sessions:read'] }, [201])).id,
    async install(who: Citizen) {
      await app.sql`delete from registry.install where tenant_id = ${who.tenantId}`
      return (await post(who, '/v1/skills', { ref: `@${who.scope}/tool@^1` }, [200, 201])).id
    },
    async member(who: Citizen) {
      const id = newId()
      await app.sql`
        insert into core.member (tenant_id, user_id, role, email)
        values (${who.tenantId}, ${id}, 'viewer', ${`${who.canary}@example.com`})`
      return id
    },
    async invitation(who: Citizen) {
      const id = newId()
      await app.sql`
        insert into core.invitation (tenant_id, id, email, role, token_hash, invited_by)
        values (${who.tenantId}, ${id}, ${`${who.canary}@example.com`}, 'viewer', ${randomBytes(32)}, 'key:test')`
      return id
    },
    async putSecret(who: Citizen) {
      const name = `SECRET_OF_${who.name.toUpperCase()}`
      const put = async (path: string, payload: object) => {
        const answer = await app.app.inject({
          method: 'PUT',
          url: `/v1/secrets/${path}`,
          payload,
          headers: who.headers
        })
        if (answer.statusCode >= 300) throw new Error(`${path}: ${answer.statusCode} ${answer.body}`)
      }
      await put(name, { value: `${who.canary} secret` })
      await put(`${name}/grants`, { agent: 'teller' })
      return name
    },
    async citizen(name: string) {
      const canary = `canary-${name}-${Buffer.from(name).toString('hex')}`
      const tenant = await app.makeTenant({ name: canary })
      const scope = `scope-${name}`
      const born = { sessionId: '', keyId: '', installId: '', secretName: '', memberId: '', invitationId: '' }
      const who: Citizen = { ...tenant, name, canary, scope, ...born }
      for (const skill of ['tool', 'secret']) await publish(tenant, `@${scope}/${skill}`)
      for (const table of ['skill', 'version']) {
        await app.sql`update registry.${app.sql(table)} set visibility = 'private' where name = ${`@${scope}/secret`}`
      }
      who.installId = await made.install(who)
      who.sessionId = await made.session(who)
      who.keyId = await made.key(who)
      who.secretName = await made.putSecret(who)
      who.memberId = await made.member(who)
      who.invitationId = await made.invitation(who)
      await keepData(app, who)
      // A skill of no session, which stands still: the platform sees that it does, and nothing of what the tenant is told.
      const crashes = [{ sessionId: newId(), step: canary, code: 'SANDBOX_KILLED', reason: 'cpuMs', at: '2026-01-01' }]
      await app.sql`
        insert into tools.quarantine (tenant_id, id, digest, skill, version, skill_id, explanation, crashes)
        values (${who.tenantId}, ${newId()}, 'sha256:00', '@gone/skill', '1.0.0', ${newId()}, ${canary}, ${app.sql.json(crashes)})`
      return who
    }
  })
  return made
}

/** A session config that starts by command only. */
export function manual(who: Citizen): object {
  return {
    name: `${who.canary} session`,
    start: 'manual',
    skills: [`@${who.scope}/tool@^1`],
    input: { text: `${who.canary} input` },
    steps: [{ id: 'one', kind: 'tool', tool: 'tool.echo', input: { $ref: 'input.text' } }],
    output: { $ref: 'steps.one.output' }
  }
}
