import { z } from 'zod'
import type { RouteClass } from './types.ts'

// null = unlimited, as in plans.json
const perMinute = z.int().positive().nullable()
const PerClass = z.strictObject({ read: perMinute, write: perMinute, heavy: perMinute, auth: perMinute })
const Failures = z.strictObject({ most: z.int().positive(), minutes: z.int().positive() })

/** The table of config/limits.json: config owns the numbers, the code only their names. Requests a minute. */
export const LimitTable = z.strictObject({
  about: z.string().optional(),
  /** By the name of a plan; a plan without a row has the limits of `otherPlans`. */
  plans: z.record(z.string(), PerClass),
  otherPlans: PerClass,
  /** One address, on public routes. */
  address: PerClass,
  /** Wrong credentials before nobody is let try any more. */
  failures: z.strictObject({ address: Failures, accountAtAddress: Failures, account: Failures })
})

export type LimitTable = z.output<typeof LimitTable>
export type Failures = z.output<typeof Failures>

/** Every limit is for a minute: plans state them so, and a client that was refused waits no longer. */
export const WINDOW_MS = 60_000

/** @returns requests a minute, null for no limit */
export function limitFor(table: LimitTable, payer: { plan: string } | 'address', kind: RouteClass): number | null {
  if (payer === 'address') return table.address[kind]
  const row = Object.hasOwn(table.plans, payer.plan) ? table.plans[payer.plan] : undefined
  return (row ?? table.otherPlans)[kind]
}
