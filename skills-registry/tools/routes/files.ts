import { Readable } from 'node:stream'
import { z } from 'zod'
import { defineError } from '#core/errors.ts'
import { whileAllowed } from '#core/http/while-allowed.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import type { App } from '#core/plugin.ts'
import { etagOf, readParts } from '#skills-registry/tools/capabilities/files-content.ts'
import type { FilesOptions } from '#skills-registry/tools/capabilities/files-options.ts'
import { FilePath, PathPrefix } from '#skills-registry/tools/capabilities/files-path.ts'
import { findFile, findWorkspace, listFiles } from '#skills-registry/tools/capabilities/files-store.ts'
import { decodeAfter, pageAfter } from './after-cursor.ts'
import { attachment, parseRange } from './download.ts'

const FileNotFound = defineError('TOOLS_FILE_NOT_FOUND', 404, () => 'the session has no such file')
const RangeRefused = defineError('TOOLS_RANGE_REFUSED', 416, (size: number) => ({
  message: `the file has ${size} bytes: nothing of it is in this range`,
  details: { size }
}))

/** Goes into the room's manifest. */
export const filePermissions = { 'files:read': 'See and download the files that skills wrote in sessions.' }

const Used = z.object({ files: z.int(), bytes: z.int(), storedBytes: z.int() })

/** What the skills of a session wrote. Of a session of another tenant, or of none, there are no rows. */
export function fileRoutes(app: App, { objects, limits }: { objects: ObjectStore; limits: FilesOptions }): void {
  const tags = ['tools']

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id/files',
    config: { permission: 'files:read' },
    schema: {
      tags,
      summary: "The files of a session's workspace, in the order of their paths' UTF-8 bytes",
      params: z.object({ id: z.uuid() }),
      querystring: z.strictObject({
        prefix: PathPrefix.default(''),
        limit: z.coerce.number().int().min(1).max(200).default(50),
        cursor: z.string().max(3000).optional()
      }),
      response: {
        200: z.object({
          data: z.array(z.object({ path: z.string(), bytes: z.int(), updatedAt: z.iso.datetime() })),
          nextCursor: z.string().nullable(),
          used: Used,
          limits: Used.extend({ fileBytes: z.int() })
        })
      }
    },
    handler: async (request) => {
      const { id } = request.params
      const { prefix, limit, cursor } = request.query
      const after = decodeAfter('files', cursor)
      const [rows, use] = await request.tenant((tx) =>
        Promise.all([listFiles(tx, id, { prefix, after, limit: limit + 1 }), findWorkspace(tx, id)])
      )
      const show = ({ path, bytes, updatedAt }: (typeof rows)[number]) => ({
        path,
        bytes,
        updatedAt: updatedAt.toISOString()
      })
      return {
        ...pageAfter('files', rows, limit, ({ path }) => path, show),
        used: { files: use.files, bytes: Number(use.bytes), storedBytes: Number(use.stored) },
        limits: {
          files: limits.files,
          bytes: limits.totalBytes,
          storedBytes: limits.storedBytes,
          fileBytes: limits.fileBytes
        }
      }
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/sessions/:id/files/content',
    config: { permission: 'files:read' },
    schema: {
      tags,
      summary: "One file of a session's workspace (?path=), whole or a range of it",
      params: z.object({ id: z.uuid() }),
      querystring: z.strictObject({ path: FilePath }),
      produces: ['application/octet-stream']
    },
    handler: async (request, reply) => {
      const { id } = request.params
      const { path } = request.query
      const { tenantId } = request.auth
      const file = await request.tenant((tx) => findFile(tx, id, path))
      if (!file) throw new FileNotFound()
      const etag = etagOf(file.parts)
      reply.headers({ etag, 'cache-control': 'private, no-cache', 'accept-ranges': 'bytes' })
      const { range: wanted, 'if-range': ifRange, 'if-none-match': known } = request.headers
      if (known?.split(',').some((tag) => tag.trim() === etag)) return reply.status(304).send()
      const range = ifRange === undefined || ifRange === etag ? parseRange(wanted, file.bytes) : null
      if (range === 'none') {
        reply.header('content-range', `bytes */${file.bytes}`)
        throw new RangeRefused(file.bytes)
      }
      const { start, end } = range ?? { start: 0, end: file.bytes }
      if (range) reply.status(206).header('content-range', `bytes ${start}-${end - 1}/${file.bytes}`)
      const out = Readable.from(readParts(objects, tenantId, file.parts, start, end), { objectMode: false })
      whileAllowed(request, out)
      // Whatever a skill wrote, no browser is to take it for a page of ours.
      return reply
        .headers({
          'content-type': 'application/octet-stream',
          'content-disposition': attachment(path),
          'content-length': end - start
        })
        .send(out)
    }
  })
}
