import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { planTable } from '#config/plugins.ts'
import { createKernel, type FullKernel, startKernel } from '#core/kernel.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import type { Seat } from '#core/plugin.ts'
import { vaultKeys } from '#core/vault/keys.ts'
import { gatewayRoom } from '#core/ws/index.ts'
import pulse from '#plugins/pulse/index.ts'
import { type TestApp, testApp } from './app.ts'
import type { TestDbOptions } from './db.ts'
import type { HostTools } from './host-tools.ts'

export interface PulseApp extends TestApp {
  kernel: FullKernel
  /** Waits until the session is in one of the states and returns it as GET gives it. */
  reaches(tenant: { headers: Record<string, string> }, id: string, ...states: string[]): Promise<SessionAnswer>
  /** Creates a session and returns the status and body. */
  create(tenant: { headers: Record<string, string> }, config: object): Promise<{ status: number; body: SessionAnswer }>
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
export type SessionAnswer = any

/**
 * The app with the kernel running and pulse in it, on host functions as tools; with `null` the tools are those of a room
 * (skills-registry) in `options.rooms`.
 */
export async function pulseApp(
  t: Pick<Test, 'teardown'>,
  tools: HostTools | null,
  options: { rooms?: Seat[]; start?: boolean; eventRetentionDays?: number; open?: TestDbOptions['open'] } = {}
): Promise<PulseApp> {
  const dir = await mkdtemp(join(tmpdir(), 'agentos-objects-'))
  t.teardown(() => rm(dir, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }))
  let kernel: FullKernel | undefined
  const seats: Seat[] = [
    { room: gatewayRoom },
    { room: pulse, options: { plans: planTable, toolCalls: { pro: 16 } } },
    ...(options.rooms ?? [])
  ]
  const made = await testApp(t, {
    rooms: seats,
    kernelPorts: tools ? ['tools'] : [],
    open: options.open ?? {},
    parts: (base) => {
      kernel = createKernel({
        db: base.db,
        clock: base.clock,
        log: base.log,
        objects: new FileObjectStore({ dir }),
        apiKeyPepper: base.secrets.apiKeyPepper,
        userTokenKey: base.secrets.userTokenKey,
        auditKeySeed: base.secrets.auditKeySeed,
        vaultKeys: vaultKeys(base.secrets.kek),
        hostId: randomUUID(),
        concurrency: 32,
        plans: planTable,
        eventRetentionDays: options.eventRetentionDays ?? null
      })
      if (tools) kernel.ports.provide('tools', tools)
      const { auth: _auth, ...parts } = kernel
      return parts
    }
  })
  if (!kernel) throw new Error('the kernel was not made')
  const running = kernel
  if (options.start !== false) await startKernel(running)
  t.teardown(async () => {
    await running.actors.stop(2000)
    await running.jobs.stop(2000)
    await running.bus.stop()
    await running.audit.stop()
  })
  const get = async (tenant: { headers: Record<string, string> }, id: string) =>
    (await made.app.inject({ url: `/v1/sessions/${id}`, headers: tenant.headers })).json() as SessionAnswer
  return {
    ...made,
    kernel: running,
    async create(tenant, config) {
      const { headers } = tenant
      const answer = await made.app.inject({ method: 'POST', url: '/v1/sessions', headers, payload: config })
      if (answer.statusCode >= 500) throw new Error(`${answer.body} ${trouble(made.lines)}`)
      return { status: answer.statusCode, body: answer.json() as SessionAnswer }
    },
    async reaches(tenant, id, ...states) {
      const end = made.clock.monotonic() + 15_000
      for (;;) {
        const session = await get(tenant, id)
        if (states.includes(session.state)) return session
        if (made.clock.monotonic() > end) {
          throw new Error(`session is ${JSON.stringify(session)}, not ${states.join()} ${trouble(made.lines)}`)
        }
        await made.clock.sleep(5)
      }
    }
  }
}

// What the log says went wrong: an answer hides it, a test must not.
function trouble(lines: readonly string[]): string {
  return lines
    .filter((line) => /"level":"(warn|error|fatal)"/.test(line))
    .slice(-5)
    .join('')
}
