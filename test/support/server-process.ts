import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { compileCache } from './run-node.ts'

/** A server in a process of its own, as an operator would start it; a test kills it as an operator's machine would. */
export interface ServerProcess {
  readonly child: ChildProcess
  /** Its address, once it says that it is ready. Rejects with its last words when it ends before. */
  readonly ready: Promise<string>
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** What it wrote, newest last; the oldest lines go. */
  readonly lines: string[]
  /** Writes one line to its stdin and waits until it wrote `answer`. */
  say(line: string, answer: string): Promise<void>
  /** Ends it without farewell and waits until it has gone. */
  kill(): Promise<void>
}

const KEPT_LINES = 200

/**
 * Starts `node <entry>`. It gets nothing of the test's environment but PATH and node's compile cache, so that neither
 * tap's loaders nor a developer's DATABASE_URL reach it.
 */
export function spawnServer(entry: URL, args: readonly string[], env: Readonly<Record<string, string>>): ServerProcess {
  const child = spawn(process.execPath, [entry.pathname, ...args], {
    env: { PATH: process.env.PATH ?? '', ...compileCache, NODE_ENV: 'test', PORT: '0', LOG_LEVEL: 'warn', ...env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  const lines: string[] = []
  const waiting = new Set<(line: string) => void>()
  const read = (line: string) => {
    lines.push(line)
    if (lines.length > KEPT_LINES) lines.shift()
    for (const wait of waiting) wait(line)
  }
  for (const stream of [child.stdout, child.stderr]) if (stream) createInterface({ input: stream }).on('line', read)
  child.stdin?.on('error', () => {}) // it was killed while we wrote
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  const hears = (wanted: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const wait = (line: string) => {
        const found = wanted.exec(line)
        if (!found) return
        waiting.delete(wait)
        resolve(found[1] ?? '')
      }
      waiting.add(wait)
      void exited.then(({ code, signal }) => {
        waiting.delete(wait)
        reject(new Error(`the server ended with ${signal ?? code}: ${lines.slice(-5).join('\n')}`))
      })
    })
  const ready = hears(/^agentos ready on (\S+)/)
  ready.catch(() => {}) // whoever waits for it sees it; nobody has to
  return {
    child,
    ready,
    exited,
    lines,
    async say(line, answer) {
      const heard = hears(new RegExp(`^${answer}$`))
      child.stdin?.write(`${line}\n`)
      await heard
    },
    async kill() {
      child.kill('SIGKILL')
      await exited
    }
  }
}
