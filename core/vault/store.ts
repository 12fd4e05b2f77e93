import type { Tx } from '#core/db/types.ts'
import type { Position } from '#core/http/page.ts'
import { must } from '#core/must.ts'

/** A data key as it is stored. `wrapped` opens only for this tenant and with this version of the KEK. */
export interface DataKeyRow {
  tenantId: string
  generation: number
  kekVersion: number
  wrapped: Buffer
}

export interface GrantRow {
  kind: 'skill' | 'agent'
  grantee: string
  hosts: string[] | null
  createdAt: string
}

/** What is known of a secret without opening it. `position` is `created_at` as Postgres writes it, for cursors. */
export interface SecretRow {
  id: string
  name: string
  version: number
  hasPrevious: boolean
  createdAt: Date
  rotatedAt: Date | null
  lastUsedAt: Date | null
  grants: GrantRow[]
  position: string
}

/** A value at rest with the key that opens it. `newest`: no younger generation seals meanwhile. */
export interface SealedRow extends DataKeyRow {
  id: string
  version: number
  sealed: Buffer
  newest: boolean
}

/** A generation seals fewer values than random 96-bit nonces are safe for (NIST SP 800-38D: 2^32). */
const SEALS_PER_KEY = 2 ** 32 - 1

/** The tenant of the transaction, its youngest generation (0: none) and that one's key, if it may seal once more. */
export interface KeyUse {
  tenantId: string
  last: number
  key: DataKeyRow | null
}

/**
 * Counts one more seal on the youngest data key and holds its row: who writes secrets of a tenant goes in turn. One
 * statement, so that `last` is what the update looked at: the next generation is made once, whoever comes first.
 * @param taken what to do about a row that somebody holds; passed by, the use has no key
 */
export async function useDataKey(tx: Tx, taken: 'wait' | 'pass by' = 'wait'): Promise<KeyUse> {
  const [row] = await tx<(DataKeyRow & { tenant: string; last: number })[]>`
    with youngest as (select coalesce(max(generation), 0) as generation from vault.data_key),
    held as materialized (
      select k.generation from vault.data_key k join youngest y on k.generation = y.generation
      where k.used < ${SEALS_PER_KEY}
      for no key update of k ${taken === 'wait' ? tx`` : tx`skip locked`}),
    counted as (
      update vault.data_key k set used = used + 1 from held h where k.generation = h.generation
      returning k.tenant_id, k.generation, k.kek_version, k.wrapped)
    select core.tenant() as tenant, y.generation as last,
           c.tenant_id as "tenantId", c.generation, c.kek_version as "kekVersion", c.wrapped
    from youngest y left join counted c on true`
  const { tenant, last, ...key } = must(row, 'the use of a data key')
  return { tenantId: tenant, last, key: key.wrapped === null ? null : key }
}

/** Id and version of a secret, whose row is held; null when there is none. */
export async function lockSecret(tx: Tx, name: string): Promise<{ id: string; version: number } | null> {
  const rows = await tx<{ id: string; version: number }[]>`
    select id, version from vault.secret where name = ${name} for update`
  return rows[0] ?? null
}

export async function countSecrets(tx: Tx): Promise<number> {
  const [row] = await tx<{ n: number }[]>`select count(*)::int as n from vault.secret`
  return row?.n ?? 0
}

interface Sealed {
  id: string
  version: number
  generation: number
  sealed: Buffer
}

export async function insertSecret(tx: Tx, name: string, { id, version, generation, sealed }: Sealed): Promise<void> {
  await tx`
    insert into vault.secret (id, name, version, generation, sealed)
    values (${id}, ${name}, ${version}, ${generation}, ${sealed})`
}

/** @param keepPrevious whether the value that goes stays readable as the previous version */
export async function replaceSecret(tx: Tx, next: Sealed, keepPrevious: boolean): Promise<void> {
  await tx`
    update vault.secret
    set version = ${next.version}, generation = ${next.generation}, sealed = ${next.sealed}, rotated_at = now(),
        previous_generation = ${keepPrevious ? tx`generation` : null},
        previous_sealed = ${keepPrevious ? tx`sealed` : null}
    where id = ${next.id}`
}

/** The same value under the youngest data key; nothing where the row changed meanwhile or somebody holds it. */
export async function resealSecret(tx: Tx, { id, version, generation, sealed }: Sealed): Promise<void> {
  await tx`
    update vault.secret set generation = ${generation}, sealed = ${sealed} where id = (
      select id from vault.secret where id = ${id} and version = ${version} for no key update skip locked)`
}

export async function deleteSecret(tx: Tx, name: string): Promise<SecretRow | null> {
  const rows = await tx<SecretRow[]>`delete from vault.secret s where name = ${name} returning ${columns(tx)}`
  return rows[0] ?? null
}

/** Newest first, one more than `limit` where there is one. */
export async function listSecrets(tx: Tx, limit: number, after: Position | null): Promise<SecretRow[]> {
  return await tx<SecretRow[]>`
    select ${columns(tx)} from vault.secret s
    where ${after ? tx`(s.created_at, s.id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by s.created_at desc, s.id desc limit ${limit + 1}`
}

export async function findSecret(tx: Tx, name: string): Promise<SecretRow | null> {
  const rows = await tx<SecretRow[]>`select ${columns(tx)} from vault.secret s where s.name = ${name}`
  return rows[0] ?? null
}

/** Who asks for a value, and where it is going. */
export interface Use {
  skill?: string
  agent?: string
  /** Host name in lower case that the request goes to. */
  host?: string
}

/**
 * The sealed value, if each of the named (skill, agent) holds a grant that covers the host; null otherwise, and when
 * there is no such secret: the same statement finds all three out.
 * @param version `previous`: the one before the last rotation
 */
export async function findGranted(
  tx: Tx,
  name: string,
  { skill, agent, host }: Use,
  version: 'current' | 'previous'
): Promise<SealedRow | null> {
  const asked = [skill === undefined ? [] : ['skill'], agent === undefined ? [] : ['agent']].flat()
  const [generation, sealed, number] =
    version === 'current'
      ? [tx`s.generation`, tx`s.sealed`, tx`s.version`]
      : [tx`s.previous_generation`, tx`s.previous_sealed`, tx`s.version - 1`]
  const rows = await tx<SealedRow[]>`
    select s.id, ${number} as version, ${sealed} as sealed, k.tenant_id as "tenantId", k.generation,
           k.kek_version as "kekVersion", k.wrapped,
           k.generation = (select max(generation) from vault.data_key) as newest
    from vault.secret s
    left join vault.data_key k on k.tenant_id = s.tenant_id and k.generation = ${generation}
    where s.name = ${name} and ${sealed} is not null and ${asked.length} > 0 and ${asked.length} = (
      select count(*) from vault.secret_grant g
      where g.tenant_id = s.tenant_id and g.secret_id = s.id
        and (g.kind, g.grantee) in (('skill', ${skill ?? ''}), ('agent', ${agent ?? ''}))
        and (g.hosts is null or ${host ?? ''} = any (g.hosts)))`
  return rows[0] ?? null
}

/** At most one write a minute and secret; nobody waits for whoever notes the same. */
export async function noteUse(tx: Tx, id: string): Promise<void> {
  await tx`
    update vault.secret set last_used_at = now() where id = (
      select id from vault.secret
      where id = ${id} and coalesce(last_used_at < now() - interval '1 minute', true)
      for no key update skip locked)`
}

/** A grant that is there gets the new hosts. */
export async function upsertGrant(
  tx: Tx,
  secretId: string,
  { kind, grantee, hosts }: Pick<GrantRow, 'kind' | 'grantee' | 'hosts'>
): Promise<void> {
  await tx`
    insert into vault.secret_grant (secret_id, kind, grantee, hosts) values (${secretId}, ${kind}, ${grantee}, ${hosts})
    on conflict (tenant_id, secret_id, kind, grantee) do update set hosts = excluded.hosts`
}

export async function deleteGrant(
  tx: Tx,
  secretId: string,
  { kind, grantee }: Pick<GrantRow, 'kind' | 'grantee'>
): Promise<void> {
  await tx`delete from vault.secret_grant where secret_id = ${secretId} and kind = ${kind} and grantee = ${grantee}`
}

function columns(tx: Tx) {
  return tx`s.id, s.name, s.version, s.previous_sealed is not null as "hasPrevious", s.created_at as "createdAt",
    s.rotated_at as "rotatedAt", s.last_used_at as "lastUsedAt", s.created_at::text as position,
    coalesce((
      select json_agg(json_build_object('kind', g.kind, 'grantee', g.grantee, 'hosts', g.hosts,
                                        'createdAt', g.created_at) order by g.kind desc, g.grantee)
      from vault.secret_grant g where g.tenant_id = s.tenant_id and g.secret_id = s.id), '[]') as grants`
}
