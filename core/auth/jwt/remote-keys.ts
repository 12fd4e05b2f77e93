import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose'
import { IssuerUnavailable } from '#core/auth/errors.ts'
import type { Clock } from '#core/clock.ts'

const TIMEOUT_MS = 5000
/** A token with an unknown kid makes us ask again at most this often; a provider that is away is left alone as long. */
const COOLDOWN_MS = 30_000
const CACHE_MS = 10 * 60_000
const MAX_BYTES = 256 * 1024

/**
 * The keys of an identity provider, fetched when needed, from this address only and without redirects.
 * @throws IssuerUnavailable (503) when they are not to be had; JWKSNoMatchingKey of jose for a kid that is not there
 */
export function remoteKeys(url: URL, clock: Clock): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(url, {
    timeoutDuration: TIMEOUT_MS,
    cooldownDuration: COOLDOWN_MS,
    cacheMaxAge: CACHE_MS,
    [customFetch]: fetchBounded
  })
  let awayUntil = Number.NEGATIVE_INFINITY
  return async (header, token) => {
    if (clock.monotonic() < awayUntil) throw new IssuerUnavailable('asked a moment ago')
    try {
      return await keys(header, token)
    } catch (error) {
      // These say that the token names no key of theirs; all else, that there was no answer to look into.
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error
      awayUntil = clock.monotonic() + (keys.fresh ? 0 : COOLDOWN_MS / 6)
      throw new IssuerUnavailable(error)
    }
  }
}

async function fetchBounded(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init)
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`the key set is larger than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: response.status, headers: response.headers })
}
