import type { RouteRow } from './row.ts'

/** Asked about nobody, without a body. */
const platform = (...ok: number[]): RouteRow => ({ permission: 'platform:quarantine', ok })

export const toolsRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/skills/quarantines': { permission: 'skills:read', ok: [200], list: true },
  'GET /v1/platform/quarantines': platform(200),
  'POST /v1/platform/quarantines/:id/lift': platform(400, 404)
}
