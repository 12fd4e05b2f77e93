import { type Citizen, manual, type World } from './world.ts'

/** What the suite must know of a WebSocket method. A method without a row is red. */
export interface MethodRow {
  permission: string
  /** Params that name things of this tenant, or things that are nowhere. */
  params: (world: World, who: Citizen) => Promise<object> | object
  /** The same about a thing of another tenant, with what it has already; null: nothing of anybody is named. */
  theirs: ((other: Citizen) => object) | null
  absent?: object
  /** Codes of refusals that are right for an own thing in the wrong state. */
  refusals?: readonly string[]
}

const nowhere = { sessionId: '01900000-0000-7000-8000-0000000000ff' }
const session: Pick<MethodRow, 'params' | 'theirs' | 'absent'> = {
  params: async (world, who) => ({ sessionId: await world.session(who) }),
  theirs: ({ sessionId }) => ({ sessionId }),
  absent: nowhere
}
const command: MethodRow = { permission: 'sessions:write', ...session, refusals: ['PULSE_SESSION_CONFLICT'] }
const skillOf = (scope: string) => ({
  config: { start: 'manual', skills: [`@${scope}/secret@^1`], steps: [{ id: 'a', kind: 'tool', tool: 'secret.echo' }] }
})

export const methodRows: Readonly<Record<string, MethodRow>> = {
  ping: { permission: 'authenticated', params: () => ({}), theirs: null },
  subscribe: {
    permission: 'events:read',
    params: () => ({ topics: ['*'], after: 0 }),
    // Anybody may follow any name; another tenant's events do not come. The test looks at all that came.
    theirs: null
  },
  unsubscribe: {
    permission: 'authenticated',
    params: () => ({ subscription: 'none' }),
    theirs: null,
    refusals: ['WS_SUBSCRIPTION_UNKNOWN']
  },
  'session.create': {
    permission: 'sessions:write',
    params: (_world, who) => ({ config: manual(who) }),
    theirs: ({ scope }) => skillOf(scope),
    absent: skillOf('scope-nobody')
  },
  'session.get': { permission: 'sessions:read', ...session },
  'session.run': command,
  'session.pause': command,
  'session.resume': command,
  'session.cancel': command
}
