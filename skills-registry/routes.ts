import { createHash } from 'node:crypto'
import semver from 'semver'
import type { z } from 'zod'
import type { Tx } from '#core/db/index.ts'
import { idempotent, sendAnswer } from '#core/http/idempotency.ts'
import { decodeCursor, page, pageOf } from '#core/http/page.ts'
import type { App } from '#core/plugin.ts'
import { SkillNotFound } from './errors.ts'
import { type PublishDeps, publish } from './publish.ts'
import { refusing } from './refused.ts'
import {
  nameOf,
  PublishedAnswer,
  SearchQuery,
  SkillPage,
  SkillPath,
  SkillSummary,
  VersionPage,
  VersionPath
} from './schema.ts'
import { verifyBundle } from './signing/verify.ts'
import * as store from './store.ts'
import { readUpload } from './upload.ts'

const tags = ['registry']

/** The registry: publish, search, look, fetch. */
export function registryRoutes(app: App, deps: PublishDeps): void {
  app.route({
    method: 'POST',
    url: '/v1/registry/skills',
    config: { permission: 'skills:publish', limit: 'heavy' },
    schema: {
      tags,
      summary: 'Publish a signed package: multipart parts package (.skill) and bundle (.skill.bundle.json)',
      consumes: ['multipart/form-data'],
      response: { 200: PublishedAnswer, 201: PublishedAnswer }
    },
    handler: async (request, reply) => {
      const upload = await readUpload(request)
      const trust = { roots: [deps.registryKey.spki], registrySignature: 'optional' } as const
      const verified = await refusing(() => verifyBundle(upload.package, upload.bundle, trust))
      const digest = createHash('sha256').update(verified.package.digest).update(upload.bundle).digest()
      const work = async (tx: Tx) => {
        const { created, ...body } = await publish(tx, deps, request.auth.tenantId, verified, upload.package)
        const location = `/v1/registry/skills/${body.name.slice(1)}/${body.version}`
        return { status: created ? 201 : 200, body, headers: { location } }
      }
      return sendAnswer(reply, await idempotent(request, work, digest))
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/registry/skills',
    config: { permission: 'registry:read' },
    schema: { tags, summary: 'Search by words', querystring: SearchQuery, response: { 200: pageOf(SkillSummary) } },
    handler: async (request) => {
      const { q, limit, cursor } = request.query
      const after = decodeCursor('registry', cursor)
      const rows = await request.tenant((tx) => store.searchSkills(tx, q, limit, after))
      return page('registry', rows, limit, (row) => ({ createdAt: row.position, id: row.id }), showSkill)
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/registry/skills/:scope/:name',
    config: { permission: 'registry:read' },
    schema: { tags, summary: 'A skill and its versions', params: SkillPath, response: { 200: SkillPage } },
    handler: async (request) => {
      const name = nameOf(request.params)
      return await request.tenant(async (tx) => {
        const skill = await store.findSkill(tx, name)
        if (!skill) throw new SkillNotFound(name)
        return { ...showSkill(skill), versions: (await store.listVersions(tx, name)).map(showVersion) }
      })
    }
  })

  const findVersion = async (tx: Tx, params: z.output<typeof VersionPath>) => {
    const name = nameOf(params)
    const row = semver.valid(params.version) && (await store.findVersion(tx, name, params.version))
    if (!row) throw new SkillNotFound(`${name} ${params.version}`)
    return row
  }

  app.route({
    method: 'GET',
    url: '/v1/registry/skills/:scope/:name/:version',
    config: { permission: 'registry:read' },
    schema: { tags, summary: 'One version and its manifest', params: VersionPath, response: { 200: VersionPage } },
    handler: async (request) => {
      const row = await request.tenant((tx) => findVersion(tx, request.params))
      const { name, sizeBytes, authorKeyId, manifest } = row
      return { ...showVersion(row), name, sizeBytes, authorKeyId, logIndex: Number(row.logIndex), manifest }
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/registry/skills/:scope/:name/:version/package',
    config: { permission: 'registry:read' },
    schema: { tags, summary: 'The archive, as signed', params: VersionPath },
    handler: async (request, reply) => {
      const row = await request.tenant((tx) => findVersion(tx, request.params))
      const bytes = await deps.objects.get('platform', row.digest)
      return reply.headers(fileHeaders(row, '.skill', 'application/gzip')).send(Buffer.from(bytes))
    }
  })

  app.route({
    method: 'GET',
    url: '/v1/registry/skills/:scope/:name/:version/bundle',
    config: { permission: 'registry:read' },
    schema: { tags, summary: 'The signatures of a version', params: VersionPath },
    handler: async (request, reply) => {
      const row = await request.tenant((tx) => findVersion(tx, request.params))
      return reply.headers(fileHeaders(row, '.skill.bundle.json', 'application/json')).send(row.bundle)
    }
  })
}

function fileHeaders(row: store.VersionRow, ending: string, type: string): Record<string, string> {
  const file = `${row.name.split('/')[1]}-${row.version}${ending}`
  return { 'content-type': type, 'content-disposition': `attachment; filename="${file}"`, etag: `"${row.digest}"` }
}

function showSkill({ id, name, description, latest, createdAt }: store.SkillRow): z.output<typeof SkillSummary> {
  return { id, name, description, latest, createdAt: createdAt.toISOString() }
}

function showVersion({ version, digest, state, publishedAt }: store.VersionSummary) {
  return { version, digest, state, publishedAt: publishedAt.toISOString() }
}
