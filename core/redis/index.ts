// The public face of core/redis: other rooms import from here.
export { type AclUser, aclFile } from './acl.ts'
export { type Count, createRedis, type Redis } from './client.ts'
export { addRedisChecks } from './doctor.ts'
export { RedisAway } from './errors.ts'
export { platformKey, type RedisKey, tenantKey } from './keys.ts'
