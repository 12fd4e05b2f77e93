import multipart from '@fastify/multipart'
import type { FastifyRequest } from 'fastify'
import { MediaTypeUnsupported } from '#core/http/errors.ts'
import type { App } from '#core/plugin.ts'
import { UploadInvalid } from './errors.ts'
import { PACKAGE_LIMITS } from './package/limits.ts'
import { Refusal } from './refusal.ts'
import { refusing } from './refused.ts'

const MAX_BUNDLE_BYTES = 2 * 1024 * 1024

export interface Upload {
  package: Uint8Array
  bundle: string
}

/** Lets the routes of this scope read multipart/form-data; the limits are of one part each. */
export async function acceptUploads(app: App): Promise<void> {
  await app.register(multipart, {
    limits: { fileSize: PACKAGE_LIMITS.packedBytes, fieldSize: MAX_BUNDLE_BYTES, files: 2, fields: 2, parts: 2 }
  })
}

/**
 * Reads the parts `package` and `bundle`, each as a file or as a field.
 * @throws SKILLS_PACKAGE_TOO_LARGE (413), SKILLS_UPLOAD_INVALID (400), REQUEST_MEDIA_TYPE_UNSUPPORTED (415)
 */
export async function readUpload(request: FastifyRequest): Promise<Upload> {
  if (!request.isMultipart()) throw new MediaTypeUnsupported(request.headers['content-type'] ?? '')
  const parts = new Map<string, Buffer>()
  await refusing(async () => {
    try {
      for await (const part of request.parts()) {
        if (part.fieldname !== 'package' && part.fieldname !== 'bundle') {
          throw new UploadInvalid(`a part "${part.fieldname.slice(0, 50)}" is not expected: send package and bundle`)
        }
        if (parts.has(part.fieldname)) throw new UploadInvalid(`the part ${part.fieldname} is there twice`)
        parts.set(part.fieldname, part.type === 'file' ? await part.toBuffer() : Buffer.from(String(part.value)))
      }
    } catch (error) {
      throw explain(error)
    }
  })
  const [archive, bundle] = [parts.get('package'), parts.get('bundle')]
  if (!archive || !bundle) throw new UploadInvalid(`the part ${archive ? 'bundle' : 'package'} is missing`)
  return { package: archive, bundle: bundle.toString('utf8') }
}

function explain(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'FST_REQ_FILE_TOO_LARGE') {
    return new Refusal('SKILLS_PACKAGE_TOO_LARGE', `a package has at most ${PACKAGE_LIMITS.packedBytes} bytes`)
  }
  if (error instanceof UploadInvalid) return error
  if (code.startsWith('FST_') || error instanceof Error) {
    return new UploadInvalid(`the multipart body cannot be read: ${error instanceof Error ? error.message : code}`)
  }
  return error
}
