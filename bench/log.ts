// What the scrubber costs: lines a second and microseconds a line with 0, 100 and 10,000 living secrets. node bench/log.ts
import { randomBytes } from 'node:crypto'
import { createLog } from '#core/log.ts'
import { Secret } from '#core/secret.ts'

const LINES = 50_000
const log = createLog({ destination: { write() {} } })
const req = {
  id: '0192f0c0-1111-7000-8000-000000000001',
  method: 'POST',
  ip: '127.0.0.1',
  routeOptions: { url: '/v1/x' }
}
const line = { req, res: { statusCode: 202 }, ms: 5, tenantId: '0192f0c0-1111-7000-8000-000000000002', actor: 'key:1' }

function microseconds(): number {
  const began = performance.now()
  for (let i = 0; i < LINES; i++) log.info(line, 'POST 202')
  return ((performance.now() - began) / LINES) * 1000
}

const held: Secret[] = []
for (const living of [0, 100, 10_000]) {
  const began = performance.now()
  const before = held.length
  while (held.length < living)
    held.push(new Secret(`postgres://app:${randomBytes(18).toString('base64')}@db:5432/agentos`))
  const added = (performance.now() - began) / Math.max(1, held.length - before)
  const us = Math.min(...Array.from({ length: 5 }, microseconds))
  console.log(
    `${String(living).padStart(6)} secrets  ${us.toFixed(1).padStart(5)} us a line  ${Math.round(1e6 / us)} lines/s` +
      (before < living ? `  ${added.toFixed(2)} ms to add one` : '')
  )
}
