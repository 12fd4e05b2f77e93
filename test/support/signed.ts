import { deriveSecrets } from '#core/db/index.ts'
import { createSigner, type SignedSettings } from '#core/db/signature.ts'
import { testSecret } from './cluster.ts'

/** Signs as the API process does, for tests that set a transaction's tenant by hand. */
export const sign = createSigner(deriveSecrets(testSecret).tenantHmacKey)

const names: Readonly<Record<keyof SignedSettings, string>> = {
  tenant: 'agentos.tenant',
  user: 'agentos.user',
  claims: 'request.jwt.claims',
  signature: 'agentos.signature'
}

/** The statement that sets what is given and leaves the rest alone. @param local for this transaction only */
export function settingsSql(settings: Partial<SignedSettings>, local = true): string {
  const calls = Object.entries(settings).map(
    ([key, value]) =>
      `set_config('${names[key as keyof SignedSettings]}', '${String(value).replaceAll("'", "''")}', ${local})`
  )
  return `select ${calls.join(', ')}`
}

/** What a connection is left with after a tenant's transaction. */
export const unsigned: SignedSettings = { tenant: '', user: '', claims: '', signature: '' }
