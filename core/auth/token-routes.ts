import { z } from 'zod'
import type { Identity } from '#core/auth/auth.ts'
import { PasswordRefused } from '#core/auth/errors.ts'
import { credentialOf } from '#core/auth/guard.ts'
import type { Tokens } from '#core/auth/login/logins.ts'
import { Jwks, Logout, SetPassword, TokenAnswer, TokenRequest, WhoAmI } from '#core/auth/schema.ts'
import { covers } from '#core/auth/scopes.ts'
import { findUser } from '#core/auth/users.ts'
import { must } from '#core/must.ts'
import type { App } from '#core/plugin.ts'
import { findTenant } from '#core/tenants/tenants.ts'

const tags = ['auth']

export function tokenRoutes(app: App): void {
  const { auth } = app

  app.route({
    method: 'POST',
    url: '/v1/auth/token',
    config: { permission: 'public', limit: 'auth' },
    schema: {
      tags,
      summary: 'An access token (15 minutes) for e-mail and password, or for a refresh token, which is good once',
      body: TokenRequest,
      response: { 200: TokenAnswer }
    },
    handler: async (request, reply) => {
      const { body, ip } = request
      const tokens =
        'refreshToken' in body
          ? await auth.logins.refresh(body.refreshToken, ip)
          : await auth.logins.logIn(body.email, body.password, ip)
      return reply.header('cache-control', 'no-store').send(show(tokens))
    }
  })

  app.route({
    method: 'POST',
    url: '/v1/auth/logout',
    config: { permission: 'public', limit: 'auth' },
    schema: {
      tags,
      summary: 'End a login: its tokens are worth nothing here at once, on every other host within 5 s',
      body: Logout,
      response: { 204: z.null() }
    },
    // The same for a token that names no login: there is nothing to learn here.
    handler: async (request, reply) => {
      const userId = await auth.logins.logOut(request.body.refreshToken)
      if (userId !== null) auth.forgetUser(userId)
      return reply.status(204).send(null)
    }
  })

  app.route({
    method: 'PUT',
    url: '/v1/auth/password',
    config: { permission: 'authenticated', limit: 'auth' },
    schema: {
      tags,
      summary: 'Your e-mail and password; another one ends all your logins',
      body: SetPassword,
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      const { userId } = request.auth
      const { email, password, currentPassword: current } = request.body
      const credential = credentialOf(request)
      if (userId === undefined) throw new PasswordRefused('this key acts for the tenant and not for a member')
      if (credential.kind === 'user' && !credential.login) {
        throw new PasswordRefused('the password of this user is kept by the identity provider')
      }
      if (credential.kind === 'key') await holdsEverything(request.auth, userId)
      await auth.logins.setPassword(
        userId,
        { email, password, ...(current === undefined ? {} : { current }) },
        { tenantId: request.auth.tenantId, actor: must(request.auth.actor, 'the actor of a request'), from: request.ip }
      )
      auth.forgetUser(userId)
      return reply.status(204).send(null)
    }
  })

  app.route({
    method: 'GET',
    url: '/.well-known/jwks.json',
    config: { permission: 'public' },
    schema: { tags, summary: 'The key that our access tokens are signed with', response: { 200: Jwks } },
    handler: async (_request, reply) =>
      reply.header('cache-control', 'public, max-age=300').send(auth.logins.jwks as z.input<typeof Jwks>)
  })

  app.route({
    method: 'GET',
    url: '/v1/whoami',
    config: { permission: 'authenticated', whileDeleting: true },
    schema: { tags, summary: 'Whose key or token this is and what it may do', response: { 200: WhoAmI } },
    handler: async (request) => {
      const { tenantId, keyId = null, userId = null, role = null, scopes, expiresAt } = request.auth
      const { name, slug, plan } = must(await request.tenant((tx) => findTenant(tx, tenantId)), 'the tenant of a key')
      return {
        tenantId,
        tenant: { name, slug, plan },
        keyId,
        userId,
        role,
        scopes: [...scopes],
        expiresAt: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
        ...(await aboutUser(userId, keyId !== null))
      }
    }
  })

  // A login may do all that its user may, in all their tenants: a key that can do less must not make one.
  async function holdsEverything({ scopes, ceiling = new Set() }: Identity, userId: string) {
    const all = [...ceiling].filter((scope) => !scope.startsWith('!'))
    if (!all.every((scope) => covers(scopes, scope))) {
      throw new PasswordRefused('this key may do less than its member: a password would give it the rest')
    }
    auth.forgetUser(userId)
    if ((await auth.memberships(userId)).length > 1) {
      throw new PasswordRefused('the member of this key is in other tenants too: log in and use the access token')
    }
  }

  // A key tells of its own tenant only: who finds it must not learn where else its member belongs.
  async function aboutUser(userId: string | null, byKey: boolean) {
    if (userId === null) return { user: null, memberships: [] }
    const user = await app.db.system((tx) => findUser(tx, userId))
    const all = byKey ? [] : await auth.memberships(userId)
    return {
      user: { id: userId, email: user?.email ?? null },
      memberships: all.map(({ tenantId, slug, name, role }) => ({ tenantId, slug, name, role }))
    }
  }
}

function show({ accessToken, refreshToken, expiresIn }: Tokens): z.input<typeof TokenAnswer> {
  return {
    accessToken: accessToken.reveal(),
    refreshToken: refreshToken.reveal(),
    tokenType: 'Bearer',
    expiresIn
  }
}
