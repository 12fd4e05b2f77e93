import type { Tx } from '#core/db/index.ts'
import { columnsOf } from '#core/queue/claim.ts'
import { type ActorRef, type ActorRow, type Arrow, type Json, type MachineKind, NOTE_KEY } from './kind.ts'

/** What one activation commits: everything of one external event, or nothing. */
export interface Commit {
  readonly ref: ActorRef
  readonly epoch: number
  /** The row's version that this commit builds on. */
  readonly version: number
  readonly state: string
  readonly context: object
  readonly moves: number
  readonly arrows: readonly Arrow[]
  readonly journal: readonly { readonly key: string; readonly record: Json }[]
  /** Commands taken, with what became of them. */
  readonly answered: readonly Answer[]
  /** The activation ends: lease and slot are given back. */
  readonly release: boolean
  readonly slotted: boolean
  /** Waits for a slot again. */
  readonly queued: boolean
  readonly ended: boolean
}

export interface Answer {
  readonly messageId: string
  readonly outcome: 'applied' | 'refused'
  readonly state: string
}

/** A command as it lies in the inbox. */
export interface Message {
  readonly id: string
  readonly tenantId: string
  readonly actorId: string
  readonly event: { readonly type: string } & Record<string, Json>
  readonly by: string
}

/**
 * Writes the commits of one tenant's activations, each fenced by its epoch and version, in one statement.
 * @returns the ids that were still ours, and whether commands wait for them; of the others not a row was written
 */
export async function commitAll(
  tx: Tx,
  kind: MachineKind,
  hostId: string,
  commits: readonly Commit[]
): Promise<Map<string, boolean>> {
  const states = commits.map((commit) => ({
    id: commit.ref.id,
    epoch: commit.epoch,
    version: commit.version,
    state: commit.state,
    context: commit.context,
    moves: commit.moves,
    release: commit.release,
    queued: commit.queued,
    ended: commit.ended,
    frees: commit.release && commit.slotted
  }))
  const arrows = commits.flatMap((commit) => arrowRows(commit.ref.id, commit.epoch, commit.moves, commit.arrows))
  const journal = commits.flatMap((commit) =>
    commit.journal.map(({ key, record }) => ({ id: commit.ref.id, epoch: commit.epoch, key, record }))
  )
  const answers = commits.flatMap((commit) => commit.answered.map((answer) => ({ id: commit.ref.id, ...answer })))
  const rows = await tx<{ id: string; mail: boolean }[]>`
    with input as materialized (
      select * from jsonb_to_recordset(${tx.json(states as never)}) as i(id uuid, epoch int, version int, state text,
        context jsonb, moves int, release boolean, queued boolean, ended boolean, frees boolean)
    ), fenced as (
      update ${tx(kind.table)} a set state = i.state, context = i.context, moves = i.moves, version = a.version + 1, breaks = 0,
        queued_at = case when i.queued then coalesce(a.queued_at, clock_timestamp()) end,
        slotted = a.slotted and not i.frees,
        lease_owner = case when i.release then null else a.lease_owner end,
        lease_until = case when i.release then null else a.lease_until end,
        ended_at = case when i.ended then coalesce(a.ended_at, clock_timestamp()) end
      from input i
      where a.tenant_id = (select core.tenant()) and a.id = i.id and a.epoch = i.epoch and a.version = i.version
        and a.lease_owner = ${hostId}
      returning a.id, i.frees, i.queued
    ), moved as (
      insert into core.transition (actor_id, n, from_state, to_state, cause, by, epoch)
      select t.id, t.n, t."from", t."to", t.cause, t.by, t.epoch
      from jsonb_to_recordset(${tx.json(arrows as never)})
        as t(id uuid, n int, "from" text, "to" text, cause text, by text, epoch int)
      join fenced f on f.id = t.id
    ), recorded as (
      insert into core.journal (actor_id, key, record, epoch)
      select j.id, j.key, j.record, j.epoch
      from jsonb_to_recordset(${tx.json(journal as never)}) as j(id uuid, key text, record jsonb, epoch int)
      join fenced f on f.id = j.id
      on conflict do nothing
    ), taken as (
      update core.inbox m set outcome = r.outcome, state = r.state
      from jsonb_to_recordset(${tx.json(answers as never)})
        as r(id uuid, "messageId" uuid, outcome text, state text)
      join fenced f on f.id = r.id
      where m.tenant_id = (select core.tenant()) and m.actor_id = r.id and m.id = r."messageId" and m.outcome is null
    ), freed as (
      update core.slot s set running = s.running - c.freed, queued = s.queued + c.queued
      from (
        select count(*) filter (where frees)::int as freed, count(*) filter (where queued)::int as queued from fenced
      ) c
      where s.tenant_id = (select core.tenant()) and s.class = ${kind.kind} and (c.freed > 0 or c.queued > 0)
    )
    select f.id, exists (
      select from core.inbox m where m.tenant_id = (select core.tenant()) and m.actor_id = f.id and m.outcome is null
        and m.id not in (
          select r."messageId" from jsonb_to_recordset(${tx.json(answers as never)}) as r("messageId" uuid)
        )
    ) as mail
    from fenced f`
  return new Map(rows.map((row) => [row.id, row.mail]))
}

/** The outcomes in an actor's journal, by key; its notes stay where they are: they may be many, and decide nothing. */
export async function loadJournal(tx: Tx, actorId: string): Promise<Map<string, Json>> {
  const rows = await tx<{ key: string; record: Json }[]>`
    select key, record from core.journal
    where tenant_id = (select core.tenant()) and actor_id = ${actorId} and not starts_with(key, ${NOTE_KEY})`
  return new Map(rows.map((row) => [row.key, row.record]))
}

/** Open commands for actors that nobody runs: they came as their activation ended (or the actor is gone). */
export async function orphanMessages(tx: Tx, kind: MachineKind, limit: number): Promise<Message[]> {
  return await tx<Message[]>`
    select m.id, m.tenant_id as "tenantId", m.actor_id as "actorId", m.event, m.by
    from core.inbox m left join ${tx(kind.table)} a on a.tenant_id = m.tenant_id and a.id = m.actor_id
    where m.kind = ${kind.kind} and m.outcome is null and a.lease_until is null order by m.at limit ${limit}`
}

/** Open commands of these actors, oldest first: a host gives the ones it runs their commands before it acts. */
export async function openMessagesOf(tx: Tx, kind: string, refs: readonly ActorRef[]): Promise<Message[]> {
  return await tx<Message[]>`
    select m.id, m.tenant_id as "tenantId", m.actor_id as "actorId", m.event, m.by
    from jsonb_to_recordset(${tx.json(refs.map(({ tenantId, id }) => ({ tenantId, id })))}) as r("tenantId" uuid, id uuid)
    join core.inbox m on m.tenant_id = r."tenantId" and m.actor_id = r.id
    where m.kind = ${kind} and m.outcome is null order by m.at`
}

/**
 * Puts a command into the inbox of an actor that a host runs.
 * @returns false when `limit` commands wait there already
 */
export async function insertMessage(
  tx: Tx,
  kind: string,
  message: Omit<Message, 'tenantId'>,
  limit: number
): Promise<boolean> {
  // The caller holds the actor's row lock: nobody adds between the count and the insert.
  const done = await tx`
    insert into core.inbox (actor_id, id, kind, event, by)
    select ${message.actorId}, ${message.id}, ${kind}, ${tx.json(message.event)}, ${message.by}
    where ${limit} > (
      select count(*) from core.inbox
      where tenant_id = (select core.tenant()) and actor_id = ${message.actorId} and outcome is null
    )`
  return done.count === 1
}

/** An actor's row, locked for the rest of the transaction. `leased`: a host runs it, or it is about to be run. */
export async function lockActor(
  tx: Tx,
  kind: MachineKind,
  id: string
): Promise<(ActorRow & { leased: boolean; waiting: boolean }) | null> {
  const [row] = await tx<(ActorRow & { leased: boolean; waiting: boolean })[]>`
    select tenant_id as "tenantId", id, state, context, epoch, version, moves, slotted, breaks,
      lease_until is not null as leased, queued_at is not null as waiting,
      ${columnsOf(tx, kind)} as columns
    from ${tx(kind.table)} where tenant_id = (select core.tenant()) and id = ${id} for update`
  return row ?? null
}

/** Writes the new state of an actor that nobody runs; the caller holds its row lock. */
export async function writeIdle(
  tx: Tx,
  kind: MachineKind,
  row: ActorRow & { waiting: boolean },
  next: { state: string; context: object; arrows: readonly Arrow[]; queued: boolean; wake: boolean; ended: boolean }
): Promise<void> {
  const moves = row.moves + next.arrows.length
  await tx`
    update ${tx(kind.table)} set state = ${next.state}, context = ${tx.json(next.context as never)}, moves = ${moves},
      version = version + 1,
      queued_at = case when ${next.queued} then coalesce(queued_at, clock_timestamp()) end,
      lease_until = case when ${next.wake} then '-infinity'::timestamptz end,
      ended_at = case when ${next.ended} then coalesce(ended_at, clock_timestamp()) end
    where tenant_id = (select core.tenant()) and id = ${row.id}`
  await insertArrows(tx, arrowRows(row.id, row.epoch, moves, next.arrows))
}

/**
 * Inserts new actors with their history and counts `waiting` of them into the tenant's slot row, in one statement.
 * A row's keys are column names, all rows have the same ones.
 * @returns false when they were not counted: there is no slot row yet, or no room in the queue
 */
export async function insertActors(
  tx: Tx,
  kind: MachineKind,
  rows: readonly Record<string, unknown>[],
  arrows: readonly ArrowRow[],
  waiting: number
): Promise<boolean> {
  const names = Object.keys(rows[0] ?? {})
  if (names.length === 0) return true
  // Text, not fragments: seventeen columns twice would be seventy query objects per admission.
  const columns = names.map(quoted).join(', ')
  const [row] = await tx<{ counted: boolean }[]>`
    with made as (
      insert into ${tx(kind.table)} (${tx.unsafe(columns)})
      select ${tx.unsafe(columns)} from jsonb_populate_recordset(null::${tx(kind.table)}, ${tx.json(rows as never)})
    ), moved as (
      insert into core.transition (actor_id, n, from_state, to_state, cause, by, epoch)
      select t.id, t.n, t."from", t."to", t.cause, t.by, t.epoch
      from jsonb_to_recordset(${tx.json(arrows as never)})
        as t(id uuid, n int, "from" text, "to" text, cause text, by text, epoch int)
    ), counted as (
      update core.slot set queued = queued + ${waiting}::int
      where class = ${kind.kind} and ${waiting}::int > 0 and queued + ${waiting}::int <= queue_max
      returning 1
    ) select exists (select from counted) as counted`
  return waiting === 0 || row?.counted === true
}

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

interface ArrowRow extends Arrow {
  readonly id: string
  readonly epoch: number
  readonly n: number
}

/** Adds history rows. */
async function insertArrows(tx: Tx, arrows: readonly ArrowRow[]): Promise<void> {
  if (arrows.length === 0) return
  await tx`
    insert into core.transition (actor_id, n, from_state, to_state, cause, by, epoch)
    select t.id, t.n, t."from", t."to", t.cause, t.by, t.epoch
    from jsonb_to_recordset(${tx.json(arrows as never)})
      as t(id uuid, n int, "from" text, "to" text, cause text, by text, epoch int)`
}

/** Numbers an actor's new arrows; `moves` is its count after them. */
export function arrowRows(id: string, epoch: number, moves: number, arrows: readonly Arrow[]): ArrowRow[] {
  return arrows.map((arrow, index) => ({ id, epoch, n: moves - arrows.length + index + 1, ...arrow }))
}
