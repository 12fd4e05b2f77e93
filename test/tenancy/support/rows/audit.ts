import type { RouteRow } from './row.ts'

const read: RouteRow = { permission: 'audit:read', ok: [200] }

export const auditRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/audit': { ...read, list: true },
  'GET /v1/audit/verify': read,
  'GET /v1/audit/export': read
}
