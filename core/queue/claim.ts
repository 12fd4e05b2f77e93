import type { ActorRow, Json, MachineKind } from '#core/actors/kind.ts'
import type { Tx } from '#core/db/index.ts'
import { suspendedTenants } from '#core/tenants/suspended.ts'
import { LEASE_MS, type LeaseKey } from './lease.ts'

/** How many tenants one claim looks at (each locked row keeps admissions waiting), and how many actors of one tenant it takes in one turn. */
const TENANTS_PER_CLAIM = 50
/** A host with little room looks past tenants whose queued actors are locked just now. */
const TENANTS_AT_LEAST = 8
const ACTORS_PER_TURN = 10

/** An actor as it was claimed: `from` is its state before the slot moved it (equal to `state` on a take-over). */
export interface Claimed extends ActorRow {
  readonly from: string
}

interface ClaimRow {
  tenantId: string
  id: string
  from: string
  state: string
  context: Record<string, Json>
  epoch: number
  version: number
  moves: number
  slotted: boolean
  breaks: number
  columns: Record<string, unknown>
}

/**
 * Claims queued actors of a kind with slots, tenants in turn, the higher band first. One statement as agentos_system:
 * slot and actor rows are locked `skip locked`, so claims of several hosts neither wait for nor overrun each other.
 * The expression over queued_at is that of the index (core.actor_table), so no other index is taken.
 * A slot row's values are read again after its lock (read committed), so `max` is exact across hosts.
 * Suspended tenants are passed by.
 */
export async function claimQueued(tx: Tx, kind: MachineKind, hostId: string, capacity: number): Promise<Claimed[]> {
  const grants = kind.grants ?? {}
  const to = Object.fromEntries(Object.entries(grants).map(([from, grant]) => [from, grant.to]))
  const rows = await tx<ClaimRow[]>`
    with slots as materialized (
      select tenant_id, coalesce(max - running, ${ACTORS_PER_TURN}) as free from core.slot
      where class = ${kind.kind} and queued > 0 and (max is null or running < max)
        and tenant_id <> all (${suspendedTenants(tx)})
      order by turn limit ${Math.min(TENANTS_PER_CLAIM, Math.max(capacity, TENANTS_AT_LEAST))} for update skip locked
    ), picked as materialized (
      select a.tenant_id, a.id, a.state from slots s cross join lateral (
        select q.tenant_id, q.id, q.state from ${tx(kind.table)} q
        where case when q.queued_at is not null then q.tenant_id end = s.tenant_id and q.queued_at is not null
        order by q.band desc, q.queued_at limit least(s.free, ${ACTORS_PER_TURN})
        for update skip locked
      ) a limit ${capacity}
    ), leased as (
      update ${tx(kind.table)} u set state = ${tx.json(to)}::jsonb ->> p.state, queued_at = null, slotted = true,
        epoch = u.epoch + 1, version = u.version + 1, moves = u.moves + 1, lease_owner = ${hostId},
        lease_until = now() + ${LEASE_MS} * interval '1 ms', started_at = coalesce(u.started_at, clock_timestamp())
      from picked p where u.tenant_id = p.tenant_id and u.id = p.id
      returning u.*, p.state as from_state
    ), counted as (
      update core.slot s set running = s.running + c.n, queued = s.queued - c.n, turn = clock_timestamp()
      from (select tenant_id, count(*)::int as n from leased group by tenant_id) c
      where s.tenant_id = c.tenant_id and s.class = ${kind.kind}
    ), moved as (
      insert into core.transition (tenant_id, actor_id, n, from_state, to_state, cause, by, epoch)
      select tenant_id, id, moves, from_state, state, 'command', 'scheduler', epoch from leased
    )
    select tenant_id as "tenantId", id, from_state as "from", state, context, epoch, version, moves, slotted, breaks,
      ${columnsOf(tx, kind)} as columns
    from leased`
  return rows
}

/**
 * Takes actors whose lease ran out (their host died, was cut off or handed them back) or that were woken up.
 * Their state stays; the new epoch shuts the former holder out. Those of suspended tenants stay as they are.
 */
export async function claimExpired(tx: Tx, kind: MachineKind, hostId: string, capacity: number): Promise<Claimed[]> {
  return await tx<ClaimRow[]>`
    with leased as (
      update ${tx(kind.table)} u set epoch = u.epoch + 1, version = u.version + 1, lease_owner = ${hostId},
        lease_until = now() + ${LEASE_MS} * interval '1 ms', started_at = coalesce(u.started_at, clock_timestamp())
      from (
        select tenant_id, id from ${tx(kind.table)} where lease_until < now() and tenant_id <> all (${suspendedTenants(tx)})
        order by lease_until limit ${capacity} for update skip locked
      ) p where u.tenant_id = p.tenant_id and u.id = p.id
      returning u.*
    )
    select tenant_id as "tenantId", id, state as "from", state, context, epoch, version, moves, slotted, breaks,
      ${columnsOf(tx, kind)} as columns
    from leased`
}

/** Notes that an activation broke off; the next commit of the actor clears the count. */
export async function countBreak(tx: Tx, kind: MachineKind, hostId: string, lease: LeaseKey): Promise<void> {
  await tx`
    update ${tx(kind.table)} set breaks = breaks + 1
    where tenant_id = ${lease.tenantId} and id = ${lease.id} and epoch = ${lease.epoch} and lease_owner = ${hostId}`
}

/** Lets a starting host's own former leases run out now: it goes on with them at once instead of after LEASE_MS. */
export async function expireOwn(tx: Tx, kind: MachineKind, hostId: string): Promise<number> {
  const done = await tx`
    update ${tx(kind.table)} set lease_until = '-infinity' where lease_owner = ${hostId} and lease_until is not null`
  return done.count
}

/**
 * Renews the leases that this host knows. Only those: a lease whose claim was committed but whose answer got lost
 * must run out, or nobody would ever run that actor.
 * @returns the ids that are still ours, and whether their tenant was suspended meanwhile: then they are to be handed back
 */
export async function renew(
  tx: Tx,
  kind: MachineKind,
  hostId: string,
  leases: readonly LeaseKey[]
): Promise<Map<string, { suspended: boolean }>> {
  const rows = await tx<{ id: string; suspended: boolean }[]>`
    update ${tx(kind.table)} u set lease_until = now() + ${LEASE_MS} * interval '1 ms'
    from jsonb_to_recordset(${tx.json(leases.map((lease) => ({ ...lease })))}) as l("tenantId" uuid, id uuid, epoch int)
    where u.tenant_id = l."tenantId" and u.id = l.id and u.epoch = l.epoch
      and u.lease_owner = ${hostId} and u.lease_until is not null
    returning u.id, u.tenant_id = any (${suspendedTenants(tx)}) as suspended`
  return new Map(rows.map(({ id, suspended }) => [id, { suspended }]))
}

/** Hands leases back: whoever looks next takes them. The epoch stays, the taker raises it. */
export async function handBack(tx: Tx, kind: MachineKind, hostId: string, leases: readonly LeaseKey[]): Promise<void> {
  await tx`
    update ${tx(kind.table)} u set lease_until = '-infinity'
    from jsonb_to_recordset(${tx.json(leases.map((lease) => ({ ...lease })))}) as l("tenantId" uuid, id uuid, epoch int)
    where u.tenant_id = l."tenantId" and u.id = l.id and u.epoch = l.epoch
      and u.lease_owner = ${hostId} and u.lease_until is not null`
}

/** The kind's own columns as one jsonb object, so that they never collide with the host's. */
export function columnsOf(tx: Tx, kind: MachineKind) {
  if (kind.columns.length === 0) return tx`'{}'::jsonb` // an empty list would be sent as a parameter
  const pairs = kind.columns.map((column) => tx`${column}::text, to_jsonb(${tx(column)})`)
  const list = pairs.flatMap((pair, index) => (index === 0 ? [pair] : [tx`, `, pair]))
  return tx`jsonb_build_object(${list})`
}
