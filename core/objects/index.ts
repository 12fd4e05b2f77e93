export * from './errors.ts'
export { FileObjectStore } from './file-store.ts'
export type { Digest, ObjectStore, PutLimits, StoredObject } from './store.ts'
