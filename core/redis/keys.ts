import { isId } from '#core/ids.ts'

declare const made: unique symbol

/** A key or channel of ours: made by this file only, so that every one is inside what the ACL allows (acl.ts). */
export type RedisKey = string & { readonly [made]: true }

/**
 * A key or channel of one tenant. The braces are part of it: all of a tenant's keys lie in one slot of a cluster.
 * @param rest visible ASCII without spaces; names nothing secret (whoever may list keys sees it)
 * @throws Error for what is no tenant id: a `}` in it would be another tenant's key
 */
export function tenantKey(tenantId: string, rest: string): RedisKey {
  if (!isId(tenantId)) throw new Error('not a tenant id')
  return keyOf(`tenant:{${tenantId}}:`, rest)
}

/** A key or channel that belongs to no tenant: counts by address, for instance. */
export function platformKey(rest: string): RedisKey {
  return keyOf('platform:', rest)
}

function keyOf(prefix: string, rest: string): RedisKey {
  if (!/^[\x21-\x7e]{1,512}$/.test(rest))
    throw new Error('the rest of a Redis key is 1 to 512 visible ASCII characters')
  return `${prefix}${rest}` as RedisKey
}
