import { defineError } from '#core/errors.ts'

export const ObjectNotFound = defineError('OBJECTS_NOT_FOUND', 404, (digest: string) => `there is no object ${digest}`)

export const ObjectCorrupt = defineError(
  'OBJECTS_CORRUPT',
  500,
  (digest: string, found: string) => `the stored bytes of ${digest} are ${found}: they were changed or damaged`
)

export const ObjectTooLarge = defineError('OBJECTS_TOO_LARGE', 413, (maxBytes: number) => ({
  message: `the object is larger than ${maxBytes} bytes`,
  details: { maxBytes }
}))

export const ObjectAddressInvalid = defineError(
  'OBJECTS_ADDRESS_INVALID',
  400,
  (what: 'scope' | 'digest', given: string) => `${JSON.stringify(given.slice(0, 100))} is not a ${what}`
)
