import { z } from 'zod'
import { EmailTaken } from '#core/auth/errors.ts'
import { checkPassword, hashPassword, type PasswordHash } from '#core/auth/login/password.ts'
import type { Tx } from '#core/db/types.ts'
import { newId } from '#core/ids.ts'

export { checkPassword, hashPassword, type PasswordHash, waiting } from '#core/auth/login/password.ts'

/** As it is stored and compared: one mailbox, one user. */
export const Email = z
  .string()
  .max(254)
  .transform((text) => text.trim().normalize('NFKC').toLowerCase())
  .pipe(z.email().max(254))

/** Length is what counts; the upper bound keeps the hash's work bounded. */
export const Password = z.string().min(12, 'at least 12 characters').max(200)

/** A user with a password of ours. Users of an identity provider have no row. */
export interface User {
  id: string
  email: string
  passwordHash: string
  /** In every access token: another one ends them all. */
  version: number
}

/**
 * Makes a user; a member of nothing until core.member says so.
 * @param tx of `db.system`. Hashing takes a quarter of a second: give a hash (`hashPassword`) where that is too long for
 *   an open transaction
 * @param wanted `email` as `Email` gives it; `id` where the member is there already
 * @throws EmailTaken (409), also for an id that has a login
 */
export async function createUser(
  tx: Tx,
  wanted: { id?: string; email: string; password: string | PasswordHash }
): Promise<{ id: string }> {
  const { id = newId(), password } = wanted
  const email = Email.parse(wanted.email)
  const hash = isHash(password) ? password : await hashPassword(password)
  const rows = await tx`
    insert into core.app_user (id, email, password_hash) values (${id}, ${email}, ${hash})
    on conflict do nothing returning 1`
  if (rows.length === 0) throw new EmailTaken()
  return { id }
}

/** @param tx of `db.system` */
export async function findUserByEmail(tx: Tx, email: string): Promise<User | null> {
  const rows = await tx<User[]>`select ${columns(tx)} from core.app_user where email = ${email}`
  return rows[0] ?? null
}

/** @param tx of `db.system` */
export async function findUser(tx: Tx, id: string): Promise<User | null> {
  const rows = await tx<User[]>`select ${columns(tx)} from core.app_user where id = ${id}`
  return rows[0] ?? null
}

/**
 * The user whose e-mail and password these are, or null; an unknown e-mail costs the same work as a wrong password.
 * @param find looks the user up, in a transaction of its own: none stays open over the hash
 * @param who as `waiting` says it
 * @throws LoginBusy (503)
 */
export async function verifyPassword(
  find: () => Promise<User | null>,
  password: string,
  who: readonly string[] = []
): Promise<User | null> {
  const user = await find()
  return (await checkPassword(user?.passwordHash ?? null, password, who)) ? user : null
}

/**
 * Another e-mail and password, which ends every login and token of the user.
 * @param tx of `db.system`
 * @param wanted `version`: of the user whose current password was right
 * @returns whether it is that version still; else nothing was changed
 * @throws EmailTaken (409)
 */
export async function changeLogin(
  tx: Tx,
  id: string,
  wanted: { email: string; hash: PasswordHash; version: number }
): Promise<boolean> {
  const [other] = await tx`select 1 from core.app_user where email = ${wanted.email} and id <> ${id}`
  if (other) throw new EmailTaken()
  const changed = await tx`
    update core.app_user set email = ${wanted.email}, password_hash = ${wanted.hash}, version = version + 1,
                             password_changed_at = now()
    where id = ${id} and version = ${wanted.version}`
  if (changed.count === 0) return false
  await tx`update core.login set ended_at = now(), ended_by = 'password' where user_id = ${id} and ended_at is null`
  return true
}

function isHash(password: string): password is PasswordHash {
  return /^scrypt\$\d+\$\d+\$\d+\$[\w-]{22}\$[\w-]{43}$/.test(password)
}

function columns(tx: Tx) {
  return tx`id, email, password_hash as "passwordHash", version`
}
