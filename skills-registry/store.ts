import type { Tx } from '#core/db/index.ts'
import type { Position } from '#core/http/page.ts'
import type { Manifest, Permissions } from './package/manifest.ts'

export interface SkillRow {
  id: string
  name: string
  description: string
  latest: string
  createdAt: Date
  position: string
}

export interface VersionRow {
  skillId: string
  name: string
  version: string
  digest: string
  sizeBytes: number
  manifest: Manifest
  bundle: string
  authorKeyId: string
  logIndex: bigint
  state: 'published' | 'held' | 'yanked' | 'revoked'
  publishedAt: Date
  verified: boolean
}

export interface InstallRow {
  id: string
  name: string
  version: string
  digest: string
  range: string
  grant: Permissions
  verified: boolean
  installedAt: Date
  position: string
}

/**
 * Binds a free scope to this tenant.
 * @returns the scope where it is this tenant's now, undefined where it is another's
 */
export async function claimScope(
  tx: Tx,
  scope: { id: string; scope: string; verified: boolean }
): Promise<{ id: string } | undefined> {
  await tx`
    insert into registry.scope (id, scope, verified) values (${scope.id}, ${scope.scope}, ${scope.verified})
    on conflict (scope) do nothing`
  const [own] = await tx<{ id: string }[]>`
    select id from registry.scope where scope = ${scope.scope} and tenant_id = (select core.tenant())`
  return own
}

/** Trusts the key when it is the scope's first. @returns whether it speaks for the scope */
export async function trustKey(tx: Tx, scopeId: string, key: { keyId: string; spki: string }): Promise<boolean> {
  await tx`
    insert into registry.author_key (scope_id, key_id, spki)
    select ${scopeId}, ${key.keyId}, ${key.spki}
    where not exists (select from registry.author_key where tenant_id = (select core.tenant()) and scope_id = ${scopeId})
    on conflict do nothing`
  const rows = await tx`
    select 1 from registry.author_key
    where tenant_id = (select core.tenant()) and scope_id = ${scopeId} and key_id = ${key.keyId}`
  return rows.length === 1
}

/** Makes or touches the skill and so holds its row: publications of one skill come one after the other. */
export async function upsertSkill(
  tx: Tx,
  skill: { id: string; scopeId: string; name: string; description: string; version: string }
): Promise<string> {
  const [row] = await tx<{ id: string }[]>`
    insert into registry.skill (id, scope_id, name, description, latest)
    values (${skill.id}, ${skill.scopeId}, ${skill.name}, ${skill.description}, ${skill.version})
    on conflict (name) do update set updated_at = now()
    returning id`
  return row?.id ?? ''
}

export async function setLatest(tx: Tx, skillId: string, latest: string, description: string): Promise<void> {
  await tx`
    update registry.skill set latest = ${latest}, description = ${description}, updated_at = now()
    where id = ${skillId}`
}

export async function insertVersion(
  tx: Tx,
  id: string,
  row: Omit<VersionRow, 'publishedAt' | 'state' | 'verified'>
): Promise<void> {
  await tx`
    insert into registry.version
      (id, skill_id, name, version, digest, size_bytes, manifest, bundle, author_key_id, log_index)
    values (${id}, ${row.skillId}, ${row.name}, ${row.version}, ${row.digest}, ${row.sizeBytes},
            ${JSON.stringify(row.manifest)}::text::jsonb, ${row.bundle}, ${row.authorKeyId}, ${row.logIndex})`
}

/** Appends to the log; held until commit, so the index has no gap and its order is the order of commits. */
export async function appendLog(tx: Tx, entry: string, leafHash: Uint8Array): Promise<bigint> {
  // A statement of its own: the next one's snapshot is taken when the lock is ours and sees its last holder's row.
  await tx`select pg_advisory_xact_lock(hashtextextended('registry.log', 0))`
  const [row] = await tx<{ logIndex: bigint }[]>`
    insert into registry.log (log_index, entry, leaf_hash)
    select coalesce(max(log_index) + 1, 0), ${entry}, ${Buffer.from(leafHash)} from registry.log
    returning log_index as "logIndex"`
  return row?.logIndex ?? 0n
}

// `core.tenant() is not null`: asked before the first row is looked for. The policy asks at the first row it finds, and the
// answer for what another tenant keeps to itself would take longer than the answer for what nobody has.
export async function findVersion(tx: Tx, name: string, version: string): Promise<VersionRow | undefined> {
  const [row] = await tx<VersionRow[]>`
    select ${versionColumns(tx)} from registry.version v
    join registry.skill s on s.id = v.skill_id join registry.scope o on o.id = s.scope_id
    where v.name = ${name} and v.version = ${version} and core.tenant() is not null`
  return row
}

export interface VersionSummary {
  version: string
  digest: string
  state: VersionRow['state']
  publishedAt: Date
}

export async function listVersions(tx: Tx, name: string): Promise<VersionSummary[]> {
  return await tx<VersionSummary[]>`
    select version, digest, state, published_at as "publishedAt" from registry.version
    where name = ${name} order by published_at desc, id desc`
}

export async function findSkill(tx: Tx, name: string): Promise<SkillRow | undefined> {
  const [row] = await tx<SkillRow[]>`
    select ${skillColumns(tx)} from registry.skill where name = ${name} and core.tenant() is not null`
  return row
}

// `::text::timestamptz`: for a parameter of type timestamptz postgres.js makes a Date first and cuts its microseconds off.

/** Newest first, one more than `limit` where there is one. Every word of `q` stands in the name or the description. */
export async function searchSkills(tx: Tx, q: string, limit: number, after: Position | null): Promise<SkillRow[]> {
  const words = q.split(/\s+/).filter((word) => word !== '')
  const patterns = words.map((word) => `%${word.replace(/[\\%_]/g, '\\$&')}%`)
  return await tx<SkillRow[]>`
    select ${skillColumns(tx)} from registry.skill
    where (name || ' ' || description) ilike all (${patterns}::text[])
      and ${after ? tx`(created_at, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by created_at desc, id desc limit ${limit + 1}`
}

/** @returns the new row, or undefined where this version is installed already */
export async function insertInstall(
  tx: Tx,
  row: Omit<InstallRow, 'installedAt' | 'position'>
): Promise<InstallRow | undefined> {
  const [made] = await tx<InstallRow[]>`
    insert into registry.install (id, name, version, digest, range, permissions, verified)
    values (${row.id}, ${row.name}, ${row.version}, ${row.digest}, ${row.range},
            ${JSON.stringify(row.grant)}::text::jsonb, ${row.verified})
    on conflict (tenant_id, name, version) do nothing
    returning ${installColumns(tx)}`
  return made
}

export async function findInstall(tx: Tx, name: string, version: string): Promise<InstallRow | undefined> {
  const [row] = await tx<InstallRow[]>`
    select ${installColumns(tx)} from registry.install where name = ${name} and version = ${version}`
  return row
}

export async function listInstalls(tx: Tx, limit: number, after: Position | null): Promise<InstallRow[]> {
  return await tx<InstallRow[]>`
    select ${installColumns(tx)} from registry.install
    where ${after ? tx`(installed_at, id) < (${after.createdAt}::text::timestamptz, ${after.id})` : tx`true`}
    order by installed_at desc, id desc limit ${limit + 1}`
}

export async function installsOf(tx: Tx, names: readonly string[]): Promise<InstallRow[]> {
  return await tx<InstallRow[]>`
    select ${installColumns(tx)} from registry.install where name = any(${[...names]})`
}

/** Of every scope: `csv` finds those of @acme/csv and of @other/csv. */
export async function installsByShortName(tx: Tx, names: readonly string[]): Promise<InstallRow[]> {
  return await tx<InstallRow[]>`
    select ${installColumns(tx)} from registry.install where split_part(name, '/', 2) = any(${[...names]})`
}

export async function deleteInstall(tx: Tx, id: string): Promise<InstallRow | undefined> {
  const [row] = await tx<InstallRow[]>`
    delete from registry.install where id = ${id} returning ${installColumns(tx)}`
  return row
}

function skillColumns(tx: Tx) {
  return tx`id, name, description, latest, created_at as "createdAt", created_at::text as position`
}

function versionColumns(tx: Tx) {
  return tx`v.skill_id as "skillId", v.name, v.version, v.digest, v.size_bytes as "sizeBytes", v.manifest, v.bundle,
            v.author_key_id as "authorKeyId", v.log_index as "logIndex", v.state, v.published_at as "publishedAt",
            o.verified`
}

function installColumns(tx: Tx) {
  return tx`id, name, version, digest, range, permissions as "grant", verified, installed_at as "installedAt",
            installed_at::text as position`
}
