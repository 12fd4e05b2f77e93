import { createSocket } from 'node:dgram'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createResolve } from '../capabilities/fetch/resolve.ts'

t.test('DNS is asked for both families, without the pool of threads and with an end', async (t) => {
  const dns = createSocket('udp4')
  let silent = false
  dns.on('message', (query, { port, address }) => {
    if (silent) return
    const question = query.subarray(12, query.indexOf(0, 12) + 5)
    const four = question.at(-3) === 1
    const known = query.includes('known')
    const data = four ? [93, 184, 216, 34] : [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    const record = [0xc0, 12, 0, four ? 1 : 28, 0, 1, 0, 0, 0, 60, 0, data.length, ...data]
    const head = [0x81, known ? 0x80 : 0x83, 0, 1, 0, known ? 1 : 0, 0, 0, 0, 0]
    dns.send(Buffer.from([...query.subarray(0, 2), ...head, ...question, ...(known ? record : [])]), port, address)
  })
  await new Promise<void>((resolve) => dns.bind(0, '127.0.0.1', resolve))
  t.teardown(() => dns.close())
  const servers = [`127.0.0.1:${(dns.address() as AddressInfo).port}`]
  const signal = new AbortController().signal
  const resolve = createResolve({ servers, timeoutMs: 500, tries: 1 })
  t.strictSame(await resolve('known.example.com', signal), ['93.184.216.34', '2001:db8::1'])
  await t.rejects(resolve('absent.example.com', signal), { code: 'ENOTFOUND' })
  silent = true
  await t.rejects(resolve('slow.example.com', signal), { code: 'ETIMEOUT' })
  const ended = new AbortController()
  const waiting = createResolve({ servers, timeoutMs: 60_000 })('slow.example.com', ended.signal)
  ended.abort()
  await t.rejects(waiting, { code: 'ECANCELLED' })
  await t.rejects(resolve('known.example.com', ended.signal))
})
