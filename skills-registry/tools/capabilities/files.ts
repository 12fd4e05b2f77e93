import { z } from 'zod'
import { cutPage } from '#core/http/page.ts'
import type { ObjectStore } from '#core/objects/index.ts'
import { type Capability, CapabilityError, type HostCall, method } from '#skills-registry/tools/capability.ts'
import { type Part, planAppend, readParts, unfinished } from './files-content.ts'
import type { FilesOptions } from './files-options.ts'
import { FilePath, PathPrefix } from './files-path.ts'
import * as store from './files-store.ts'

/** Of one read: as base64 it fits into an answer (1 MiB). */
const PIECE_BYTES = 700 * 1024
/** Of the text of one read, as JSON: control characters take six times their size there. */
const PIECE_JSON_BYTES = 1000 * 1024
const MAX_PAGE = 500

const Content = z.union([
  z.strictObject({
    text: z.string().refine((text) => text.isWellFormed(), 'contains a lone surrogate')
  }),
  z.strictObject({
    base64: z.string().refine((text) => Buffer.from(text, 'base64').toString('base64') === text, 'is not base64')
  })
])
const Range = z.strictObject({
  as: z.enum(['text', 'base64']).default('text'),
  offset: z.int().min(0).default(0),
  length: z.int().min(1).max(PIECE_BYTES).default(PIECE_BYTES)
})
const Listing = z.strictObject({
  prefix: PathPrefix.default(''),
  after: PathPrefix.default(''),
  limit: z.int().min(1).max(MAX_PAGE).default(100)
})

interface FilesDeps {
  readonly objects: ObjectStore
  readonly limits: FilesOptions
}

/**
 * `ctx.files`: the workspace of the session, which its skills share. Paths are names of rows: no file system of ours ever
 * sees one.
 */
export function createFilesCapability({ objects, limits }: FilesDeps): Capability {
  const put = async (tenantId: string, bytes: Uint8Array): Promise<Part[]> => {
    if (bytes.byteLength === 0) return []
    const { digest, size } = await objects.put(tenantId, bytes)
    return [{ digest, bytes: size }]
  }
  const writing = {
    args: z.tuple([FilePath, Content]),
    audit: ({ sessionId, skill }: HostCall, [path]: [string, unknown], answer: unknown) => {
      const { bytes } = answer as { bytes: number }
      return {
        action: 'tool.file_written',
        subject: `session:${sessionId}`,
        details: { skill: skill.name, path, bytes }
      }
    }
  }

  return {
    name: 'files',
    names: ({ files }) => {
      if (files === undefined) return []
      const reads = ['files.read', 'files.list', 'files.stat']
      return files === 'write' ? [...reads, 'files.write', 'files.append', 'files.delete'] : reads
    },
    methods: {
      'files.read': method({
        args: z.tuple([FilePath, Range.nullish().transform((range) => range ?? Range.parse({}))]),
        audit: null,
        async inTx(tx, { tenantId, sessionId }, [path, { as, offset, length }]) {
          const file = await store.findFile(tx, sessionId, path)
          if (!file) throw notFound(path)
          // A piece of text has room for one character at least: who reads on must come further.
          const end = Math.min(file.bytes, offset + (as === 'text' ? Math.max(length, 4) : length))
          const pieces: Uint8Array[] = []
          for await (const piece of readParts(objects, tenantId, file.parts, offset, end)) pieces.push(piece)
          const found = Buffer.concat(pieces)
          if (as === 'base64') {
            return { base64: found.toString('base64'), bytes: found.length, more: end < file.bytes }
          }
          const { text, bytes } = textOf(found, offset, end < file.bytes, path)
          return { text, bytes, more: offset + bytes < file.bytes }
        }
      }),
      'files.stat': method({
        args: z.tuple([FilePath]),
        audit: null,
        async inTx(tx, { sessionId }, [path]) {
          const file = await store.findFile(tx, sessionId, path)
          return file && show(file)
        }
      }),
      'files.list': method({
        args: z.tuple([Listing.nullish().transform((wanted) => wanted ?? Listing.parse({}))]),
        audit: null,
        async inTx(tx, { sessionId }, [{ prefix, after, limit }]) {
          const rows = await store.listFiles(tx, sessionId, { prefix, after, limit: limit + 1 })
          const { shown, last } = cutPage(rows, limit)
          return { files: shown.map(show), next: last?.path ?? null }
        }
      }),
      'files.write': method({
        ...writing,
        async inTx(tx, { tenantId, sessionId }, [path, content]) {
          const added = bytesOf(content)
          const place = await store.lockWorkspace(tx, sessionId, path)
          const size = { bytes: added.length, stored: added.length }
          store.holdQuota(limits, place.use, place.file, size)
          await store.holdTenantQuota(tx, limits, place.use, size.stored)
          const parts = await put(tenantId, added)
          return { path, bytes: await store.putFile(tx, sessionId, place, { path, parts, stored: size.stored }) }
        }
      }),
      'files.append': method({
        ...writing,
        async inTx(tx, { tenantId, sessionId }, [path, content]) {
          const added = bytesOf(content)
          const place = await store.lockWorkspace(tx, sessionId, path)
          const { keep, rewrite } = planAppend(place.file?.parts ?? [], added.length)
          const stored = added.length + (rewrite?.bytes ?? 0)
          store.holdQuota(limits, place.use, place.file, { bytes: (place.file?.bytes ?? 0) + added.length, stored })
          await store.holdTenantQuota(tx, limits, place.use, stored)
          const tail = rewrite ? [await objects.get(tenantId, rewrite.digest), added] : [added]
          const parts = [...keep, ...(await put(tenantId, Buffer.concat(tail)))]
          return { path, bytes: await store.putFile(tx, sessionId, place, { path, parts, stored }) }
        }
      }),
      'files.delete': method({
        args: z.tuple([FilePath]),
        audit: ({ sessionId, skill }, [path], deleted) => {
          const details = { skill: skill.name, path }
          return deleted === true ? { action: 'tool.file_deleted', subject: `session:${sessionId}`, details } : null
        },
        inTx: async (tx, { sessionId }, [path]) => (await store.deleteFile(tx, sessionId, path)) !== null
      })
    }
  }
}

// Ends with a whole character where more follows, and is short enough as JSON.
function textOf(found: Buffer, offset: number, more: boolean, path: string): { text: string; bytes: number } {
  let piece = found
  for (let cut = more; ; cut = true) {
    if (cut) piece = piece.subarray(0, piece.length - unfinished(piece))
    const text = decode(piece, offset, path)
    if (Buffer.byteLength(JSON.stringify(text)) <= PIECE_JSON_BYTES) return { text, bytes: piece.length }
    piece = piece.subarray(0, piece.length >> 1)
  }
}

function decode(bytes: Buffer, offset: number, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    const where = offset === 0 ? '' : ` from byte ${offset} on, where a character must begin`
    throw new CapabilityError('FILES_NOT_TEXT', `${JSON.stringify(path)} is not UTF-8${where}: use files.readBytes`)
  }
}

function bytesOf(content: z.output<typeof Content>): Buffer {
  return 'text' in content ? Buffer.from(content.text) : Buffer.from(content.base64, 'base64')
}

function show({ path, bytes, updatedAt }: Omit<store.FileRow, 'parts'>) {
  return { path, bytes, updatedAt: updatedAt.toISOString() }
}

function notFound(path: string): CapabilityError {
  return new CapabilityError('FILES_NOT_FOUND', `there is no file ${JSON.stringify(path)} in this session`)
}
