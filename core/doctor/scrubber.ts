import { randomBytes } from 'node:crypto'
import { type Log, lineOf } from '#core/log.ts'
import { Secret } from '#core/secret.ts'
import type { DoctorCheck } from './doctor.ts'

/** What `agentos doctor tenancy` asks of the log: a secret made for the question does not get through. */
export function scrubberCheck(log: Log): DoctorCheck {
  return {
    name: 'log.scrubber',
    title: 'no living secret leaves in a line of the log, in any encoding',
    run() {
      const text = `probe"${randomBytes(24).toString('base64')}`
      const probe = new Secret(text)
      const written = {
        plain: text,
        json: JSON.stringify({ text }),
        url: encodeURIComponent(text),
        hex: Buffer.from(text).toString('hex'),
        base64: Buffer.from(`x:${text}:y`).toString('base64'),
        base64url: Buffer.from(`:${text}`).toString('base64url')
      }
      const through = Object.entries(written).flatMap(([name, form]) => {
        const line = lineOf(log, { msg: `${form} of ${probe}` })
        // Ten characters of it, whatever was cut at its ends: nothing of a found secret is left.
        return line === null || line.includes(JSON.stringify(form).slice(12, 22)) ? [name] : []
      })
      const count = Object.keys(written).length
      if (through.length === 0) return { ok: true, detail: `${count} encodings of a probe were masked` }
      return {
        ok: false,
        detail: `written as it is: ${through.join(', ')}`,
        fix: 'make the log of this server by createLog (core/log.ts)'
      }
    }
  }
}
