import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { LoginBusy } from '#core/auth/errors.ts'

/** `scrypt$N$r$p$salt$hash` (base64url): what core.app_user keeps of a password. */
export type PasswordHash = string & { readonly passwordHash: true }

// OWASP's equal of 128 MiB at p = 1, in a quarter of the memory.
const COST = { N: 2 ** 15, r: 8, p: 3 }
const BYTES = 32
const maxmem = 64 * 1024 * 1024

/** Each takes 32 MiB and a quarter of a second of a core; node's thread pool must have threads left for files. */
const turn = inTurn(2, 50)

/** @throws LoginBusy (503) */
export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, COST)
  const { N, r, p } = COST
  return `scrypt$${N}$${r}$${p}$${salt.toString('base64url')}$${hash.toString('base64url')}` as PasswordHash
}

/**
 * Whether the password is the one of the hash. Without a hash the work is the same and the answer no: an unknown e-mail
 * takes as long as a wrong password.
 * @throws LoginBusy (503)
 */
export async function checkPassword(stored: string | null, password: string): Promise<boolean> {
  const parsed = /^scrypt\$(\d+)\$(\d+)\$(\d+)\$([\w-]+)\$([\w-]+)$/.exec(stored ?? '')
  const [, N = COST.N, r = COST.r, p = COST.p, salt, hash] = parsed ?? []
  const given = await derive(password, salt === undefined ? randomBytes(16) : Buffer.from(salt, 'base64url'), {
    N: Number(N),
    r: Number(r),
    p: Number(p)
  })
  const wanted = hash === undefined ? randomBytes(BYTES) : Buffer.from(hash, 'base64url')
  return timingSafeEqual(given, wanted) && parsed !== null
}

function derive(password: string, salt: Buffer, cost: typeof COST): Promise<Buffer> {
  return turn(
    () =>
      new Promise((resolve, reject) => {
        // The same letters typed on another system may come composed differently.
        scrypt(password.normalize('NFKC'), salt, BYTES, { ...cost, maxmem }, (error, key) =>
          error ? reject(error) : resolve(key)
        )
      })
  )
}

/**
 * Runs `atOnce` of what it is given, in order, while at most `waiting` wait.
 * @throws LoginBusy (503) for one more
 */
export function inTurn(atOnce: number, waiting: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const queue: (() => void)[] = []
  return async (work) => {
    if (running < atOnce) running++
    else {
      if (queue.length >= waiting) throw new LoginBusy()
      await new Promise<void>((resolve) => queue.push(resolve))
    }
    try {
      return await work()
    } finally {
      // Whoever is next takes this place over.
      const next = queue.shift()
      if (next) next()
      else running--
    }
  }
}
