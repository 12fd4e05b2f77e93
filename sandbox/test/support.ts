import type { SandboxCall, SandboxClock, SandboxError, SandboxResult } from '../index.ts'
import { Sandbox } from '../index.ts'
import type { SandboxOptions } from '../types.ts'

export const clock: SandboxClock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms)
    return { cancel: () => clearTimeout(timer) }
  },
  every(ms, run) {
    const timer = setInterval(run, ms).unref()
    return { cancel: () => clearInterval(timer) }
  }
}

export function sandbox(options: Partial<SandboxOptions> = {}): Sandbox {
  return new Sandbox({ clock, ...options })
}

let digests = 0

/** A call of the export `run` of a skill with these sources (a string is dist/index.js). */
export function call(
  sources: string | Record<string, string>,
  more: Partial<SandboxCall> & { limit?: Partial<SandboxCall['limits']>; verified?: boolean } = {}
): SandboxCall {
  const { limit, verified, ...rest } = more
  const files = new Map(Object.entries(typeof sources === 'string' ? { 'dist/index.js': sources } : sources))
  return {
    tenantId: 'tenant-a',
    sessionId: 'session-1',
    skill: { digest: `sha256:${++digests}`, entry: 'dist/index.js', files, verified: verified ?? true },
    export: 'run',
    input: '{}',
    limits: { cpuMs: 1000, wallMs: 2000, memoryMb: 64, hostCalls: 20, ...limit },
    session: { id: 'session-1', tenantId: 'tenant-a', step: 'one', attempt: 1, effectKey: 'session-1:one' },
    time: 1_700_000_000_000,
    seed: 'seed',
    capabilities: ['log', 'progress'],
    ...rest
  }
}

/** Runs and hands back the parsed output, or the error. */
export async function outcome(
  box: Sandbox,
  what: SandboxCall
): Promise<{ output?: unknown; code?: string; error?: SandboxError; result?: SandboxResult }> {
  try {
    const result = await box.run(what)
    return { output: JSON.parse(result.output), result }
  } catch (error) {
    return { code: (error as SandboxError).code, error: error as SandboxError }
  }
}
