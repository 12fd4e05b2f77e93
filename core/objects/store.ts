import type { Readable } from 'node:stream'

/** 'sha256:' and 64 lower case hex digits of the bytes themselves. */
export type Digest = `sha256:${string}`

export interface StoredObject {
  digest: Digest
  /** bytes */
  size: number
}

export interface PutLimits {
  /** default 1 GiB */
  maxBytes?: number
}

/**
 * Blobs by content. A scope is a tenant id, or 'platform' for published packages; equal bytes of two scopes are two
 * objects, so that no tenant learns what another one stores. Rows hold digests; the store knows no rows.
 */
export interface ObjectStore {
  /**
   * Stores the bytes and returns only when they would survive a power cut. Storing the same bytes again is cheap.
   * @throws ObjectTooLarge (413), ObjectAddressInvalid (400); nothing stays of a put that failed
   */
  put(scope: string, bytes: Uint8Array | AsyncIterable<Uint8Array>, limits?: PutLimits): Promise<StoredObject>
  /** The whole object, verified. @throws ObjectNotFound (404), ObjectCorrupt (500), ObjectAddressInvalid (400) */
  get(scope: string, digest: string): Promise<Uint8Array>
  /**
   * The object as a stream, verified while it is read: when the bytes are wrong it errors with ObjectCorrupt at the end
   * instead of ending, so a consumer may act on the bytes only after the end.
   * @throws as get
   */
  open(scope: string, digest: string): Promise<Readable>
  /** @throws ObjectAddressInvalid (400) */
  has(scope: string, digest: string): Promise<boolean>
  /** Names of all scopes, and of whatever else stands among them and should not. */
  scopes(): Promise<{ scopes: string[]; strays: string[] }>
  /** Every object of a scope, in no order; one that comes or goes meanwhile may be missing. @throws ObjectAddressInvalid */
  list(scope: string): AsyncIterable<StoredObject>
  /**
   * Removes all of a tenant's objects, also what is just being put.
   * @returns how many. @throws ObjectAddressInvalid for `platform`: others stand on what is published
   */
  clear(tenantId: string): Promise<number>
  /** @returns whether it was there. @throws ObjectAddressInvalid (400) */
  remove(scope: string, digest: string): Promise<boolean>
}
