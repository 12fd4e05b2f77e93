import type { MachineKind } from '#core/actors/kind.ts'
import type { Tx } from '#core/db/index.ts'
import { defineError } from '#core/errors.ts'

export const QueueFull = defineError('QUEUE_FULL', 429, (kind: string, limit: number, used: number) => ({
  message: `${used} ${kind}s of this tenant wait already and ${limit} may wait; try again when some have started`,
  details: { limit, used, resetsAt: null },
  retryAfterMs: 1000
}))

/** A tenant's limits for one class of actors: how many run at once (null = unlimited) and how many may wait. */
export interface SlotLimits {
  readonly max: number | null
  readonly queueMax: number
}

/**
 * Counts `n` more waiting actors of the tenant of `tx`; makes the slot row at the tenant's first use.
 * @param limits read only when the row has to be made
 * @throws QUEUE_FULL with limit and used; the transaction cannot commit any more then, whatever its caller does
 */
export async function enqueue(tx: Tx, kind: string, n: number, limits: () => Promise<SlotLimits>): Promise<void> {
  if (await counted(tx, kind, n)) return
  const { max, queueMax } = await limits()
  await tx`
    insert into core.slot (class, max, queue_max) values (${kind}, ${max}, ${queueMax}) on conflict do nothing`
  if (await counted(tx, kind, n)) return
  const [slot] = await tx<{ queued: number; queueMax: number }[]>`
    select queued, queue_max as "queueMax" from core.slot where class = ${kind}`
  // Actors are inserted in the same round trip as they are counted: those rows must not outlive the refusal.
  await tx`do $$ begin raise exception 'the queue is full'; end $$`.catch(() => {})
  throw new QueueFull(kind, slot?.queueMax ?? queueMax, slot?.queued ?? 0)
}

async function counted(tx: Tx, kind: string, n: number): Promise<boolean> {
  const done = await tx`
    update core.slot set queued = queued + ${n} where class = ${kind} and queued + ${n} <= queue_max`
  return done.count === 1
}

/** Sets the limits of a slot row that is there already: the plan changed. What runs and waits beyond them goes on. */
export async function setLimits(tx: Tx, kind: string, { max, queueMax }: SlotLimits): Promise<void> {
  await tx`update core.slot set max = ${max}, queue_max = ${queueMax} where class = ${kind}`
}

/** Changes a tenant's counts without a cap: slots given back, a paused actor that waits again. */
export async function adjust(tx: Tx, kind: string, delta: { running: number; queued: number }): Promise<void> {
  if (delta.running === 0 && delta.queued === 0) return
  await tx`
    update core.slot set running = running + ${delta.running}, queued = queued + ${delta.queued}
    where class = ${kind}`
}

/** A slot row whose counts were not those of its actors: a bug or a hand-made change, repaired. */
export interface Repaired {
  tenantId: string
  running: number
  queued: number
}

/**
 * Recounts up to `limit` slot rows from the actors themselves and repairs what differs.
 * The row is locked first: whoever changes an actor's slot changes this row in the same transaction.
 */
export async function recount(tx: Tx, kind: MachineKind, limit: number): Promise<Repaired[]> {
  // The lock and the count are two statements: the second must see what the lock waited for.
  const locked = await tx<{ tenantId: string }[]>`
    select tenant_id as "tenantId" from core.slot
    where class = ${kind.kind} and (running > 0 or queued > 0
      or tenant_id in (select tenant_id from ${tx(kind.table)} where queued_at is not null))
    order by random() limit ${limit} for update skip locked`
  if (locked.length === 0) return []
  return await tx<Repaired[]>`
    update core.slot s set running = c.running, queued = c.queued
    from (
      select t.tenant_id,
        (select count(*)::int from ${tx(kind.table)} a
          where a.tenant_id = t.tenant_id and a.slotted and a.ended_at is null) as running,
        (select count(*)::int from ${tx(kind.table)} a
          where case when a.queued_at is not null then a.tenant_id end = t.tenant_id and a.queued_at is not null) as queued
      from unnest(${locked.map((row) => row.tenantId)}::uuid[]) as t(tenant_id)
    ) c
    where s.class = ${kind.kind} and s.tenant_id = c.tenant_id and (s.running <> c.running or s.queued <> c.queued)
    returning s.tenant_id as "tenantId", s.running, s.queued`
}
