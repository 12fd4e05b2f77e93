import { open, type RouteRow } from './row.ts'

export const httpRows: Readonly<Record<string, RouteRow>> = {
  'GET /openapi.json': open,
  'GET /livez': open,
  'GET /readyz': open,
  'GET /docs': { permission: 'public', ok: [301] },
  'GET /docs*': { permission: 'public', ok: [404] },
  'GET /v1/ws': { permission: 'public', ok: [426] },
  'GET /v1/platform/doctor': { permission: 'platform:doctor', ok: [200] },
  'GET /v1/platform/doctor/:group': { permission: 'platform:doctor', ok: [404], own: () => ({ group: 'none' }) },
  'GET /v1/platform/rooms': { permission: 'platform:rooms', ok: [200] },
  'GET /v1/system/rooms': { permission: 'platform:rooms', ok: [200] }
}
