// A sweep that is killed: erases a tenant and dies, without farewell, after the named step.

import { systemClock } from '#core/clock.ts'
import { deriveSecrets, openDb } from '#core/db/index.ts'
import { createLog } from '#core/log.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { eraseTenant } from '#core/tenants/erasure/erase.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { Vault } from '#core/vault/vault.ts'
import { testSecret } from '#test/support/cluster.ts'

const [appUrl = '', systemUrl = '', dir = '', tenantId = '', dieAt = ''] = process.argv.slice(2)
const { tenantHmacKey, kek } = deriveSecrets(testSecret)
const log = createLog({ level: 'silent' })
const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 1, systemPool: 1 })
const vault = new Vault({ db, clock: systemClock, log, keys: vaultKeys(kek) })
await eraseTenant(
  {
    db,
    log,
    vault,
    objects: new FileObjectStore({ dir }),
    onStep: (step) => {
      if (step === dieAt) process.kill(process.pid, 'SIGKILL')
    }
  },
  tenantId
)
await db.close()
