import { systemClock } from '#core/clock.ts'
import { Sandbox, type SandboxCall, type SandboxOptions } from '#sandbox/index.ts'
import { HANDLER, INPUT, verify } from './handler.ts'

export interface Wish {
  verified?: boolean
  tenantId?: string
  sessionId?: string
  source?: string
  input?: string
  signal?: AbortSignal
}

export function call(wish: Wish): SandboxCall {
  const { verified = true, tenantId = 'warm', sessionId = 's', source = HANDLER, input = INPUT, signal } = wish
  return {
    tenantId,
    sessionId,
    skill: { digest: source, entry: 'dist/index.js', files: new Map([['dist/index.js', source]]), verified },
    export: 'run',
    input,
    limits: { cpuMs: 10_000, wallMs: 60_000, memoryMb: 32, hostCalls: 0 },
    session: { id: sessionId, tenantId, step: 's', attempt: 1, effectKey: 'k' },
    time: 0,
    seed: 's',
    capabilities: [],
    ...(signal ? { signal } : {})
  }
}

export async function open(options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  const box = new Sandbox({ clock: systemClock, recycleAfter: 1e9, ...options })
  await box.warm('jit')
  verify((await box.run(call({}))).output)
  return box
}

/** Waits until a blank cell is ready: what follows meets a warm spare. */
export async function spareReady(box: Sandbox): Promise<void> {
  const warm = () => box.status().cells.some((cell) => cell.tenantId === null && cell.kind === 'jit' && cell.rssMb > 50)
  while (!warm()) await systemClock.sleep(20)
  await systemClock.sleep(100)
}
