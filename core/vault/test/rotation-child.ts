// A host that rotates, one data key a transaction, and stops in its fifth, where the test kills it.
import { systemClock } from '#core/clock.ts'
import { deriveSecrets, openDb } from '#core/db/index.ts'
import { createLog } from '#core/log.ts'
import { Secret } from '#core/secret.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { KekRotation } from '#core/vault/rotation.ts'

const [appUrl = '', systemUrl = '', secret = '', list = ''] = process.argv.slice(2)
const { kek, tenantHmacKey } = deriveSecrets(new Secret(secret))
const db = await openDb({ appUrl, systemUrl, tenantHmacKey })
const { wrapper } = vaultKeys(kek, new Secret(list))
let seen = 0
await new KekRotation({
  db,
  clock: systemClock,
  log: createLog(),
  batch: 1,
  wrapper: {
    current: wrapper.current,
    versions: wrapper.versions,
    unwrap: (tenantId, wrapped, version) => wrapper.unwrap(tenantId, wrapped, version),
    async wrap(tenantId, key) {
      console.log(`key ${++seen}`)
      if (seen === 5) await new Promise(() => {}) // inside the transaction: the row is held when the process dies
      return await wrapper.wrap(tenantId, key)
    }
  }
}).run()
