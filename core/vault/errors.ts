import { defineError } from '#core/errors.ts'

/** Also for a secret that is absent or another tenant's: who may not have it does not learn whether it is there. */
export const NotGranted = defineError('VAULT_NOT_GRANTED', 403, (name: string, who: string) => ({
  message: `no secret ${name} is granted to ${who}: PUT /v1/secrets/${name}/grants`,
  details: { name }
}))

export const VaultFull = defineError('VAULT_FULL', 409, (what: string, limit: number) => ({
  message: `there are ${limit} ${what} already, which is the most: delete one first`,
  details: { limit }
}))

/** The bytes are not what was sealed here: a row changed or moved by hand, a restored copy, a data key that is gone. */
export const Unreadable = defineError(
  'VAULT_UNREADABLE',
  500,
  (name: string, version: number, reason: string, cause?: unknown) => ({
    message: `secret ${name} (version ${version}) does not open, ${reason}: put its value again`,
    cause
  })
)

export const KekMissing = defineError('VAULT_KEK_MISSING', 500, (versions: readonly number[]) => ({
  message: `data keys are wrapped with key encryption key version ${versions.join(', ')}, which VAULT_KEKS does not hold: bring it back until a rotation has moved them (version 1 may be 1:derived)`,
  details: { versions }
}))

export const KekWrong = defineError('VAULT_KEK_WRONG', 500, (version: number, cause?: unknown) => ({
  message: `no data key opens with key encryption key version ${version}: VAULT_KEKS holds another key under this number than the one that wrapped them`,
  details: { version },
  cause
}))
