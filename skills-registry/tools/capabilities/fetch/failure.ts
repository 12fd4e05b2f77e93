import { CapabilityError } from '../../capability.ts'

/**
 * What an author reads of a network's error: our words and its code, never its text, which quotes addresses, certificates
 * and whatever the host sent.
 */
export function failureOf(error: unknown, host: string, signal: AbortSignal): unknown {
  if (error instanceof CapabilityError) return error
  if (signal.aborted) {
    if (signal.reason instanceof CapabilityError) return signal.reason
    return new CapabilityError('FETCH_FAILED', `the tool call ended before ${host} had answered`)
  }
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'HPE_HEADER_OVERFLOW') {
    return new CapabilityError('FETCH_TOO_LARGE', `${host} answered with too many or too long headers`)
  }
  return new CapabilityError('FETCH_FAILED', `${reasonOf(code, host)}${code === undefined ? '' : ` (${code})`}`)
}

function reasonOf(code: string | undefined, host: string): string {
  if (code === undefined) return `the connection to ${host} broke`
  if (/^(ENOTFOUND|ENODATA|ESERVFAIL|ETIMEOUT|EREFUSED|ECANCELLED|EBADNAME|EBADRESP)$/.test(code)) {
    return `DNS has no address for ${host}`
  }
  if (/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EADDRNOTAVAIL|EADDRCHANGED)$/.test(code)) {
    return `${host} cannot be reached`
  }
  if (/CERT|_TLS_|_SSL_|ISSUER|SIGNATURE|ALTNAME/.test(code)) return `no trusted TLS connection to ${host}`
  if (code.startsWith('HPE_') || code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return `what ${host} answered is no valid HTTP`
  }
  return `the connection to ${host} broke`
}
