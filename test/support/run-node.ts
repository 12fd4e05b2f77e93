import { spawn } from 'node:child_process'
import { systemClock } from '#core/clock.ts'

/** A program of ours in a process of its own, its two outputs apart. */
export interface Program {
  readonly pid: number
  /** What it wrote so far. */
  stdout(): string
  stderr(): string
  /** Resolves with the first match in stdout. Rejects with its last words when it ends before. */
  says(wanted: RegExp): Promise<RegExpExecArray>
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Ended>
  readonly ended: Promise<Ended>
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
}

const GRACE_MS = 5000
const root = new URL('../../', import.meta.url)

/** Where node keeps compiled modules, if it was told to (.ci/run): programs that a test starts load the same ones. */
export const compileCache: Readonly<Record<string, string>> = process.env.NODE_COMPILE_CACHE
  ? { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }
  : {}

/**
 * Runs `node <path>` (from the root of the project) as a person would in another shell. It gets nothing of the test's
 * environment but PATH and node's compile cache, so that neither tap's loaders nor a developer's DATABASE_URL reach it.
 * Ended at the end of `t`.
 */
export function runNode(
  t: { teardown(done: () => unknown): void },
  path: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>
): Program {
  const child = spawn(process.execPath, [new URL(path, root).pathname, ...args], {
    cwd: root.pathname,
    env: { PATH: process.env.PATH ?? '', ...compileCache, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const text = { out: '', err: '' }
  const listeners = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text.out += chunk
    for (const listen of [...listeners]) listen()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text.err += chunk
  })
  const ended = new Promise<Ended>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    return await ended
  }
  t.teardown(async () => {
    // In order where it can: a server that is killed leaves a database on its way down in the folder of the test.
    const late = systemClock.after(GRACE_MS, () => child.kill('SIGKILL'))
    await end('SIGTERM')
    late.cancel()
  })
  return {
    pid: child.pid ?? 0,
    stdout: () => text.out,
    stderr: () => text.err,
    ended,
    end,
    says: (wanted) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = wanted.exec(text.out)
          if (!found) return
          listeners.delete(look)
          resolve(found)
        }
        listeners.add(look)
        look()
        void ended.then(({ code, signal }) => {
          reject(
            new Error(`ended with ${signal ?? code} before it said ${wanted}: ${text.out}${text.err}`.slice(-3000))
          )
        })
      })
  }
}
