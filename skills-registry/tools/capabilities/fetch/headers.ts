import { CapabilityError } from '../../capability.ts'

/** Names in lower case, in order. */
export type HeaderList = readonly (readonly [name: string, value: string])[]

const MAX_HEADERS = 64
const MAX_BYTES = 16 * 1024
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
const VALUE = /^[\t\x20-\x7e]*$/

/** They frame the message, address it or speak for a proxy or a browser; the last three would call another method than the granted one. */
const NOT_THEIRS =
  /^(host|connection|keep-alive|te|trailer|transfer-encoding|content-length|upgrade|expect|http2-settings|accept-encoding|via|forwarded|x-forwarded-.*|x-real-ip|proxy-.*|sec-.*|x-http-method|x-http-method-override|x-method-override)$/

/**
 * What a skill may send: its headers in lower case, checked; the ones of transport are the host's.
 * @throws CapabilityError ARGUMENTS_INVALID for what is no header, CAPABILITY_DENIED for one that is not the skill's to set
 */
export function requestHeaders(given: HeaderList): [string, string][] {
  if (given.length > MAX_HEADERS) throw invalid(`a request has at most ${MAX_HEADERS} headers`)
  let bytes = 0
  return given.map(([rawName, rawValue]) => {
    const name = rawName.toLowerCase()
    bytes += rawName.length + rawValue.length
    if (bytes > MAX_BYTES) throw invalid(`the headers of a request have at most ${MAX_BYTES} characters together`)
    if (!TOKEN.test(name)) throw invalid(`${JSON.stringify(rawName.slice(0, 40))} is no header name`)
    const value = rawValue.replace(/^[\t ]+|[\t ]+$/g, '')
    if (!VALUE.test(value)) throw invalid(`header ${name} has characters other than visible ASCII, spaces and tabs`)
    if (!NOT_THEIRS.test(name)) return [name, value]
    throw new CapabilityError('CAPABILITY_DENIED', `header ${name} is set by the server, a skill cannot`)
  })
}

/** As the guest gets them: without cookies (they are credentials), without transport, without what is said to browsers. */
export function responseHeaders(raw: HeaderList): [string, string][] {
  const coded = raw.some(([name]) => name === 'content-encoding')
  return raw
    .filter(([name]) => !NOT_FOR_GUESTS.test(name) && !(coded && name === 'content-length'))
    .map(([name, value]) => [name, value])
}

const NOT_FOR_GUESTS =
  /^(set-cookie2?|connection|keep-alive|te|trailer|transfer-encoding|upgrade|content-encoding|proxy-.*|alt-svc|clear-site-data|strict-transport-security|nel|report-to|reporting-endpoints)$/

/** Of a followed redirect: what may go to another host, and what goes when the body went. */
export function redirectedHeaders(headers: HeaderList, change: { host: boolean; body: boolean }): HeaderList {
  return headers.filter(([name]) => {
    if (change.host && (name === 'authorization' || name === 'cookie')) return false
    return !(change.body && (name.startsWith('content-') || name === 'idempotency-key'))
  })
}

export function headerOf(headers: HeaderList, name: string): string | undefined {
  return headers.find(([known]) => known === name)?.[1]
}

function invalid(message: string): CapabilityError {
  return new CapabilityError('ARGUMENTS_INVALID', `ctx.fetch: ${message}`)
}
