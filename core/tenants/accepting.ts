import type { FastifyRequest } from 'fastify'
import { CredentialsWrong } from '#core/auth/errors.ts'
import { bearer } from '#core/auth/guard.ts'
import { checkPassword, createUser, findUserByEmail, hashPassword, waiting } from '#core/auth/users.ts'
import type { Tx } from '#core/db/types.ts'
import { RequestInvalid } from '#core/errors.ts'
import type { App } from '#core/plugin.ts'

/**
 * Who accepts an invitation: the user of the request's token; else the user of the invited address, by a password. To a
 * known address that is a login and is counted as one, to an unknown one the password is the new user's. Both cost one
 * hash. What is left to learn is what a login would not tell: whether the address has a user (docs/decisions/0013).
 * @returns finds or makes the user in the transaction of the acceptance: verifying and hashing are done, they take long
 * @throws RequestInvalid (400), CredentialsWrong (401), RateLimited (429), LoginBusy (503); the result EmailTaken (409)
 */
export async function accepting(
  app: App,
  request: FastifyRequest<{ Body: { password?: string | undefined } }>,
  email: string
): Promise<(tx: Tx) => Promise<string>> {
  const token = bearer(request)
  if (token !== undefined) {
    const { userId } = await app.auth.userOf(token, request.ip)
    return async () => userId
  }
  const { password } = request.body
  if (password === undefined) {
    throw new RequestInvalid([{ pointer: '/password', detail: 'required without a token of a signed-in user' }])
  }
  const who = { ip: request.ip, account: email }
  const end = await app.limits?.authBegin(who)
  let wrong = false
  try {
    const known = await app.db.system((tx) => findUserByEmail(tx, email))
    if (!known) {
      const hash = await hashPassword(password, waiting(who))
      return async (tx) => (await createUser(tx, { email, password: hash })).id
    }
    wrong = !(await checkPassword(known.passwordHash, password, waiting(who)))
    if (!wrong) return async () => known.id
  } finally {
    await end?.(wrong)
  }
  throw new CredentialsWrong()
}
