// Another host, as a process of its own: writes events in small transactions and relays them, until it is told to stop.
// argv: appUrl systemUrl tenantId events-per-second [relay's batch after which it is killed, before it tells anybody]
import { createBus } from '#core/bus/index.ts'
import { Ticked } from '#core/bus/test/support.ts'
import { systemClock } from '#core/clock.ts'
import { armCrashPoint } from '#core/crash-point.ts'
import { deriveSecrets, openDb } from '#core/db/index.ts'
import { pending } from '#core/events.ts'
import { testSecret } from '#test/support/cluster.ts'

const [appUrl = '', systemUrl = '', tenantId = '', rate = '1000', killAt] = process.argv.slice(2)
if (killAt !== undefined) armCrashPoint('relay-sequenced', Number(killAt))
const { tenantHmacKey } = deriveSecrets(testSecret)
const db = await openDb({ appUrl, systemUrl, tenantHmacKey, appPool: 4, systemPool: 3 })
const bus = createBus({ db })
await bus.start()
let running = true
process.on('message', () => {
  running = false
})
const begun = systemClock.monotonic()
let written = 0
while (running) {
  const due = Math.floor(((systemClock.monotonic() - begun) / 1000) * Number(rate))
  const batch = Array.from({ length: Math.min(50, due - written) }, (_, i) =>
    pending(Ticked, 'child', { n: written + i + 1 })
  )
  written += batch.length
  if (batch.length > 0) await db.tenant(tenantId, (tx) => bus.emitAll(tx, batch))
  else await systemClock.sleep(2)
}
process.send?.({ written })
await bus.stop()
await db.close()
process.disconnect?.()
