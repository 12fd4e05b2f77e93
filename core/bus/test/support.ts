import type { Test } from 'tap'
import { z } from 'zod'
import { type Bus, type BusOptions, createBus } from '#core/bus/index.ts'
import { type Db, openDb } from '#core/db/index.ts'
import { defineEvent, type StoredEvent } from '#core/events.ts'
import { type TestDb, testDb } from '#test/support/db.ts'

export const busRooms = [{ name: 'core/bus', dir: new URL('../sql/', import.meta.url) }]

export const Ticked = defineEvent('probe.ticked', { subject: 'probe', data: z.strictObject({ n: z.number() }) })
export const Tocked = defineEvent('probe.tocked', { subject: 'probe', data: z.strictObject({ n: z.number() }) })
export const Announced = defineEvent('gazette.announced', {
  subject: 'gazette',
  data: z.strictObject({ text: z.string() }),
  stream: 'platform'
})

/** A bus over a database of its own; not started. */
export async function testBus(t: Test, options: Partial<BusOptions> = {}): Promise<TestDb & { bus: Bus }> {
  const test = await testDb(t, { rooms: busRooms })
  const bus = createBus({ db: test.db, ...options })
  t.teardown(() => bus.stop())
  return { ...test, bus }
}

/** Another host over the same database. */
export async function otherHost(
  t: Test,
  test: Pick<TestDb, 'appUrl' | 'systemUrl' | 'secrets'>,
  options: Partial<BusOptions> = {}
): Promise<{ db: Db; bus: Bus }> {
  const { appUrl, systemUrl, secrets } = test
  const db = await openDb({ appUrl, systemUrl, tenantHmacKey: secrets.tenantHmacKey, appPool: 4, systemPool: 3 })
  const bus = createBus({ db, ...options })
  t.teardown(async () => {
    await bus.stop()
    await db.close()
  })
  return { db, bus }
}

/** A sink that keeps everything. */
export function collect() {
  const events: StoredEvent[] = []
  return {
    events,
    seqs: () => events.map((event) => Number(event.seq)),
    push(more: StoredEvent[]) {
      events.push(...more)
      return more.length
    }
  }
}

/** 1, 2, ..., n */
export function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1)
}
