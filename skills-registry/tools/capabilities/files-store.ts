import type { Tx } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import { CapabilityError } from '#skills-registry/tools/capability.ts'
import type { Part } from './files-content.ts'
import type { FilesOptions } from './files-options.ts'
import { foldersOf, foldPath } from './files-path.ts'

export interface FileRow {
  path: string
  parts: Part[]
  bytes: number
  updatedAt: Date
}

/** What a workspace has used. */
export interface Workspace {
  files: number
  bytes: bigint
  /** Put into the object store in all. */
  stored: bigint
}

const nothing: Workspace = { files: 0, bytes: 0n, stored: 0n }

export async function findFile(tx: Tx, sessionId: string, path: string): Promise<FileRow | null> {
  const [row] = await tx<FileRow[]>`
    select path, parts, bytes, updated_at as "updatedAt" from tools.file
    where tenant_id = (select core.tenant()) and session_id = ${sessionId} and path = ${path}`
  return row ?? null
}

/** Files in the order of their paths' UTF-8 bytes. */
export async function listFiles(
  tx: Tx,
  sessionId: string,
  { prefix, after, limit }: { prefix: string; after: string; limit: number }
): Promise<Omit<FileRow, 'parts'>[]> {
  return await tx<Omit<FileRow, 'parts'>[]>`
    select path, bytes, updated_at as "updatedAt" from tools.file
    where tenant_id = (select core.tenant()) and session_id = ${sessionId}
      and path >= ${prefix} and path > ${after} and starts_with(path, ${prefix})
    order by path limit ${limit}`
}

export async function findWorkspace(tx: Tx, sessionId: string): Promise<Workspace> {
  const [row] = await tx<Workspace[]>`
    select files, bytes, stored from tools.workspace
    where tenant_id = (select core.tenant()) and session_id = ${sessionId}`
  return row ?? nothing
}

/** A workspace that no other transaction changes until the end of this one. */
export async function lockWorkspace(
  tx: Tx,
  sessionId: string,
  path: string
): Promise<{ use: Workspace & { version: bigint }; file: FileRow | null }> {
  const [use] = await tx<(Workspace & { version: bigint })[]>`
    insert into tools.workspace as w (session_id, version) values (${sessionId}, 1)
    on conflict (tenant_id, session_id) do update set version = w.version + 1
    returning version, files, bytes, stored`
  // Not sent together with the lock: it has to see what the lock's last holder committed.
  const file = await findFile(tx, sessionId, path)
  return { use: must(use, 'a workspace'), file }
}

/**
 * Whether a file may become `bytes` long, `stored` of them to be put.
 * @throws CapabilityError FILES_QUOTA with what is used and allowed
 */
export function holdQuota(
  limits: FilesOptions,
  use: Workspace,
  file: FileRow | null,
  { bytes, stored }: { bytes: number; stored: number }
): void {
  const refuse = (message: string) => new CapabilityError('FILES_QUOTA', message)
  if (bytes > limits.fileBytes) throw refuse(`the file would have ${bytes} bytes, ${limits.fileBytes} are allowed`)
  if (!file && use.files >= limits.files)
    throw refuse(`the session has ${use.files} files, ${limits.files} are allowed`)
  const before = file?.bytes ?? 0
  if (bytes > before && Number(use.bytes) + bytes - before > limits.totalBytes) {
    throw refuse(
      `the session's files have ${use.bytes} of ${limits.totalBytes} bytes, this write needs ${bytes - before} more`
    )
  }
  if (Number(use.stored) + stored > limits.storedBytes) {
    throw refuse(
      `the session has written ${use.stored} of ${limits.storedBytes} bytes in all, what it deleted since included`
    )
  }
}

/** A workspace's share of its tenant's total is looked at when it grows by so much, and at its first byte. */
const STEP_BYTES = 1024 * 1024

/**
 * Whether the tenant's sessions may put `stored` bytes more: nothing sweeps what they overwrote, and a tenant makes as many
 * sessions as it likes. Sums up, so only every so often; writers at the same time may pass it by a step each.
 * @throws CapabilityError FILES_QUOTA
 */
export async function holdTenantQuota(tx: Tx, limits: FilesOptions, use: Workspace, stored: number): Promise<void> {
  const before = Number(use.stored)
  if (stored === 0 || (before > 0 && Math.floor(before / STEP_BYTES) === Math.floor((before + stored) / STEP_BYTES)))
    return
  const [row] = await tx<{ bytes: number; plan: string | null }[]>`
    select coalesce(sum(w.stored), 0)::float8 as bytes,
      (select t.plan from core.tenants t where t.tenant_id = core.tenant()) as plan
    from tools.workspace w where w.tenant_id = (select core.tenant())`
  const { bytes, plan } = must(row, 'a sum')
  const most = limits.tenantStoredBytes[plan ?? 'free'] ?? limits.tenantStoredBytes.free ?? 0
  if (bytes + stored <= most) return
  const message = `the sessions of this tenant have written ${bytes} of ${most} bytes in all: ask the operator of this server`
  throw new CapabilityError('FILES_QUOTA', message)
}

/**
 * Writes the row of a file in a locked workspace.
 * @throws CapabilityError ARGUMENTS_INVALID where the path is another file's on some system, or a folder of one
 */
export async function putFile(
  tx: Tx,
  sessionId: string,
  { use, file }: { use: Workspace & { version: bigint }; file: FileRow | null },
  { path, parts, stored }: { path: string; parts: Part[]; stored: number }
): Promise<number> {
  if (!file) await refuseTwin(tx, sessionId, path)
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0)
  await Promise.all([
    tx`
      insert into tools.file (session_id, path, folded, parts, bytes, version)
      values (${sessionId}, ${path}, ${foldPath(path)}, ${tx.json(parts as never)}, ${bytes}, ${use.version})
      on conflict (tenant_id, session_id, path) do update
        set parts = excluded.parts, bytes = excluded.bytes, version = excluded.version, updated_at = clock_timestamp()`,
    tx`
      update tools.workspace set files = files + ${file ? 0 : 1}, bytes = bytes + ${bytes - (file?.bytes ?? 0)},
        stored = stored + ${stored}
      where tenant_id = (select core.tenant()) and session_id = ${sessionId}`
  ])
  return bytes
}

/** @returns the bytes that it had; null where it was not there */
export async function deleteFile(tx: Tx, sessionId: string, path: string): Promise<number | null> {
  const { file } = await lockWorkspace(tx, sessionId, path)
  if (!file) return null
  await Promise.all([
    tx`
      delete from tools.file
      where tenant_id = (select core.tenant()) and session_id = ${sessionId} and path = ${path}`,
    tx`
      update tools.workspace set files = files - 1, bytes = bytes - ${file.bytes}
      where tenant_id = (select core.tenant()) and session_id = ${sessionId}`
  ])
  return file.bytes
}

// Where a workspace is downloaded to, two of them would be one file, or a file would stand where a folder has to.
async function refuseTwin(tx: Tx, sessionId: string, path: string): Promise<void> {
  const folded = foldPath(path)
  const [twin] = await tx<{ path: string }[]>`
    select path from tools.file
    where tenant_id = (select core.tenant()) and session_id = ${sessionId}
      and (folded = any(${[folded, ...foldersOf(folded)]}::text[])
        or (folded > ${`${folded}/`} and starts_with(folded, ${`${folded}/`})))
    order by path limit 1`
  if (!twin) return
  const [mine, other] = [JSON.stringify(path), JSON.stringify(twin.path)]
  const message = `the paths ${mine} and ${other}, which is there, cannot stand side by side on every system`
  throw new CapabilityError('ARGUMENTS_INVALID', message)
}
