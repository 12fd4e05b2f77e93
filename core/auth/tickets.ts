import { createHash, randomBytes } from 'node:crypto'
import { Credential } from '#core/auth/credential.ts'
import { AuthRequired } from '#core/auth/errors.ts'
import type { Tx } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'

const shape = /^wt_live_[\w-]{43}$/

export function isTicket(token: string): boolean {
  return shape.test(token)
}

/**
 * A ticket opens one WebSocket within 30 s, on whatever host, with what `credential` is worth then in this tenant.
 * @param tx of the tenant
 */
export async function makeTicket(
  tx: Tx,
  tenantId: string,
  credential: Credential
): Promise<{ ticket: Secret; expiresAt: Date }> {
  const ticket = `wt_live_${randomBytes(32).toString('base64url')}`
  const kept = { ...credential, tenant: tenantId }
  // No `returning`: a tenant has no right to read tickets. now() is the transaction's, as in the column's default.
  await tx`insert into core.ws_ticket (hash, credential) values (${hashOf(ticket)}, ${tx.json(kept)})`
  const rows = await tx<{ expiresAt: Date }[]>`select now() + interval '30 seconds' as "expiresAt"`
  return { ticket: new Secret(ticket), expiresAt: must(rows[0], 'the new ticket').expiresAt }
}

/**
 * Takes the ticket: of two who bring it at once one gets in.
 * @param tx of `db.system`
 * @throws AuthRequired (401)
 */
export async function takeTicket(tx: Tx, ticket: string): Promise<Credential> {
  const rows = await tx<{ credential: unknown; late: boolean }[]>`
    delete from core.ws_ticket where hash = ${hashOf(ticket)} returning credential, expires_at <= now() as late`
  if (!rows[0]) throw new AuthRequired('unknown or used ticket')
  if (rows[0].late) throw new AuthRequired('expired ticket')
  return Credential.parse(rows[0].credential)
}

// 256 random bits need no pepper.
function hashOf(ticket: string): Buffer {
  return createHash('sha256').update(ticket).digest()
}
