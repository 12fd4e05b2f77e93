import { planTable } from '#config/plugins.ts'
import { ActorHost } from '#core/actors/index.ts'
import { newId } from '#core/ids.ts'
import { sessionEffects } from '#plugins/pulse/effects.ts'
import { sessionKind } from '#plugins/pulse/kind.ts'
import { Sessions } from '#plugins/pulse/sessions.ts'
import type { PulseApp } from './pulse-app.ts'

/** Another host of the same database, in this process: its own name, its own activations. Not started. */
export function secondHost(
  app: PulseApp,
  overrides: { db?: PulseApp['db'] } = {}
): { actors: ActorHost; hostId: string } {
  const { bus, jobs, objects, ports, clock, log } = app.kernel
  const db = overrides.db ?? app.db
  const hostId = newId()
  const actors = new ActorHost({ hostId, db, bus, clock, log, capacity: 8 })
  const sessions = new Sessions({
    db,
    bus,
    actors,
    clock,
    objects,
    ports,
    jobs,
    plans: planTable,
    queueMax: {},
    toolCalls: {}
  })
  actors.register(sessionKind, {
    effects: sessionEffects({ db, bus, ports, objects, clock, log }),
    write: (tx, entries) => sessions.write(tx, entries),
    limits: (tx) => sessions.limits(tx)
  })
  return { actors, hostId }
}
