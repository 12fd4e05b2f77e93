import type { Tx } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'
import type { RefreshClaim } from './refresh-token.ts'

// Who does not come back within two weeks logs in again, and everybody after three months.
const idle = '14 days'
const longest = '90 days'

/** A login that goes on: what its next tokens are made of. */
export interface LoginState extends RefreshClaim {
  userId: string
  version: number
}

/**
 * @param tx of `db.system`
 * @param version of the user whose password was right
 * @returns null where that is over: the password changed while it was being checked, or the user is gone
 */
export async function beginLogin(tx: Tx, userId: string, version: number): Promise<LoginState | null> {
  const loginId = newId()
  // `for share` waits for a change that is under way and looks at the version again after it.
  const { count } = await tx`
    insert into core.login (id, user_id, version, expires_at)
    select ${loginId}::uuid, id, version, now() + ${idle}::interval from core.app_user
    where id = ${userId} and version = ${version} for share`
  return count === 1 ? { loginId, userId, version, generation: 1 } : null
}

/**
 * Takes one refresh token and makes the next generation. One that was used before ends the login: either its owner or a
 * thief holds a newer one, and nobody can tell which.
 * @param tx of `db.system`. Must be committed also when this says `reused`
 */
export async function rotateLogin(
  tx: Tx,
  { loginId, generation }: RefreshClaim
): Promise<LoginState | { reused: boolean; userId?: string }> {
  const rows = await tx<LoginState[]>`
    update core.login l set generation = l.generation + 1,
      expires_at = least(now() + ${idle}::interval, l.created_at + ${longest}::interval)
    from core.app_user u
    where u.id = l.user_id and u.version = l.version and l.id = ${loginId} and l.generation = ${generation} and l.ended_at is null
      and l.expires_at > now()
    returning l.id as "loginId", l.user_id as "userId", l.generation, l.version`
  if (rows[0]) return rows[0]
  const ended = await tx<{ userId: string }[]>`
    update core.login set ended_at = now(), ended_by = 'reuse'
    where id = ${loginId} and generation > ${generation} and ended_at is null
    returning user_id as "userId"`
  return ended[0] ? { reused: true, userId: ended[0].userId } : { reused: false }
}

/** @param tx of `db.system`. @returns whose login it was; null where there is none that could end */
export async function endLogin(tx: Tx, loginId: string): Promise<string | null> {
  const rows = await tx<{ userId: string }[]>`
    update core.login set ended_at = now(), ended_by = 'logout' where id = ${loginId} and ended_at is null
    returning user_id as "userId"`
  return rows[0]?.userId ?? null
}

/** What an access token's word is held against; `known`: this user has a login of ours at all. */
export interface LoginCheck {
  known: boolean
  version: number | null
  goesOn: boolean
}

/** @param tx of `db.system` */
export async function checkLogin(tx: Tx, userId: string, loginId: string | null): Promise<LoginCheck> {
  const [row] = await tx<{ version: number | null; goesOn: boolean }[]>`
    select (select version from core.app_user where id = ${userId}) as version,
           exists (select from core.login where id = ${loginId} and user_id = ${userId} and ended_at is null) as "goesOn"`
  const version = row?.version ?? null
  return { known: version !== null, version, goesOn: row?.goesOn ?? false }
}

/**
 * Deletes logins and tickets that are over (a refresh token of a deleted login is as unknown as an invented one), and
 * users who are a member of nothing and have not been here for long: their e-mail is nobody's to keep.
 * @param tx of `db.system`. @returns how many
 */
export async function sweepLogins(tx: Tx): Promise<number> {
  const logins = await tx`delete from core.login where expires_at < now() - interval '1 day'`
  const tickets = await tx`delete from core.ws_ticket where expires_at < now()`
  const users = await tx`
    delete from core.app_user u where u.created_at < now() - interval '30 days'
      and not exists (select from core.member m where m.user_id = u.id)
      and not exists (select from core.login l where l.user_id = u.id)`
  return logins.count + tickets.count + users.count
}
