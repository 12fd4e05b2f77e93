import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '#core/clock.ts'
import { publishFolder } from '#skills-registry/publish-folder.ts'
import { type Api, call } from './api.ts'
import { type Progress, progressBar } from './progress.ts'
import { type DemoSession, summary } from './summary.ts'

const SKILLS = ['csv-profile', 'changelog-digest']
const folderOf = (skill: string) => new URL(`../../examples/skills/${skill}/`, import.meta.url)
const FINAL = ['COMPLETE', 'FAILED', 'ROLLED_BACK']
const LAST_EVENTS = ['session.completed', 'session.failed', 'session.rolled_back']
const POLL_MS = 250
const PATIENCE_MS = 60_000

/**
 * Publishes the example skills, installs one, runs the example session and shows its progress. Safe to repeat: a first
 * boot that was interrupted goes on where it stood (same bytes, same install, same Idempotency-Key).
 * @throws Error with the API's own words where a call is refused
 */
export async function runDemo(api: Api, home: string, say: (line: string) => void): Promise<void> {
  for (const skill of SKILLS) {
    const { name, version, digest } = await publish(api, skill, join(home, 'author.key'))
    say(`  published   ${`${name} ${version}`.padEnd(32)} ${digest.slice(0, 19)}…`)
  }
  const ref = '@agentos/csv-profile@^1'
  const installed = await call<{ name: string; version: string }>(api, 'POST', '/v1/skills', { ref })
  say(`  installed   ${`${installed.name} ${installed.version}`.padEnd(32)} both signatures verified`)
  const session = await call<{ id: string }>(api, 'POST', '/v1/sessions', await demoConfig(), 'first-run-demo')
  say(`  session     ${session.id}`)
  say('')
  const done = await follow(api, session.id, progressBar(process.stdout))
  if (done.error) throw new Error(`the example session failed: ${done.error.code} ${done.error.message}`)
  for (const line of summary(done)) say(line)
}

async function publish(api: Api, skill: string, authorKeyFile: string) {
  const { archive, bundle } = await publishFolder({ folder: fileURLToPath(folderOf(skill)), authorKeyFile })
  const form = new FormData()
  form.append('package', new Blob([Uint8Array.from(archive)], { type: 'application/gzip' }), `${skill}.skill`)
  form.append('bundle', new Blob([bundle], { type: 'application/json' }), `${skill}.skill.bundle.json`)
  return await call<{ name: string; version: string; digest: string }>(api, 'POST', '/v1/registry/skills', form)
}

/** Seattle's weather where the data package is installed (npm leaves it out with --omit=dev), else a few lines of it. */
async function demoConfig() {
  const csv = { $ref: 'input.csv' }
  return {
    name: 'profile the weather',
    skills: ['@agentos/csv-profile@^1'],
    input: { csv: await weather() },
    steps: [
      { id: 'profile', kind: 'tool', tool: 'csv-profile.profile', input: { csv, bins: 10, top: 5 } },
      { id: 'details', kind: 'tool', tool: 'csv-profile.profile', input: { csv, bins: 40, top: 20 } }
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

/** Shows the session's events as they come over the WebSocket, like any client's, and then what GET says of it. */
async function follow(api: Api, id: string, progress: Progress): Promise<DemoSession> {
  const socket = new WebSocket(`${api.url.replace(/^http/, 'ws')}/v1/ws`)
  const last = new Promise<void>((resolve) => {
    socket.onclose = () => resolve() // the events are for show: without them GET is asked until it is over
    socket.onerror = () => resolve()
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as { event?: string; data?: { pct?: number; step?: string } }
      if (frame.event === undefined) return
      progress.event(frame.event, frame.data ?? {})
      if (LAST_EVENTS.includes(frame.event)) resolve()
    }
  })
  socket.onopen = () => {
    socket.send(JSON.stringify({ id: '1', method: 'hello', params: { protocol: 1, token: api.key } }))
    socket.send(JSON.stringify({ id: '2', method: 'subscribe', params: { topics: [`session:${id}`], after: 0 } }))
  }
  const until = systemClock.monotonic() + PATIENCE_MS
  try {
    await Promise.race([last, systemClock.sleep(PATIENCE_MS)])
    for (;;) {
      const session = await call<DemoSession>(api, 'GET', `/v1/sessions/${id}`)
      if (FINAL.includes(session.state)) return session
      if (systemClock.monotonic() > until) throw new Error(`the example session is still ${session.state}`)
      await systemClock.sleep(POLL_MS)
    }
  } finally {
    progress.end()
    socket.close()
  }
}
