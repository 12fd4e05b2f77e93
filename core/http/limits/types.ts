/**
 * What a request costs its tenant (a public one its address): each class has a limit of its own. `auth` is for routes
 * that take credentials, `heavy` for those that keep this host busy for long (publishing, exports).
 */
export type RouteClass = 'read' | 'write' | 'auth' | 'heavy'

/** Who tries to prove who they are. */
export interface Claimant {
  /** The address as TRUST_PROXY lets us see it. */
  readonly ip: string
  /** What the attempt is about, if it names anything: an API key's prefix, a user's e-mail, a token's issuer and subject. */
  readonly account?: string
}

/**
 * Counts what clients do. Shared by all hosts where there is a Redis, this host's own where there is none or it is away.
 * A kernel part: `app.limits`, absent where nothing is limited (most tests).
 */
export interface Limits {
  /**
   * Before credentials are looked at: has this address, or this account, failed too often lately?
   * @throws RateLimited (429)
   */
  authAllowed(who: Claimant): Promise<void>
  /** After credentials were wrong. Never throws: the caller has a 401 to give. */
  authFailed(who: Claimant): Promise<void>
  /**
   * Both around checking credentials that takes long: until its end an attempt counts as a failure here, so that those
   * made at once do not pass the limit together.
   * @returns to be called at the end, with whether the credentials were wrong; never throws
   * @throws RateLimited (429)
   */
  authBegin(who: Claimant): Promise<(wrong: boolean) => Promise<void>>
  /**
   * Counts one request and says how it stands; null where this tenant's plan has no limit for the class.
   * Never throws for a store that is away.
   */
  take(who: Payer, kind: RouteClass): Promise<Standing | null>
  /** The same where there are no headers to tell it. @throws RateLimited (429) */
  admit(who: Payer, kind: RouteClass): Promise<void>
}

/** A tenant, or the address of somebody unknown. */
export type Payer = { readonly tenantId: string } | { readonly ip: string }

/** One limit after one request was counted. */
export interface Standing {
  readonly kind: RouteClass
  /** Requests in the window. */
  readonly limit: number
  readonly windowMs: number
  /** Requests so far, this one included; above `limit` it is refused. */
  readonly used: number
  /** Milliseconds until the window ends and `used` is 0 again. */
  readonly resetMs: number
}

declare module 'fastify' {
  interface FastifyInstance {
    limits?: Limits
  }
  interface FastifyContextConfig {
    /** What a request of this route counts as; GET and HEAD are `read`, others `write` unless they say so here. */
    limit?: RouteClass
  }
}
