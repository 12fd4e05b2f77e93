import { type AuditEntry, audit } from '#core/audit/audit.ts'
import type { Clock } from '#core/clock.ts'
import type { Db } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import type { SecretsPort } from '#core/ports/secrets.ts'
import { type Capability, CapabilityError, method } from '../../capability.ts'
import { Turns } from '../../turns.ts'
import { FetchArguments } from './arguments.ts'
import { createTrust } from './connect.ts'
import { createGuard } from './guard.ts'
import { FETCH_LIMITS, type FetchLimits, Journey } from './journey.ts'
import { createResolve, type Resolve } from './resolve.ts'

export interface FetchDeps {
  clock: Clock
  db: Db
  /** Asked when a request needs a secret. */
  secrets: () => SecretsPort
  /** The machine's DNS servers, unless said. */
  resolve?: Resolve | undefined
  /** For tests: where the sockets go, and whose certificates count. */
  connect?: { port?: number | undefined; ca?: string | undefined } | undefined
  /** CIDRs that the operator opened; metadata services stay closed. */
  allowAddresses?: readonly string[]
  /** Names, addresses and CIDRs of the platform itself. */
  ownHosts?: readonly string[]
  limits?: Partial<FetchLimits>
  turns?: Turns
}

/**
 * Requests of skills on a host that are under way: of one tenant, and of all. Each holds its answer some four times over
 * while it is read, masked and written as JSON; a tool may have 64 host calls out, and a host runs hundreds of tools.
 */
const FETCH_TURNS = { perTenant: 16, inAll: 64 } as const

/**
 * `fetch`: one https request of a skill to a host and by a method that were granted to it; README.md has the rules.
 * @throws TypeError for an address in the options that is none
 */
export function createFetchCapability(deps: FetchDeps): Capability {
  const { clock, db, secrets, turns = new Turns(FETCH_TURNS) } = deps
  const journeyDeps = {
    clock,
    db,
    secrets,
    resolve: deps.resolve ?? createResolve(),
    guard: createGuard(deps),
    limits: { ...FETCH_LIMITS, ...deps.limits },
    connect: { port: deps.connect?.port, trust: createTrust(deps.connect?.ca) }
  }
  // What the audit log gets is more than the guest does (bytes, time): it waits here for the transaction of the journal.
  const entries = new WeakMap<object, AuditEntry>()
  return {
    name: 'fetch',
    names: ({ fetch }) => (fetch && fetch.length > 0 ? ['fetch'] : []),
    methods: {
      fetch: method<FetchArguments>({
        args: FetchArguments,
        async outside(call, [args]) {
          const journey = new Journey(journeyDeps, call, args)
          const entry = (error: string | null) => journey.trip.audited(call, (text) => journey.mask.text(text), error)
          try {
            const answer = await turns.run(call.tenantId, () => journey.run())
            entries.set(answer, entry(null))
            return answer
          } catch (error) {
            // What was sent may have had its effect, and a cancelled call journals nothing.
            if (journey.trip.sent) {
              const code = error instanceof CapabilityError ? error.code : 'HOST_CALL_FAILED'
              await db.tenant(call.context, (tx) => audit(tx, entry(code)))
            }
            throw error
          }
        },
        audit: (_call, _args, answer) => must(entries.get(answer as object), 'the audit entry of a fetch')
      })
    }
  }
}
