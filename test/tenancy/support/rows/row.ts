import type { Citizen, World } from '../world.ts'

export type Params = Readonly<Record<string, string>>

/** What the suite must know of a route. A route without a row is red. */
export interface RouteRow {
  /** 'public', 'authenticated' or the permission that it asks for. */
  permission: string
  /** Answers to who may ask. */
  ok: readonly number[]
  /** Path parameters that name a thing of this tenant; made anew for each request. */
  own?: (world: World, who: Citizen) => Promise<Params> | Params
  /** What `who` has of the same kind already: another tenant reaches for it. */
  had?: (who: Citizen) => Params
  /** The same kind of thing, nowhere to be found. */
  absent?: () => Params
  /** `query` begins with `?`. */
  request?: (who: Citizen) => { payload?: object | Buffer; headers?: Record<string, string>; query?: string }
  /** Bodies that name a thing of `whose`: [what, payload, status]. Another tenant's is answered like one that is nowhere. */
  bodies?: (whose: Naming) => [what: string, payload: object, status: number][]
  list?: boolean
}

/** Names by which a body could reach for a tenant's things. */
export interface Naming {
  scope: string
  tenantId: string
}

export const nowhere = '01900000-0000-7000-8000-0000000000ff'

/**
 * Of a route about one thing.
 * @param make a new one for each request of its owner
 * @param had the one that the citizen was born with (support/world.ts), for another tenant to reach for
 */
export const byId = (
  make: (world: World, who: Citizen) => Promise<string>,
  had: (who: Citizen) => string
): Pick<RouteRow, 'own' | 'had' | 'absent'> => ({
  own: async (world, who) => ({ id: await make(world, who) }),
  had: (who) => ({ id: had(who) }),
  absent: () => ({ id: nowhere })
})

export const open: RouteRow = { permission: 'public', ok: [200] }
