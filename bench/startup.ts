// Start-up of the real server process: `node config/main.ts` on an embedded database in a fresh home.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { systemClock } from '#core/clock.ts'

/** Milliseconds. */
export interface StartUp {
  /** Empty home to ready: initdb, migrations, Tenant Zero. */
  readonly first: number
  /** The same home again, after an orderly end. */
  readonly restart: number
  /** After a SIGKILL in the middle of a session: from ready to the session's next finished step; 0 = it came first. */
  readonly resume: number
}

interface Running {
  readonly process: ChildProcess
  readonly url: string
  /** Milliseconds from spawn to the ready line; epoch ms of that line. */
  readonly ms: number
  readonly at: number
}

const main = fileURLToPath(import.meta.resolve('#config/main.ts'))
const PATIENCE_MS = 60_000
const STEPS = 400

export async function measureStartUp(): Promise<StartUp> {
  const home = await mkdtemp(join(tmpdir(), 'agentos-bench-home-'))
  try {
    const first = await start(home)
    await welcomed(home)
    await end(first, 'SIGTERM')
    const restart = await start(home)
    const headers = { authorization: `Bearer ${await ownerKey(home)}` }
    const id = await longSession(restart.url, headers)
    await progressAfter(restart.url, headers, id, 0)
    await end(restart, 'SIGKILL')
    const again = await start(home)
    const at = await progressAfter(again.url, headers, id, again.at - again.ms)
    await end(again, 'SIGTERM')
    return { first: first.ms, restart: restart.ms, resume: Math.max(0, at - again.at) }
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}

async function start(home: string): Promise<Running> {
  const begun = performance.now()
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', AGENTOS_HOME: home, LOG_LEVEL: 'error' },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  for await (const line of createInterface(child.stdout)) {
    const url = /ready on (http:\S+)/.exec(line)?.[1]
    if (url === undefined) continue
    child.stdout.resume()
    return { process: child, url, ms: performance.now() - begun, at: Date.now() }
  }
  throw new Error('the server ended before it was ready')
}

async function end({ process: child }: Running, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

// The first boot publishes and installs the example skill; the marker says that it has.
async function welcomed(home: string): Promise<void> {
  await waitFor('the first run', () =>
    readFile(join(home, 'first-run-done')).then(
      () => true,
      () => undefined
    )
  )
}

async function ownerKey(home: string): Promise<string> {
  return (await readFile(join(home, 'owner.key'), 'utf8')).trim()
}

async function longSession(url: string, headers: Record<string, string>): Promise<string> {
  const body = {
    skills: ['@agentos/csv-profile@^1'],
    input: { csv: `a,b\n${'1,2\n'.repeat(2000)}` },
    steps: Array.from({ length: STEPS }, (_, n) => ({
      id: `s${n}`,
      kind: 'tool',
      tool: 'csv-profile.profile',
      input: { csv: { $ref: 'input.csv' } }
    })),
    output: null
  }
  const answer = await fetch(`${url}/v1/sessions`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  if (!answer.ok) throw new Error(`POST /v1/sessions answered ${answer.status} ${await answer.text()}`)
  return ((await answer.json()) as { id: string }).id
}

/** Epoch ms, by the database's clock, of the session's first finished step after `after`. */
function progressAfter(url: string, headers: Record<string, string>, id: string, after: number): Promise<number> {
  let seq = 0
  return waitFor('progress', async () => {
    const answer = await fetch(`${url}/v1/sessions/${id}/events?after=${seq}&limit=200`, { headers })
    const { data: items } = (await answer.json()) as { data: { event: string; seq: number; at: string }[] }
    seq = Number(items.at(-1)?.seq ?? seq)
    if (items.some(({ event }) => event === 'session.completed')) throw new Error('the session ended too soon')
    const found = items.find(({ event, at }) => event === 'session.progress' && Date.parse(at) > after)
    return found && Date.parse(found.at)
  })
}

async function waitFor<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const until = performance.now() + PATIENCE_MS
  while (performance.now() < until) {
    const found = await look()
    if (found !== undefined) return found
    await systemClock.sleep(5)
  }
  throw new Error(`${what} did not come`)
}
