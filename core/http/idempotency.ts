import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Db, TenantContext, Tx } from '#core/db/types.ts'
import {
  IdempotencyInFlight,
  IdempotencyKeyInvalid,
  IdempotencyKeyReused,
  IdempotencyShownOnce
} from '#core/http/errors.ts'

/** What is sent, and sent again. `body` is JSON and is stored, header names in lower case. */
export interface Answer<Body = unknown> {
  status: number
  body: Body
  headers?: Record<string, string>
  /** The body holds a secret: it is sent and not stored. A repeat is told that it was done (409) and where the thing is. */
  shownOnce?: boolean
  /** True when this is the stored answer of an earlier request. */
  replayed?: boolean
}

/** How long an answer is kept at least. */
const retentionHours = 24

/**
 * Runs `work` in the caller's tenant transaction; with an Idempotency-Key header at most once per key: the answer is
 * stored in the same transaction, so there is no moment at which the effect exists and the answer does not.
 * @param digest 32 bytes that stand for the body where it is not JSON (a multipart upload)
 * @throws IdempotencyKeyInvalid (400), IdempotencyInFlight, IdempotencyShownOnce (409), IdempotencyKeyReused (422); whatever `work` throws
 *   undoes everything, and the same key may be tried again
 */
export async function idempotent<Body>(
  request: FastifyRequest,
  work: (tx: Tx) => Promise<Answer<Body>>,
  digest?: Uint8Array
): Promise<Answer<Body>> {
  const key = request.headers['idempotency-key']
  if (key === undefined) return await request.tenant(work)
  const path = request.url.split('?', 1)[0] ?? ''
  const fingerprint = fingerprintOf(request.method, path, digest ?? request.body)
  return await runIdempotent(request.server.db, request.auth, { key: String(key), fingerprint }, work)
}

/** Sends the answer, a replayed one with `Idempotency-Replayed: true`. */
export function sendAnswer(reply: FastifyReply, answer: Answer): FastifyReply {
  if (answer.replayed) reply.header('idempotency-replayed', 'true')
  return reply
    .status(answer.status)
    .headers(answer.headers ?? {})
    .send(answer.body)
}

/** The same for every transport; WebSocket methods give method name, `''` and params to `fingerprintOf`. */
export async function runIdempotent<Body>(
  db: Db,
  context: TenantContext,
  { key, fingerprint }: { key: string; fingerprint: Uint8Array },
  work: (tx: Tx) => Promise<Answer<Body>>
): Promise<Answer<Body>> {
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) throw new IdempotencyKeyInvalid()
  return await db.tenant(context, async (tx) => {
    // Two statements, sent together: the second has its own snapshot, taken when the lock was already ours, so it sees
    // what the lock's last holder committed. The lock goes with the transaction, also when the process dies.
    const [[lock], [stored]] = await Promise.all([
      tx<{ mine: boolean }[]>`
        select pg_try_advisory_xact_lock(hashtextextended(${`idempotency|${context.tenantId}|${key}`}, 0)) as mine`,
      tx<
        StoredAnswer<Body>[]
      >`select fingerprint, status, body, headers, shown_once as "shownOnce" from core.idempotency where key = ${key}`
    ])
    if (!lock?.mine) throw new IdempotencyInFlight()
    if (stored) {
      if (!Buffer.from(fingerprint).equals(stored.fingerprint)) throw new IdempotencyKeyReused()
      if (stored.shownOnce) throw new IdempotencyShownOnce(stored.headers.location)
      return { status: stored.status, body: stored.body, headers: stored.headers, replayed: true }
    }
    const answer = await work(tx)
    const { status, headers = {}, shownOnce = false } = answer
    const body = JSON.stringify((shownOnce ? null : answer.body) ?? null)
    await tx`
      insert into core.idempotency (key, fingerprint, status, body, headers, shown_once)
      values (${key}, ${Buffer.from(fingerprint)}, ${status}, ${body}::text::json, ${tx.json(headers)}, ${shownOnce})`
    return answer
  })
}

interface StoredAnswer<Body> {
  fingerprint: Buffer
  status: number
  body: Body
  headers: Record<string, string>
  shownOnce: boolean
}

/** SHA-256 of method, path and body; the order of an object's keys does not matter. */
export function fingerprintOf(method: string, path: string, body: unknown): Buffer {
  const sum = createHash('sha256').update(`${method}|${path}|`)
  return (body instanceof Uint8Array ? sum.update(body) : sum.update(JSON.stringify(sorted(body)) ?? '')).digest()
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.map(([key, child]) => [key, sorted(child)])
}

/**
 * Deletes answers older than 24 hours, in batches so that no lock is held long.
 * @returns how many
 */
export async function sweepIdempotency(db: Db, batch = 1000): Promise<number> {
  for (let deleted = 0; ; ) {
    const rows = await db.system(
      (tx) => tx`
        delete from core.idempotency where (tenant_id, key) in (
          select tenant_id, key from core.idempotency
          where created_at < now() - make_interval(hours => ${retentionHours}) order by created_at limit ${batch})`
    )
    deleted += rows.count
    if (rows.count < batch) return deleted
  }
}
