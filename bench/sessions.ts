// Our side: pulse sessions of one no-op step (a host function), admitted in process under tenant transactions.
import { randomUUID } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrations, planTable } from '#config/plugins.ts'
import { buildApp } from '#core/app.ts'
import { systemClock } from '#core/clock.ts'
import { deriveSecrets, loginUrl, migrate, openDb } from '#core/db/index.ts'
import { createKernel, startKernel } from '#core/kernel.ts'
import { createLog } from '#core/log.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import type { Seat } from '#core/plugin.ts'
import { Secret } from '#core/secret.ts'
import { createTenant } from '#core/tenants/tenants.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { gatewayRoom } from '#core/ws/index.ts'
import pulse from '#plugins/pulse/index.ts'
import { SessionConfig } from '#plugins/pulse/schema.ts'
import { Sessions } from '#plugins/pulse/sessions.ts'
import { hostTools } from '#test/support/host-tools.ts'
import { contend, type Measures, timed } from './contender.ts'

const TENANTS = 50
const CALLERS = 16
const PER_TRANSACTION = 50
/** created, started, usage, progress, checkpoint, completed */
const EVENTS_PER_SESSION = 6

await contend(setUp)

async function setUp(url: string): Promise<Measures> {
  const log = createLog({ level: 'warn' })
  const secret = new Secret('the secret of every bench database 0123456789')
  const secrets = deriveSecrets(secret)
  const rooms: Seat[] = [{ room: gatewayRoom }, { room: pulse, options: { plans: planTable } }]
  await migrate({ url, rooms: migrations(rooms), secret })
  const db = await openDb({
    appUrl: loginUrl(url, 'agentos_app', secrets.appPassword),
    systemUrl: loginUrl(url, 'agentos_system', secrets.systemPassword),
    tenantHmacKey: secrets.tenantHmacKey,
    log
  })
  let started: (() => void) | undefined
  const tools = hostTools({ noop: { run: () => started?.() } })
  const kernel = createKernel({
    db,
    clock: systemClock,
    log,
    objects: new FileObjectStore({ dir: await mkdtemp(join(tmpdir(), 'agentos-bench-objects-')) }),
    apiKeyPepper: secrets.apiKeyPepper,
    userTokenKey: secrets.userTokenKey,
    auditKeySeed: secrets.auditKeySeed,
    vaultKeys: vaultKeys(secrets.kek),
    hostId: randomUUID(),
    concurrency: 64 // the server's default
  })
  kernel.ports.provide('tools', tools)
  await buildApp({ kernel, rooms, kernelPorts: ['tools'], version: '0.0.0-bench' })
  await startKernel(kernel)
  const queueMax = { enterprise: 20_000 }
  const sessions = new Sessions({ ...kernel, plans: planTable, queueMax, toolCalls: {} })
  const tenants: string[] = []
  for (let n = 0; n < TENANTS; n++) {
    const tenant = await db.system((tx) => createTenant(tx, { name: `b${n}`, slug: `b${n}`, plan: 'enterprise' }))
    tenants.push(tenant.id)
  }
  const config = SessionConfig.parse({ skills: ['@test/host'], steps: [{ id: 's', kind: 'tool', tool: 'host.noop' }] })
  const tenantOf = (n: number) => tenants[n % TENANTS] ?? ''

  const numbered = async () =>
    await db.system(async (tx) => {
      const [row] = await tx<{ events: bigint }[]>`
        select coalesce(sum(last_seq), 0)::bigint as events from core.stream where stream_id = any(${tenants}::uuid[])`
      return Number(row?.events ?? 0n)
    })

  // From the first admission until every session's last event has its seq, which it has after its session is COMPLETE.
  const perSecond = async (size: number, admit: () => Promise<unknown>): Promise<number> => {
    const goal = (await numbered()) + size * EVENTS_PER_SESSION
    const begun = performance.now()
    await admit()
    while ((await numbered()) < goal) await systemClock.sleep(2)
    const ms = performance.now() - begun
    await proveComplete()
    tools.calls.length = 0
    tools.ended.length = 0
    return (size * 1000) / ms
  }

  const proveComplete = async () => {
    const [left] = await db.system((tx) => tx`select id, state from pulse.session where state <> 'COMPLETE' limit 1`)
    if (left) throw new Error(`session ${left.id} is ${left.state}`)
  }

  const one = (n: number) => db.tenant(tenantOf(n), (tx) => sessions.create(tx, tenantOf(n), config, 'bench'))
  const many = (n: number) =>
    db.tenant(tenantOf(n), (tx) => sessions.createAll(tx, tenantOf(n), Array(PER_TRANSACTION).fill(config), 'bench'))

  return {
    one: (size) => perSecond(size, () => timed(CALLERS, size, one)),
    fifty: (size) => perSecond(size, () => timed(CALLERS, size / PER_TRANSACTION, many)),
    // One at a time on an idle system: from the call that admits to the first line of the step's tool.
    latency: async (size) => {
      const all: number[] = []
      for (let n = 0; n < size; n++) {
        const running = new Promise<number>((resolve) => {
          started = () => resolve(performance.now())
        })
        const goal = (await numbered()) + EVENTS_PER_SESSION
        const begun = performance.now()
        await one(n)
        all.push((await running) - begun)
        while ((await numbered()) < goal) await systemClock.sleep(2)
      }
      started = undefined
      return all
    }
  }
}
