import fc from 'fast-check'
import t from 'tap'
import { encodeFrame, FrameDecoder } from '../wire/frames.ts'

t.test('any frames, cut anywhere, come out as they went in', async (t) => {
  const frame = fc.record({
    kind: fc.integer({ min: 0, max: 255 }),
    id: fc.nat(2 ** 32 - 1),
    head: fc.jsonValue(),
    tail: fc.string({ unit: 'binary' })
  })
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
      (frames, cuts) => {
        const bytes = Buffer.concat(frames.map((one) => encodeFrame(one.kind, one.id, one.head, one.tail)))
        const decoder = new FrameDecoder(1e6)
        const seen: string[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const next = at + (cuts[i % cuts.length] ?? 1)
          decoder.push(bytes.subarray(at, next), (got) =>
            seen.push(JSON.stringify([got.kind, got.id, got.head.toString(), got.tail.toString()]))
          )
          at = next
        }
        const sent = frames.map((one) =>
          JSON.stringify([one.kind, one.id, JSON.stringify(one.head), Buffer.from(one.tail).toString()])
        )
        return JSON.stringify(sent) === JSON.stringify(seen)
      }
    ),
    { numRuns: 300 }
  )
  t.pass('300 runs')
})

t.test('a frame over the limit is refused by its first four bytes', async (t) => {
  t.throws(() => new FrameDecoder(100).push(Buffer.from([0, 0, 1, 0]), () => undefined), {
    message: 'frame of 256 bytes'
  })
})
