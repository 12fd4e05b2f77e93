import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { smallTable } from '#core/http/test/support/limits.ts'
import { must } from '#core/must.ts'
import { serve } from './support.ts'

t.test('calls count with the requests of the tenant, each as its class, and a refused one is told', async (t) => {
  const { makeTenant, enter } = await serve(t, { table: smallTable })
  const [one, other] = [await makeTenant(), await makeTenant()]
  const client = await enter(one.key)
  for (let i = 0; i < 3; i++) t.ok((await client.request('ping')).result)
  t.match(await client.request('ping'), {
    error: { code: 'RATE_LIMITED', status: 429, retryAfterMs: Number, details: { kind: 'read', limit: 3, used: 3 } }
  })
  const second = await enter(one.key)
  t.match(await second.request('subscribe', { topics: ['*'] }), { error: { code: 'RATE_LIMITED' } })
  t.ok((await (await enter(other.key)).request('ping')).result, 'another tenant has its own')
})

t.test('who is refused at the handshake is let go of, whatever refused it', async (t) => {
  const { port } = await serve(t)
  for (const [path, status] of [
    ['/v1/whoami', 401],
    ['/v1/nothing', 404]
  ] as const) {
    // No end of our own: the server has to close.
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    let said = ''
    socket.setEncoding('utf8').on('data', (text) => {
      said += text
    })
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`)
    await new Promise((resolve) => socket.once('end', resolve))
    socket.destroy()
    t.ok(said.startsWith(`HTTP/1.1 ${status} `), said.slice(0, 40))
  }
})

t.test('an address that connects too often is refused at the handshake', async (t) => {
  const { url } = await serve(t, { table: smallTable })
  const most = must(smallTable.address.read, 'a limit')
  const answers: string[] = []
  for (let i = 0; i <= most; i++) {
    const socket = new WebSocket(url)
    answers.push(
      await new Promise((resolve) => {
        socket.once('open', () => resolve('open'))
        socket.once('error', ({ message }) => resolve(message))
      })
    )
    socket.terminate()
  }
  t.strictSame(answers, [...Array(most).fill('open'), 'Unexpected server response: 429'])
})
