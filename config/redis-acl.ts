// `npm run redis:acl`: users.acl for the Redis of this server, on stdout; what to do with it, on stderr.
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { errorMessage } from '#core/errors.ts'
import { isId } from '#core/ids.ts'
import { type AclUser, aclFile } from '#core/redis/index.ts'
import { Secret } from '#core/secret.ts'
import { loadRedisUrl } from './env.ts'

const usage = `Usage: npm run --silent redis:acl -- [--tenant <id>] > users.acl

Prints the ACL file of a Redis server (redis-server --aclfile users.acl). It turns the default login off and makes one
for AgentOS: name and password of REDIS_URL or REDIS_URL_FILE; without those "agentos" with a new password, which is
told on stderr. --tenant adds a login, named tenant-<id>, that reaches only what belongs to that tenant.`

try {
  const { values } = parseArgs({ options: { tenant: { type: 'string' }, help: { type: 'boolean', short: 'h' } } })
  if (values.help) process.stdout.write(`${usage}\n`)
  else print(values.tenant)
} catch (error) {
  process.stderr.write(`${errorMessage(error)}\n\n${usage}\n`)
  process.exitCode = 1
}

function print(tenantId: string | undefined): void {
  if (tenantId !== undefined && !isId(tenantId)) throw new Error('--tenant takes the id of a tenant, a UUID')
  const users: AclUser[] = [ownLogin()]
  if (tenantId !== undefined) users.push(newLogin(`tenant-${tenantId}`, tenantId))
  process.stdout.write(aclFile(users))
}

function ownLogin(): AclUser {
  const url = loadRedisUrl()
  const given = url === null ? null : new URL(url.reveal())
  if (!given?.password) return newLogin('agentos')
  const name = decodeURIComponent(given.username) || 'default'
  // `user default off` stands in the same file: its last line would win, and let everybody in who knows the password.
  if (name === 'default') throw new Error('REDIS_URL names no login: write redis://agentos:<password>@...')
  return { name, password: new Secret(decodeURIComponent(given.password)) }
}

function newLogin(name: string, tenantId?: string): AclUser {
  const password = randomBytes(24).toString('base64url')
  process.stderr.write(`password of ${name}, shown this once: ${password}\n`)
  if (tenantId === undefined) process.stderr.write(`REDIS_URL=redis://${name}:${password}@<host>:6379\n`)
  return { name, password: new Secret(password), ...(tenantId === undefined ? {} : { tenantId }) }
}
