import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { normalizeIP } from '@fastify/rate-limit'
import { LoginBusy } from '#core/auth/errors.ts'
import type { Claimant } from '#core/http/limits/types.ts'

/** `scrypt$N$r$p$salt$hash` (base64url): what core.app_user keeps of a password. */
export type PasswordHash = string & { readonly passwordHash: true }

// OWASP's equal of 128 MiB at p = 1, in a quarter of the memory.
const COST = { N: 2 ** 15, r: 8, p: 3 }
const BYTES = 32
const maxmem = 64 * 1024 * 1024

/** Each takes 32 MiB and a quarter of a second of a core; node's thread pool must have threads left for files. */
const turn = inTurn(2, { waiting: 50, each: 4 })

/** For whom a hash waits its turn: one address (or /64 of them) and one account do not take the whole queue. */
export function waiting({ ip, account }: Claimant): string[] {
  return [`ip ${normalizeIP(ip, 64)}`, ...(account === undefined ? [] : [`account ${account.toLowerCase()}`])]
}

/** @param who as `waiting` says it @throws LoginBusy (503) */
export async function hashPassword(password: string, who: readonly string[] = []): Promise<PasswordHash> {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, COST, who)
  const { N, r, p } = COST
  return `scrypt$${N}$${r}$${p}$${salt.toString('base64url')}$${hash.toString('base64url')}` as PasswordHash
}

/**
 * Whether the password is the one of the hash. Without a hash the work is the same and the answer no: an unknown e-mail
 * takes as long as a wrong password.
 * @param who as `waiting` says it
 * @throws LoginBusy (503)
 */
export async function checkPassword(
  stored: string | null,
  password: string,
  who: readonly string[] = []
): Promise<boolean> {
  const parsed = /^scrypt\$(\d+)\$(\d+)\$(\d+)\$([\w-]+)\$([\w-]+)$/.exec(stored ?? '')
  const [, N = COST.N, r = COST.r, p = COST.p, salt, hash] = parsed ?? []
  const salted = salt === undefined ? randomBytes(16) : Buffer.from(salt, 'base64url')
  const given = await derive(password, salted, { N: Number(N), r: Number(r), p: Number(p) }, who)
  const wanted = hash === undefined ? randomBytes(BYTES) : Buffer.from(hash, 'base64url')
  return timingSafeEqual(given, wanted) && parsed !== null
}

function derive(password: string, salt: Buffer, cost: typeof COST, who: readonly string[]): Promise<Buffer> {
  const work = () =>
    new Promise<Buffer>((resolve, reject) => {
      // The same letters typed on another system may come composed differently.
      scrypt(password.normalize('NFKC'), salt, BYTES, { ...cost, maxmem }, (error, key) =>
        error ? reject(error) : resolve(key)
      )
    })
  return turn(work, who)
}

/**
 * Runs `atOnce` of what it is given, in order, while at most `waiting` wait, and `each` of the same name.
 * @throws LoginBusy (503) for one more
 */
export function inTurn(
  atOnce: number,
  most: { waiting: number; each: number }
): <T>(work: () => Promise<T>, names?: readonly string[]) => Promise<T> {
  let running = 0
  const queue: { next: () => void; names: readonly string[] }[] = []
  const waitingOf = (name: string) => queue.filter(({ names }) => names.includes(name)).length
  return async (work, names = []) => {
    if (running < atOnce) running++
    else {
      if (queue.length >= most.waiting || names.some((name) => waitingOf(name) >= most.each)) throw new LoginBusy()
      await new Promise<void>((next) => queue.push({ next, names }))
    }
    try {
      return await work()
    } finally {
      // Whoever is next takes this place over.
      const first = queue.shift()
      if (first) first.next()
      else running--
    }
  }
}
