import { createHash, createHmac, randomBytes } from 'node:crypto'
import { Credential } from '#core/auth/credential.ts'
import { AuthRequired, wrongGuess } from '#core/auth/errors.ts'
import { sameHash } from '#core/auth/key.ts'
import type { Tx } from '#core/db/types.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'

const shape = /^wt_live_[\w-]{43}$/

export function isTicket(token: string): boolean {
  return shape.test(token)
}

export interface Tickets {
  /**
   * A ticket opens one WebSocket within 30 s, on whatever host, with what `credential` is worth then in this tenant.
   * @param tx of the tenant
   * @param from the address of who asks for it: what a key's `allowedIps` are held to, as the page has another
   */
  make(tx: Tx, tenantId: string, credential: Credential, from: string): Promise<{ ticket: Secret; expiresAt: Date }>
  /**
   * Takes the ticket: of two who bring it at once one gets in.
   * @param tx of `db.system`
   * @throws AuthRequired (401)
   */
  take(tx: Tx, ticket: string): Promise<Credential>
}

/** @param key of deriveSecrets: a row that somebody else wrote is no ticket, whatever credential stands in it */
export function createTickets(key: Secret): Tickets {
  const sealing = createHmac('sha256', key.reveal()).update('ws-ticket').digest()
  const seal = (hash: Buffer, tenantId: string, credential: string) =>
    createHmac('sha256', sealing).update(hash).update(`${tenantId} ${credential}`).digest('base64url')

  return {
    async make(tx, tenantId, credential, from) {
      const ticket = `wt_live_${randomBytes(32).toString('base64url')}`
      const hash = hashOf(ticket)
      const kept = JSON.stringify({ ...credential, ...(credential.kind === 'key' ? { from } : {}), tenant: tenantId })
      // No `returning`: a tenant has no right to read tickets. now() is the transaction's, as in the column's default.
      await tx`
        insert into core.ws_ticket (hash, credential)
        values (${hash}, ${`${seal(hash, tenantId, kept)} ${kept}`})`
      const rows = await tx<{ expiresAt: Date }[]>`select now() + interval '30 seconds' as "expiresAt"`
      return { ticket: new Secret(ticket), expiresAt: must(rows[0], 'the time').expiresAt }
    },
    async take(tx, ticket) {
      const hash = hashOf(ticket)
      // The row's time may be anybody's invention: more than the 30 seconds are none.
      const [row] = await tx<{ tenantId: string; credential: string; late: boolean }[]>`
        delete from core.ws_ticket where hash = ${hash}
        returning tenant_id as "tenantId", credential,
          expires_at <= now() or expires_at > now() + interval '30 seconds' as late`
      if (!row) throw wrongGuess('unknown or used ticket')
      if (row.late) throw new AuthRequired('expired ticket')
      const [mark = '', kept = ''] = row.credential.split(/ (.*)/s)
      if (!sameHash(Buffer.from(mark), Buffer.from(seal(hash, row.tenantId, kept)))) {
        throw wrongGuess('a ticket that we did not make')
      }
      return Credential.parse(JSON.parse(kept))
    }
  }
}

// 256 random bits need no pepper.
function hashOf(ticket: string): Buffer {
  return createHash('sha256').update(ticket).digest()
}
