import t from 'tap'
import { systemClock } from '#core/clock.ts'
import { must } from '#core/must.ts'
import { until } from '#test/support/until.ts'
import { Client } from './support/client.ts'
import { crowd, forced, type Member } from './support/crowd.ts'
import { argument, count } from './support/proof.ts'

const wanted = Number(argument('responses') ?? 4000)
const tenants = 20
const parallel = 200
const { app, kernel, members, url, admin } = await crowd(t, tenants)
const tenantIds = new Map(members.map((member) => [member.tenantId, member]))
const canaries = new Map(members.map((member) => [member.canary, member]))
const sessionOwners = new Map<string, Member>()
const statuses = new Map<number, number>()
const leaks: string[] = []
let ownMarks = 0

// The same run each time: what fails once can be run again.
let state = 42
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * below)
}
const pick = <T>(list: readonly T[]): T => must(list[random(list.length)], 'one of the list')

/** Whose marks a text holds: names, tenant ids and session ids; `said` is what the asker brought. */
function look(text: string, who: Member, said: string, where: string): void {
  for (const [mark] of text.matchAll(/canary-[0-9a-f]{8}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g)) {
    const owner = canaries.get(mark) ?? tenantIds.get(mark) ?? sessionOwners.get(mark)
    if (owner === who) ownMarks++
    else if (owner && !said.includes(mark)) leaks.push(`${where}: ${mark}`)
  }
}

const config = ({ canary }: Member) => ({
  name: `${canary} session`,
  input: { canary },
  start: random(4) === 0 ? undefined : 'manual',
  steps: [{ id: 'one', kind: 'tool', tool: 'host.echo', input: { $ref: 'input' } }],
  output: { $ref: 'steps.one.output' }
})

interface Wish {
  method?: 'GET' | 'POST'
  url: string
  payload?: object
  headers?: Record<string, string>
  cut?: boolean
}

const wishes: readonly [weight: number, make: (who: Member) => Wish][] = [
  [25, () => ({ url: '/v1/grief/rows' })],
  [10, () => ({ url: '/v1/whoami' })],
  [10, () => ({ url: '/v1/keys?limit=5' })],
  [10, () => ({ url: '/v1/sessions?limit=5' })],
  [10, (who) => ({ url: `/v1/sessions/${who.sessionIds.at(-1) ?? who.tenantId}` })],
  [5, (who) => ({ url: `/v1/sessions/${who.sessionIds.at(-1) ?? who.tenantId}/events` })],
  [5, () => ({ url: `/v1/sessions/${pick(members).sessionIds.at(-1) ?? 'none'}` })],
  [5, () => ({ url: '/v1/keys', headers: { 'agentos-tenant': pick(members).tenantId } })],
  [3, (who) => ({ method: 'POST', url: '/v1/sessions', payload: config(who) })],
  // One key for everybody: the answer of whoever came first must not be another's.
  [
    1,
    (who) => ({
      method: 'POST',
      url: '/v1/sessions',
      payload: { ...config(who), start: 'manual' },
      headers: { 'idempotency-key': `k${random(20)}` }
    })
  ],
  [3, () => ({ url: '/v1/grief/rows', cut: true })],
  [12, () => ({ url: `/v1/grief/${pick(forced)}` })],
  // A new connection takes 100 ms: seldom, or the rest is not tried.
  [1, () => ({ url: random(3) === 0 ? '/v1/grief/terminate' : '/v1/grief/throw' })]
]
const deck = wishes.flatMap(([weight, make]) => Array.from({ length: weight }, () => make))

const answered = () => [...statuses].reduce((sum, [status, n]) => sum + (status > 0 ? n : 0), 0)

async function ask(who: Member): Promise<void> {
  const { method = 'GET', url: path, payload, headers, cut } = pick(deck)(who)
  const leave = new AbortController()
  if (cut) void systemClock.sleep(1 + random(5)).then(() => leave.abort())
  const given = { ...headers, ...who.headers }
  try {
    const answer = await app.inject({
      method,
      url: path,
      headers: given,
      ...(payload ? { payload } : {}),
      ...(cut ? { signal: leave.signal } : {})
    })
    statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1)
    if (method === 'POST' && answer.statusCode < 300) {
      const { id } = answer.json()
      // Another tenant's answer to the same Idempotency-Key would be known already.
      const owner = sessionOwners.get(id)
      if (owner && owner !== who) leaks.push(`POST ${path}: the session of another`)
      sessionOwners.set(id, who)
      who.sessionIds.push(id)
    }
    look(
      `${answer.body} ${JSON.stringify(answer.headers)}`,
      who,
      `${path} ${JSON.stringify(given)}`,
      `${method} ${path} ${answer.statusCode}`
    )
  } catch (error) {
    if (!cut) throw error
    statuses.set(0, (statuses.get(0) ?? 0) + 1)
  }
}

t.test(
  `${tenants} tenants on 4 connections, cancelled, cut and failing: nobody sees another's canary`,
  { timeout: 600_000 },
  async (t) => {
    const clients = await Promise.all(
      members.map(async (member) => {
        const client = new Client(url)
        t.teardown(() => client.socket.terminate())
        const greeted = await client.request('hello', { protocol: 1, token: member.key, batch: true })
        t.ok(greeted.result)
        t.ok((await client.request('subscribe', { topics: ['*', 'session.*'], after: 0 })).result)
        return client
      })
    )
    let [cancelled, over] = [0, false]
    const canceller = async () => {
      for (let n = 0; !over; n++) {
        // Whatever runs just now, whoever's it is; now and then its connection as well.
        const verb = n % 25 === 24 ? 'pg_terminate_backend' : 'pg_cancel_backend'
        const hit = await admin.unsafe(`
        select ${verb}(pid) from (select pid from pg_stat_activity where datname = current_database() and usename = 'agentos_app'
          and state <> 'idle' order by random() limit 1) x`)
        cancelled += hit.length
        await systemClock.sleep(25)
      }
    }
    const worker = async (n: number) => {
      while (answered() < wanted) await ask(must(members[n % tenants], 'a tenant'))
    }
    const began = systemClock.monotonic()
    const cancelling = canceller()
    await Promise.all(Array.from({ length: parallel }, (_, n) => worker(n)))
    over = true
    await cancelling
    const seconds = (systemClock.monotonic() - began) / 1000
    const made = members.filter((member) => member.sessionIds.length > 0)
    await until(
      () =>
        made.every((who) =>
          clients[members.indexOf(who)]?.texts.some((text) => text.includes(who.sessionIds.at(-1) ?? ''))
        ),
      'the last events at each tenant'
    )
    let frames = 0
    for (const [n, client] of clients.entries()) {
      frames += client.texts.length
      for (const text of client.texts) look(text, must(members[n], 'a tenant'), '', 'ws')
    }

    const total = answered()
    const good = [...statuses].reduce((sum, [status, n]) => sum + (status >= 200 && status < 300 ? n : 0), 0)
    const failed = [...statuses].reduce((sum, [status, n]) => sum + (status >= 500 ? n : 0), 0)
    t.strictSame(leaks.slice(0, 20), [])
    t.ok(total >= wanted)
    t.ok(good > wanted / 2, `${good} of ${total} went well: the canaries were there to be seen`)
    t.ok(ownMarks > wanted, `${ownMarks} marks of the asker itself`)
    t.ok(failed > wanted / 20, `${failed} failed inside their transaction`)
    t.ok(cancelled > 5, `${cancelled} were cancelled from outside`)
    const rows = await admin`select s.name, t.name as tenant from pulse.session s join core.tenants t using (tenant_id)`
    t.strictSame(
      rows.filter(({ name, tenant }) => name !== `${tenant} session`),
      [],
      'what was written is where it belongs'
    )
    const [setting] = await kernel.db.system((tx) => tx`select current_setting('agentos.tenant', true) as tenant`)
    t.notOk(setting?.tenant, 'no connection remembers a tenant')
    count(t, 'canary', {
      tenants,
      connections: 4,
      'requests at once': parallel,
      responses: total,
      'failed in their transaction': failed,
      'cut by the client': statuses.get(0) ?? 0,
      'cancelled from outside': cancelled,
      'ws frames': frames,
      'foreign canaries': leaks.length,
      seconds: Math.round(seconds)
    })
  }
)
