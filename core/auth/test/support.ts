import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { Test } from 'tap'
import type { JwtIssuer } from '#core/auth/jwt/issuers.ts'
import type { Role } from '#core/auth/roles.ts'
import { newId } from '#core/ids.ts'
import type { TestApp } from '#test/support/app.ts'

export const AUDIENCE = 'https://agentos.example.com'

/** An identity provider: a key set on loopback, and tokens signed with its key. */
export async function identityProvider(t: Test, typ: JwtIssuer['typ'] = 'at+jwt') {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
  let asked = 0
  let away = false
  const server = createServer((_request, response) => {
    asked++
    response.writeHead(away ? 500 : 200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [jwk] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const issuer: JwtIssuer = { issuer: url, audience: AUDIENCE, typ, keys: { jwks: new URL(`${url}/jwks.json`) } }
  /** A good token, but for what is given. */
  const token = (claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}) => {
    const now = Math.floor(Date.now() / 1000)
    const all = { iss: url, aud: AUDIENCE, sub: newId(), iat: now, exp: now + 600, ...claims }
    return new SignJWT(all).setProtectedHeader({ alg: 'ES256', typ, kid: 'k1', ...header } as never).sign(privateKey)
  }
  return {
    issuer,
    token,
    jwk,
    asked: () => asked,
    goAway: () => {
      away = true
    }
  }
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

/** Makes a user what they are in a tenant, without asking anybody. */
export async function join(app: TestApp, tenantId: string, userId: string, role: Role): Promise<void> {
  await app.sql`insert into core.member (tenant_id, user_id, role) values (${tenantId}, ${userId}, ${role})`
}

/** A key that acts for a member. */
export async function keyOf(app: TestApp, tenantId: string, userId: string, scopes: string[]) {
  const { key, row } = await app.db.tenant(tenantId, (tx) => app.auth.createKey(tx, { name: 'k', scopes, userId }))
  return { headers: bearer(key.reveal()), key: key.reveal(), ...row }
}
