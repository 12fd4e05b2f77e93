import { ObjectAddressInvalid } from './errors.ts'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const sha256 = /^sha256:([0-9a-f]{64})$/

export function isScope(name: string): boolean {
  return name === 'platform' || uuid.test(name)
}

/** @throws ObjectAddressInvalid unless it is a lower case uuid or 'platform': it becomes a folder's name */
export function parseScope(scope: string): string {
  if (!isScope(scope)) throw new ObjectAddressInvalid('scope', scope)
  return scope
}

/** @returns the hex digits. @throws ObjectAddressInvalid */
export function parseDigest(digest: string): string {
  const hex = sha256.exec(digest)?.[1]
  if (!hex) throw new ObjectAddressInvalid('digest', digest)
  return hex
}
