import { createHash } from 'node:crypto'
import type { Secret } from '#core/secret.ts'
import { tenantKey } from './keys.ts'

/** One line of users.acl: a login that reaches only what `keys` match. */
export interface AclUser {
  readonly name: string
  readonly password: Secret
  /** Only this tenant's keys and channels; without it every tenant's and the platform's: the login of the servers. */
  readonly tenantId?: string
}

// Beyond @dangerous and @admin (keys, flushall, config, monitor, client list ...): what names, counts or follows other
// tenants' keys without naming one of them, and what changes the server for everybody.
const refused = [
  '-@dangerous',
  '-@admin',
  '-scan',
  '-dbsize',
  '-randomkey',
  '-pubsub', // names every active channel
  '-memory', // counts every key
  '-cluster', // GETKEYSINSLOT names the keys of a slot, whoever's they are
  '-client|tracking', // BCAST mode tells of every key that changes
  '-swapdb',
  '-@scripting', // SCRIPT FLUSH and FUNCTION are everybody's; what a script touches is checked like a command
  '+eval',
  '+evalsha'
]

/** users.acl of a Redis server (`--aclfile`): nobody without a password, and each login inside its prefixes. */
export function aclFile(users: readonly AclUser[]): string {
  return `user default off\n${users.map((user) => `${aclLine(user)}\n`).join('')}`
}

function aclLine({ name, password, tenantId }: AclUser): string {
  if (!/^[\w-]{1,64}$/.test(name)) throw new Error('the name of a Redis login is 1 to 64 letters, digits, _ and -')
  const prefixes = tenantId === undefined ? ['tenant:{*}:*', 'platform:*'] : [tenantKey(tenantId, '*')]
  const hash = createHash('sha256').update(password.reveal()).digest('hex')
  const places = prefixes.flatMap((prefix) => [`~${prefix}`, `&${prefix}`])
  return ['user', name, 'on', `#${hash}`, 'resetkeys', 'resetchannels', ...places, '+@all', ...refused].join(' ')
}
