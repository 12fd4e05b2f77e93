import { z } from 'zod'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, PageQuery, page, pageOf } from '#core/http/page.ts'
import { isId } from '#core/ids.ts'
import type { App } from '#core/plugin.ts'
import { InstallNotFound } from './errors.ts'
import { type InstallDeps, install, uninstall } from './install.ts'
import { InstallBody, Installed } from './schema.ts'
import { type InstallRow, listInstalls } from './store.ts'

const tags = ['skills']

/** What a tenant installed. */
export function installRoutes(app: App, deps: InstallDeps): void {
  app.route({
    method: 'POST',
    url: '/v1/skills',
    config: { permission: 'skills:install' },
    schema: {
      tags,
      summary: 'Install the highest published version of @scope/name@range',
      body: InstallBody,
      response: { 200: Installed, 201: Installed }
    },
    handler: async (request, reply) => {
      const { ref, grant } = request.body
      const answer = await idempotent(request, async (tx) => {
        const { created, row } = await install(tx, deps, grant === undefined ? { ref } : { ref, grant })
        return { status: created ? 201 : 200, body: show(row), headers: { location: `/v1/skills/${row.id}` } }
      })
      return sendAnswer(reply, answer)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/skills',
    config: { permission: 'skills:read' },
    schema: {
      tags,
      summary: 'What is installed, newest first',
      querystring: PageQuery,
      response: { 200: pageOf(Installed) }
    },
    handler: async (request) => {
      const { limit, cursor } = request.query
      const after = decodeCursor('skills', cursor)
      const rows = await request.tenant((tx) => listInstalls(tx, limit, after))
      return page('skills', rows, limit, (row) => ({ createdAt: row.position, id: row.id }), show)
    }
  })

  app.route({
    method: 'DELETE',
    url: '/v1/skills/:id',
    config: { permission: 'skills:install' },
    schema: {
      tags,
      summary: 'Uninstall for new sessions; those that exist keep the version that they pinned',
      params: z.object({ id: z.string() }),
      response: { 204: z.null() }
    },
    handler: async (request, reply) => {
      const { id } = request.params
      if (!isId(id)) throw new InstallNotFound()
      await request.tenant((tx) => uninstall(tx, deps.bus, id))
      return reply.status(204).send(null)
    }
  })
}

function show({ id, name, version, digest, range, grant, installedAt }: InstallRow): z.output<typeof Installed> {
  return { id, name, version, digest, range, grant, installedAt: installedAt.toISOString() }
}
