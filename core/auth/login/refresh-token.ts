import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { Secret } from '#core/secret.ts'

// rt_live_<16 bytes: the login's id><4 bytes: generation><32 bytes: HMAC of both>, base64url. Nothing of it is stored: a
// copy of the database does not hold a single one, and an old one still says which login it was of.
const shape = /^rt_live_([\w-]{70})$/

/** Which login, and the how manieth token of it. */
export interface RefreshClaim {
  loginId: string
  generation: number
}

export interface RefreshTokens {
  make(claim: RefreshClaim): Secret
  /** Null for anything that was not made here. */
  read(token: string): RefreshClaim | null
}

/** @param seed of deriveSecrets (userTokenKey) */
export function refreshTokens(seed: Secret): RefreshTokens {
  const key = Buffer.from(hkdfSync('sha256', seed.reveal(), 'agentos', 'refresh-token/hmac', 32))
  const macOf = (head: Buffer) => createHmac('sha256', key).update(head).digest()
  return {
    make({ loginId, generation }) {
      const head = Buffer.alloc(20)
      head.write(loginId.replaceAll('-', ''), 'hex')
      head.writeUInt32BE(generation, 16)
      return new Secret(`rt_live_${Buffer.concat([head, macOf(head)]).toString('base64url')}`)
    },
    read(token) {
      const bytes = Buffer.from(shape.exec(token)?.[1] ?? '', 'base64url')
      if (bytes.length !== 52) return null
      const head = bytes.subarray(0, 20)
      if (!timingSafeEqual(macOf(head), bytes.subarray(20))) return null
      const loginId = head.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
      return { loginId, generation: head.readUInt32BE(16) }
    }
  }
}
