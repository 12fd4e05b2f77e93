import type { ObjectStore } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    objects: ObjectStore
  }
}

export * from './errors.ts'
export { FileObjectStore } from './file-store.ts'
export type { Digest, ObjectStore, PutLimits, StoredObject } from './store.ts'
