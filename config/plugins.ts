import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deriveSecrets, type MigrationRoom } from '#core/db/index.ts'
import { coreMigrations } from '#core/migrations.ts'
import { migrationsOf, type Seat } from '#core/plugin.ts'
import { PlanTable } from '#core/tenants/plans.ts'
import { gatewayRoom } from '#core/ws/index.ts'
import pulse from '#plugins/pulse/index.ts'
import skillsRegistry from '#skills-registry/index.ts'
import tools from '#skills-registry/tools/index.ts'
import type { Env } from './env.ts'

/** The plans and their limits: the numbers are config's. */
export const planTable = PlanTable.parse(JSON.parse(readFileSync(new URL('./plans.json', import.meta.url), 'utf8')))

/** Tool calls of a tenant that may run at once on a host: plans.json says nothing of them, so these numbers are ours. */
const toolCalls = { free: 4, pro: 16, enterprise: null }

/** Every room of this server, with its options; the boot order follows from their needs. */
export function seats(env: Pick<Env, 'home' | 'sandboxRequire'> & Partial<Pick<Env, 'secret' | 'skillFetch'>>): Seat[] {
  // Hosts of one database share the secret, and by it the registry's key: each trusts what the others counter-signed.
  const keySeed = env.secret && deriveSecrets(env.secret).registryKeySeed
  return [
    { room: gatewayRoom },
    {
      room: skillsRegistry,
      options: {
        keyFile: join(env.home, 'registry.key'),
        ...(keySeed ? { keySeed } : {})
      }
    },
    {
      room: tools,
      options: {
        sandbox: { require: env.sandboxRequire },
        fetch: { allowAddresses: env.skillFetch?.allow, ownHosts: env.skillFetch?.deny }
      }
    },
    { room: pulse, options: { plans: planTable, toolCalls } }
  ]
}

/** The SQL of the kernel and of every room, in the order in which it is applied. */
export function migrations(rooms: readonly Seat[]): MigrationRoom[] {
  return [...coreMigrations, ...migrationsOf(rooms)]
}
