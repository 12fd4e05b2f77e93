import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '#core/clock.ts'
import { publishFolder } from '#skills-registry/publish-folder.ts'
import { type Progress, progressBar } from './progress.ts'

/** The public API as any client has it: what the first boot does, a stranger could do. */
export interface Api {
  readonly url: string
  readonly key: string
}

interface SessionAnswer {
  id: string
  state: string
  result: { rows: number; columns: { name: string; type: string; histogram?: string }[] } | null
  error: { code: string; message: string } | null
}

const SKILLS = ['csv-profile', 'changelog-digest']
const folderOf = (skill: string) => new URL(`../../examples/skills/${skill}/`, import.meta.url)
const FINAL = ['COMPLETE', 'FAILED', 'ROLLED_BACK']
const POLL_MS = 100
const PATIENCE_MS = 60_000

/**
 * Publishes the example skills, installs one, runs the example session and shows its progress. Safe to repeat: a first
 * boot that was interrupted goes on where it stood (same bytes, same install, same Idempotency-Key).
 * @throws Error with the API's own words where a call is refused
 */
export async function runDemo(api: Api, home: string, say: (line: string) => void): Promise<void> {
  for (const skill of SKILLS) {
    const published = await publish(api, skill, join(home, 'author.key'))
    say(`  published   ${published.name} ${published.version}  ${published.digest.slice(0, 19)}…`)
  }
  const installed = await call<{ name: string; version: string }>(api, 'POST', '/v1/skills', {
    ref: '@agentos/csv-profile@^1'
  })
  say(`  installed   ${installed.name} ${installed.version}, both signatures verified`)
  const session = await call<{ id: string }>(api, 'POST', '/v1/sessions', await demoConfig(), 'first-run-demo')
  say(`  session     ${session.id}`)
  const done = await follow(api, session.id, progressBar(process.stdout))
  if (done.error) throw new Error(`the example session failed: ${done.error.code} ${done.error.message}`)
  for (const line of summary(done)) say(line)
}

async function publish(api: Api, skill: string, authorKeyFile: string) {
  const { archive, bundle } = await publishFolder({ folder: fileURLToPath(folderOf(skill)), authorKeyFile })
  const form = new FormData()
  form.append('package', new Blob([Uint8Array.from(archive)], { type: 'application/gzip' }), `${skill}.skill`)
  form.append('bundle', new Blob([bundle], { type: 'application/json' }), `${skill}.skill.bundle.json`)
  const answer = await fetch(`${api.url}/v1/registry/skills`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.key}` },
    body: form
  })
  return await read<{ name: string; version: string; digest: string }>(answer, 'POST /v1/registry/skills')
}

/** Seattle's weather where the data package is installed (npm leaves it out with --omit=dev), else a few lines of it. */
async function demoConfig() {
  const csv = await weather()
  return {
    name: 'profile the weather',
    skills: ['@agentos/csv-profile@^1'],
    input: { csv },
    steps: [
      { id: 'profile', kind: 'tool', tool: 'csv-profile.profile', input: { csv: { $ref: 'input.csv' }, bins: 12 } },
      { id: 'details', kind: 'tool', tool: 'csv-profile.profile', input: { csv: { $ref: 'input.csv' }, top: 3 } }
    ],
    gates: [
      {
        name: 'few-nulls',
        after: 'profile',
        check: { kind: 'expression', expression: 'steps.profile.output.nullRate < 0.05' }
      }
    ],
    output: { $ref: 'steps.profile.output' }
  }
}

async function weather(): Promise<string> {
  try {
    // The package's exports hide its data files; its entry stands in <package>/build.
    return await readFile(new URL('../data/seattle-weather.csv', import.meta.resolve('vega-datasets')), 'utf8')
  } catch {
    return await readFile(new URL('../../examples/data/weather.csv', import.meta.url), 'utf8')
  }
}

async function follow(api: Api, id: string, progress: Progress): Promise<SessionAnswer> {
  const stop = watch(api, id, progress)
  const until = systemClock.monotonic() + PATIENCE_MS
  try {
    for (;;) {
      const session = await call<SessionAnswer>(api, 'GET', `/v1/sessions/${id}`)
      if (FINAL.includes(session.state)) return session
      if (systemClock.monotonic() > until) throw new Error(`the example session is still ${session.state}`)
      await systemClock.sleep(POLL_MS)
    }
  } finally {
    await stop()
  }
}

/** Shows the session's events as they come over the WebSocket, like any client's. Returns what ends it. */
function watch(api: Api, id: string, progress: Progress): () => Promise<void> {
  const socket = new WebSocket(`${api.url.replace(/^http/, 'ws')}/v1/ws`)
  const ended = new Promise<void>((resolve) => {
    socket.onclose = () => resolve()
    socket.onerror = () => resolve()
  })
  const last = new Promise<void>((resolve) => {
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as { event?: string; data?: { pct?: number; step?: string } }
      if (frame.event === undefined) return
      progress.event(frame.event, frame.data ?? {})
      if (frame.event === 'session.completed' || frame.event === 'session.failed') resolve()
    }
  })
  socket.onopen = () => {
    socket.send(JSON.stringify({ id: '1', method: 'hello', params: { protocol: 1, token: api.key } }))
    socket.send(JSON.stringify({ id: '2', method: 'subscribe', params: { topics: [`session:${id}`], after: 0 } }))
  }
  return async () => {
    await Promise.race([last, ended, systemClock.sleep(1000)])
    progress.end()
    socket.close()
  }
}

function summary(session: SessionAnswer): string[] {
  const { result } = session
  if (!result) return []
  const columns = result.columns.map((column) => `${column.name} (${column.type})`).join(', ')
  return [`  result      ${result.rows} rows: ${columns}`]
}

async function call<T>(api: Api, method: string, path: string, body?: object, idempotencyKey?: string): Promise<T> {
  const answer = await fetch(`${api.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${api.key}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...(idempotencyKey ? { 'idempotency-key': idempotencyKey } : {})
    },
    ...(body ? { body: JSON.stringify(body) } : {})
  })
  return await read<T>(answer, `${method} ${path}`)
}

async function read<T>(answer: Response, what: string): Promise<T> {
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${what} answered ${answer.status}: ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}
