// Another host, as a process of its own, that handles events until it is killed. argv: appUrl systemUrl
import { createBus } from '#core/bus/index.ts'
import { Ticked } from '#core/bus/test/support.ts'
import { deriveSecrets, openDb } from '#core/db/index.ts'
import { testSecret } from '#test/support/cluster.ts'

const [appUrl = '', systemUrl = ''] = process.argv.slice(2)
const { tenantHmacKey } = deriveSecrets(testSecret)
const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 6, systemPool: 3 })
const bus = createBus({ db, pollMs: 10 })
bus.on('diary', Ticked, async (tx, event) => {
  await tx`insert into core.diary (seq, n, host) values (${event.seq.toString()}, ${event.data.n}, 'there')`
})
await bus.start()
process.send?.('started')
