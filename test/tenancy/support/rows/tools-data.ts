import type { Citizen, World } from '../world.ts'
import { byId, type RouteRow } from './row.ts'

/** What a skill of the tenant keeps, and a file of its session; there again where it was deleted. */
export async function keepData({ sql, kernel }: Pick<World, 'sql' | 'kernel'>, who: Citizen): Promise<string> {
  const { tenantId, sessionId, canary } = who
  const skill = `@${who.scope}/tool`
  const content = Buffer.from(`${canary} file`)
  const { digest, size } = await kernel.objects.put(tenantId, content)
  const value = JSON.stringify(`${canary} value`)
  await sql`
    insert into tools.storage (tenant_id, skill, key, value, version, bytes)
    values (${tenantId}, ${skill}, 'kept', ${value}, 1, ${value.length}) on conflict do nothing`
  await sql`
    insert into tools.storage_use as u (tenant_id, skill, version, keys, bytes, blocks)
    values (${tenantId}, ${skill}, 1, 1, ${value.length + 4}, 1)
    on conflict (tenant_id, skill) do update set keys = excluded.keys, bytes = excluded.bytes, blocks = excluded.blocks`
  await sql`
    insert into tools.file (tenant_id, session_id, path, folded, parts, bytes, version)
    values (${tenantId}, ${sessionId}, 'out.txt', 'OUT.TXT', ${sql.json([{ digest, bytes: size }])}, ${size}, 1)
    on conflict do nothing`
  await sql`
    insert into tools.workspace (tenant_id, session_id, version, files, bytes, stored)
    values (${tenantId}, ${sessionId}, 1, 1, ${size}, ${size}) on conflict do nothing`
  return sessionId
}

const ofSkill: Pick<RouteRow, 'own' | 'had' | 'absent'> = {
  own: async (world, who) => {
    await keepData(world, who)
    return { scope: who.scope, name: 'tool' }
  },
  had: (who) => ({ scope: who.scope, name: 'tool' }),
  absent: () => ({ scope: 'scope-nobody', name: 'tool' })
}
const keyed = { ...ofSkill, request: () => ({ query: '?key=kept' }) }
const ofSession = byId(keepData, (who) => who.sessionId)

export const toolsDataRows: Readonly<Record<string, RouteRow>> = {
  'GET /v1/storage': { permission: 'storage:read', ok: [200], list: true },
  'GET /v1/storage/:scope/:name': { permission: 'storage:read', ok: [200], ...ofSkill },
  'DELETE /v1/storage/:scope/:name': { permission: 'storage:write', ok: [200], ...ofSkill },
  'GET /v1/storage/:scope/:name/value': { permission: 'storage:read', ok: [200], ...keyed },
  'DELETE /v1/storage/:scope/:name/value': { permission: 'storage:write', ok: [204], ...keyed },
  // A session without files and one that is nowhere are told alike: an empty list.
  'GET /v1/sessions/:id/files': {
    permission: 'files:read',
    ok: [200],
    own: async (world, who) => ({ id: await keepData(world, who) })
  },
  'GET /v1/sessions/:id/files/content': {
    permission: 'files:read',
    ok: [200],
    ...ofSession,
    request: () => ({ query: '?path=out.txt' })
  }
}
