import { z } from 'zod'
import type { HeaderList } from './headers.ts'

const MAX_BODY = 1024 * 1024

const Body = z.union([
  z.strictObject({ text: z.string().max(MAX_BODY) }),
  z.strictObject({ base64: z.base64().max(Math.ceil(MAX_BODY / 3) * 4) })
])

/** The one argument of ctx.fetch as it crosses the wall. */
export const FetchArguments = z.tuple([
  z.strictObject({
    url: z.string(),
    method: z
      .string()
      .regex(/^[A-Za-z]{1,20}$/, 'is no HTTP method')
      .transform((name) => name.toUpperCase())
      .default('GET'),
    headers: z.array(z.tuple([z.string(), z.string()])).default([]),
    body: Body.nullish(),
    redirect: z.enum(['follow', 'manual', 'error']).default('follow')
  })
])
export type FetchArguments = z.output<typeof FetchArguments>

export interface FetchAnswer {
  url: string
  status: number
  statusText: string
  headers: HeaderList
  redirected: boolean
  body: { text: string } | { base64: string }
}

export function bytesOfBody(body: FetchArguments[0]['body']): Buffer | null {
  if (!body) return null
  return 'text' in body ? Buffer.from(body.text) : Buffer.from(body.base64, 'base64')
}

/** Text of which a journal's row, as JSON, stays within what a host call may answer (1 MiB with everything around it). */
const MAX_TEXT = 960 * 1024

/** As text where that is exact (valid UTF-8) and, written as JSON, not much longer than base64; else as base64. */
export function bodyOfAnswer(bytes: Buffer): FetchAnswer['body'] {
  const text = exactText(bytes)
  if (text !== null && Buffer.byteLength(JSON.stringify(text)) <= MAX_TEXT) return { text }
  return { base64: bytes.toString('base64') }
}

function exactText(bytes: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}
