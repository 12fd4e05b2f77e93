import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'

const tools = hostTools({
  noop: { run: () => ({ ok: true }) },
  broken: {
    run: () => {
      throw new Error('broken')
    }
  }
})
const app = await pulseApp(t, tools)
const step = (tool: string) => ({ id: 'a', kind: 'tool', tool: `host.${tool}`, input: {} })
const rollback = { name: 'g', after: 'end', check: { kind: 'expression', expression: 'false' }, onFail: 'rollback' }

const stream = async (headers: Record<string, string>, id: string, after: number | string) => {
  const url = `/v1/sessions/${id}/events?after=${after}`
  const answer = await app.app.inject({ url, headers: { ...headers, accept: 'text/event-stream' } })
  return { status: answer.statusCode, body: answer.body, events: answer.body.match(/(?<=^event: ).*/gm) ?? [] }
}

t.test('who has seen the last event of a session is told not to come back', async (t) => {
  const tenant = await app.makeTenant()
  const { body } = await app.create(tenant, { steps: [step('noop')] })
  await app.reaches(tenant, body.id, 'COMPLETE')
  const { events, body: text } = await stream(tenant.headers, body.id, 0)
  t.equal(events.at(-1), 'session.completed')
  const last = Number(text.match(/(?<=^id: ).*/gm)?.at(-1))
  t.match(await stream(tenant.headers, body.id, last), { status: 204, body: '' })
  t.match(await stream(tenant.headers, body.id, last + 5), { status: 204 })
  t.strictSame((await stream(tenant.headers, body.id, last - 1)).events, ['session.completed'])
})

t.test(
  'a stream ends with the failure after which nothing follows, and behind the rollback where one does',
  async (t) => {
    const tenant = await app.makeTenant()
    const ends = async (tool: string, state: string) => {
      const { body } = await app.create(tenant, { steps: [step(tool)], gates: [rollback] })
      await app.reaches(tenant, body.id, state)
      return (await stream(tenant.headers, body.id, 0)).events.at(-1)
    }
    t.equal(await ends('broken', 'FAILED'), 'session.failed')
    t.equal(await ends('noop', 'ROLLED_BACK'), 'session.rolled_back')
  }
)
