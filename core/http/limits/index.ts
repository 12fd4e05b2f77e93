// The public face of the limits: other rooms import from here (`#core/http/limits/index.ts`).
export { type LimitsOptions, RateLimits, type Reach } from './limits.ts'
export { limitRoutes } from './routes.ts'
export { LimitTable } from './table.ts'
export type { Claimant, Limits, Payer, RouteClass, Standing } from './types.ts'
