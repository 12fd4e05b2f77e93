// The server's place for attacks through capabilities: a real app on a database of its own, its port `tools`, a real TLS
// server and DNS as a hostile zone would answer. One process; it is watched from outside like engine.ts.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBus } from '#core/bus/index.ts'
import { newId } from '#core/ids.ts'
import { FileObjectStore } from '#core/objects/index.ts'
import { Ports } from '#core/ports/ports.ts'
import { type PinnedSkill, ToolError } from '#core/ports/tools.ts'
import skillsRegistry from '#skills-registry/index.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { uploadForm } from '#skills-registry/test/support/registry-app.ts'
import tools from '#skills-registry/tools/index.ts'
import { type TestTenant, testApp } from '#test/support/app.ts'
import { corpus } from '../corpus/index.ts'
import type { Variant } from '../corpus/types.ts'
import { hostileZone, openHostileServer, SECRET } from './hostile-server.ts'
import type { Answer, Ask } from './messages.ts'

const undo: (() => unknown)[] = []
const t = { teardown: (run: () => unknown) => void undo.unshift(run) }
const dir = mkdtempSync(join(tmpdir(), 'agentos-attacks-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true, maxRetries: 20 }))

const server = await openHostileServer()
t.teardown(() => server.close())
const ports = new Ports()
const app = await testApp(t, {
  rooms: [
    { room: skillsRegistry, options: { keyFile: join(dir, 'registry.pem') } },
    {
      room: tools,
      options: {
        sandbox: { maxCells: 32 },
        fetch: {
          resolve: hostileZone(),
          connect: { port: server.port, ca: readFileSync(server.ca, 'utf8') },
          allowAddresses: ['127.0.0.1/32'],
          ownHosts: ['own.example.com']
        }
      }
    }
  ],
  parts: ({ db }) => ({ bus: createBus({ db }), objects: new FileObjectStore({ dir: join(dir, 'objects') }), ports })
})
const port = ports.get('tools')
const author = createKey().key
const HONEST = 'let n = 0; export const run = (input) => ({ n: ++n, sum: input.reduce((a, b) => a + b, 0) })'
const tool = { description: 'an attack', input: {}, output: {}, effect: 'none' }

const once = <T>(make: (name: string) => Promise<T>): ((name: string) => Promise<T>) => {
  const made = new Map<string, Promise<T>>()
  return (name) => {
    const found = made.get(name) ?? make(name)
    made.set(name, found)
    return found
  }
}
const tenant = once(async (name): Promise<TestTenant> => {
  const made = await app.makeTenant()
  if (name === 'attacker' || name.startsWith('attacker-'))
    await request('PUT', '/v1/secrets/API_TOKEN', made, { value: SECRET })
  return made
})

async function request(
  method: 'POST' | 'PUT',
  url: string,
  { headers }: TestTenant,
  payload: object | Buffer,
  more = {}
) {
  const answer = await app.app.inject({ method, url, payload, headers: { ...headers, ...more } })
  if (answer.statusCode >= 300) throw new Error(`${url}: ${answer.statusCode} ${answer.body}`)
}

/** `@attack/x60-0`; published once, with everything that its class asks for. */
const published = once(async (name): Promise<void> => {
  const [id = 0, index = 0] = name.split('-').map(Number)
  const attack = corpus.find((one) => one.id === id)
  const variant = attack?.variants[index]
  const files = { ...(variant?.files ?? { 'dist/index.js': HONEST }) }
  const short = `x${name}`
  const code = (files['dist/index.js'] ?? '').replaceAll('$self', short)
  const exported = ['run', 'prepare'].filter((one) =>
    new RegExp(`export (const|(async )?function) ${one}\\b`).test(code)
  )
  const manifest = {
    entry: 'dist/warm.js',
    tools: Object.fromEntries(exported.map((one) => [one, tool])),
    permissions: JSON.parse(JSON.stringify(attack?.permissions ?? {}).replaceAll('$self', short)),
    limits: { cpuMs: 300, wallMs: 3000, memoryMb: 64, hostCalls: 200, ...variant?.limits }
  }
  const extra = Object.fromEntries(Object.entries(files).filter(([path]) => path !== 'dist/index.js'))
  const draft = {
    name: `@attack/${short}`,
    manifest,
    code,
    extra: { ...extra, 'dist/warm.js': `export * from './index.js'\n` }
  }
  const { archive, authorBundle } = signedSkill(draft, { author })
  const form = uploadForm([
    ['package', archive],
    ['bundle', authorBundle]
  ])
  await request('POST', '/v1/registry/skills', await tenant('publisher'), form.payload, form.headers)
})

/** Installed for the tenant, its secret granted: all pinned skills, itself first. */
const installed = once(async (key): Promise<PinnedSkill[]> => {
  const [who = '', name = ''] = key.split(' ')
  await published(name)
  const owner = await tenant(who)
  const ref = `@attack/x${name}`
  await request('POST', '/v1/skills', owner, { ref })
  if (who.startsWith('attacker')) await request('PUT', '/v1/secrets/API_TOKEN/grants', owner, { skill: ref })
  return await app.db.tenant(owner.tenantId, (tx) => port.resolve(tx, [ref]))
})

async function callTool(
  who: string,
  name: string,
  asked: { tool: string; input: unknown; sessionId: string; verified: boolean }
) {
  const [first, ...others] = await installed(`${who} ${name}`)
  if (!first) throw new Error(`${name} is not installed`)
  const skill = { ...first, verified: asked.verified }
  const { tenantId } = await tenant(who)
  const { sessionId, input } = asked
  const step = newId()
  const logs: string[] = []
  const started = { logs, tenantId, cpuMs: 0 }
  const logged = (text: string) => {
    const log = logs.join('\n')
    return { shown: `${text}\n${log}`, logLines: logs.length, logBytes: Buffer.byteLength(log) }
  }
  try {
    const { output, usage } = await port.call({
      tenantId,
      sessionId,
      skill,
      skills: [skill, ...others],
      tool: asked.tool,
      input,
      step,
      attempt: 1,
      effectKey: `${sessionId}/${step}`,
      time: 1_700_000_000_000,
      seed: 'attack',
      signal: new AbortController().signal,
      onLog: ({ level, message }) => logs.push(`${level} ${message}`)
    })
    return { ...started, ...logged(''), outcome: 'OK', output, cpuMs: usage.cpuMs, killed: false, retryable: false }
  } catch (error) {
    if (!(error instanceof ToolError)) throw error
    const { code, message, details, retryable, usage } = error
    const told = logged(`${message}\n${JSON.stringify(details ?? {})}`)
    const billed = { cpuMs: usage?.cpuMs ?? 0, killed: usage?.killed ?? false }
    return { ...started, ...told, ...billed, outcome: code, retryable }
  }
}

async function attack(ask: Ask & { do: 'attack' }): Promise<Omit<Answer, 'id' | 'ms'>> {
  const variant = corpus.find(({ id }) => id === ask.attack)?.variants[ask.variant] as Variant
  const name = `${ask.attack}-${ask.variant}`
  const sessionId = newId()
  if (variant.prepare) {
    // What another tenant, and another session of this one, have of the same skill: the attack must not see it.
    for (const who of ['neighbour', ask.tenantId])
      await callTool(who, name, { tool: 'prepare', input: { secret: SECRET }, sessionId: newId(), verified: true })
  }
  const neighbour = await tenant('neighbour')
  let last: Awaited<ReturnType<typeof callTool>> | undefined
  for (const input of variant.inputs ?? [{ other: neighbour.tenantId, session: sessionId }])
    last = await callTool(ask.tenantId, name, { tool: 'run', input, sessionId, verified: ask.verified })
  if (!last) throw new Error('nothing was run')
  const { logs: _logs, tenantId, ...answer } = last
  return { ...answer, ...(await traces(tenantId, sessionId, `@attack/x${name}`)) }
}

/** What the tables hold: audit rows of the skill, and rows of its session that are not its tenant's. */
async function traces(
  tenantId: string,
  sessionId: string,
  skill: string
): Promise<Pick<Answer, 'audited' | 'foreign'>> {
  const rows = await app.sql<{ action: string }[]>`
    select distinct action from audit.entry where tenant_id = ${tenantId} and actor_kind = 'skill' and actor_id = ${skill} order by action`
  const [count] = await app.sql<{ n: number }[]>`
    select (select count(*) from core.event where data ->> 'sessionId' = ${sessionId} and tenant_id is distinct from ${tenantId})
      + (select count(*) from tools.host_call where session_id = ${sessionId} and tenant_id <> ${tenantId})
      + (select count(*) from tools.file where session_id = ${sessionId} and tenant_id <> ${tenantId})
      + (select count(*) from core.event where type like 'custom.%' and type not like 'custom.attack.%') as n`
  return { audited: rows.map(({ action }) => action), foreign: Number(count?.n ?? 0) }
}

async function answer(ask: Ask): Promise<Omit<Answer, 'id' | 'ms'>> {
  if (ask.do === 'attack') return attack(ask)
  if (ask.do === 'call') {
    const called = await callTool(ask.tenantId, 'honest', {
      tool: 'run',
      input: [1, 2, 3],
      sessionId: honest,
      verified: true
    })
    return called
  }
  for (const run of undo) await run()
  return { shown: '', logLines: 0, logBytes: 0, retryable: false, outcome: 'OK' }
}

const honest = newId()
process.on('message', async (ask: Ask) => {
  const started = performance.now()
  const found = await answer(ask).catch((error) => ({
    outcome: `the engine failed: ${error instanceof Error ? error.message : error}`,
    shown: '',
    logLines: 0,
    logBytes: 0,
    retryable: false
  }))
  process.send?.({ id: ask.id, ms: performance.now() - started, ...found } satisfies Answer)
  if (ask.do === 'close') process.disconnect?.()
})
// Whoever asked is gone: nothing may stay behind.
process.on('disconnect', () => process.exit())
const ready = await app.app.inject('/readyz')
process.send?.({ id: 0, outcome: ready.body })
