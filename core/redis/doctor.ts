import type { Doctor } from '#core/doctor/doctor.ts'
import { newId } from '#core/ids.ts'
import type { Redis } from './client.ts'
import { tenantKey } from './keys.ts'

// Each names, counts or changes what belongs to others; the last two are outside every prefix of ours.
const forbidden = [
  ['SCAN', '0'],
  ['KEYS', '*'],
  ['DBSIZE'],
  ['RANDOMKEY'],
  ['CONFIG', 'GET', '*'],
  ['FLUSHALL'],
  ['ACL', 'LIST'],
  ['CLIENT', 'LIST'],
  ['PUBSUB', 'CHANNELS'],
  ['CLUSTER', 'GETKEYSINSLOT', '0', '1'],
  ['GET', 'agentos-doctor'],
  ['PUBLISH', 'agentos-doctor', '']
] as const

/** A line of `agentos doctor tenancy`: the ACL of core/redis/acl.ts is in force for the login that we use. */
export function addRedisChecks(doctor: Doctor, redis: Redis | null): void {
  doctor.add('tenancy', {
    name: 'redis.acl',
    title: "this server's Redis login reaches its own prefixes only, and cannot list keys",
    async run() {
      if (!redis) return { ok: 'unknown', detail: 'there is no Redis: REDIS_URL is not set' }
      const own = ['GET', tenantKey(newId(), 'doctor')] as const
      const permitted = await redis.permitted([own, ...forbidden])
      // Whoever may do nothing at all is not told from a good ACL by what is refused.
      if (permitted[0] !== own.join(' ')) {
        return { ok: false, detail: 'the login may not read its own keys', fix: 'load users.acl: npm run redis:acl' }
      }
      const tooMuch = permitted.slice(1)
      if (tooMuch.length === 0) return { ok: true, detail: `${forbidden.length} commands are refused` }
      return {
        ok: false,
        detail: `the login may run ${tooMuch.join(', ')}`,
        fix: 'make users.acl by `npm run --silent redis:acl`, load it (redis-server --aclfile), put its login into REDIS_URL'
      }
    }
  })
}
