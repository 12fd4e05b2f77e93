// Its own search, not the scrubber's: a mistake of the one must not hide in the other.

/** What must not be found, by name. */
export type Canaries = Readonly<Record<string, string>>

export interface Hit {
  canary: string
  /** plain, hex, base64+1 ... */
  form: string
  sink: string
}

/** The ways in which a canary could be written: [name, text]. */
export function writtenForms(text: string): [form: string, text: string][] {
  const bytes = Buffer.from(text)
  const json = JSON.stringify(text).slice(1, -1)
  const url = encodeURIComponent(text)
  const forms: [string, string][] = [
    ['plain', text],
    ['json', json],
    ['json in json', JSON.stringify(json).slice(1, -1)],
    ['url', url],
    ['form', new URLSearchParams([['', text]]).toString().slice(1)],
    ['url in lower case', url.replaceAll(/%../g, (code) => code.toLowerCase())],
    ['hex', bytes.toString('hex')],
    ['HEX', bytes.toString('hex').toUpperCase()]
  ]
  for (const before of [0, 1, 2]) {
    // The characters at both ends hold bits of the neighbours as well.
    const whole = Buffer.concat([Buffer.alloc(before, 'x'), bytes, Buffer.alloc(3, 'y')]).toString('base64')
    const inner = whole.slice(before + 1, before + 1 + Math.floor((bytes.length - 2) / 3) * 4)
    forms.push([`base64+${before}`, inner])
    forms.push([`base64url+${before}`, inner.replaceAll('+', '-').replaceAll('/', '_')])
  }
  const seen = new Set<string>()
  return forms.filter(([, form]) => form.length >= 8 && !seen.has(form) && seen.add(form))
}

const WINDOW = 8

/** Finds canaries in bytes, all forms in one pass; text is given as UTF-8. */
export class Search {
  readonly #byStart = new Map<string, { canary: string; form: string; bytes: Buffer }[]>()
  readonly #bits = new Uint8Array(2 ** 21)

  constructor(canaries: Canaries) {
    for (const [canary, text] of Object.entries(canaries)) {
      for (const [form, written] of writtenForms(text)) {
        const bytes = Buffer.from(written)
        const start = bytes.toString('latin1', 0, WINDOW)
        this.#byStart.set(start, [...(this.#byStart.get(start) ?? []), { canary, form, bytes }])
        this.#bits[slot(bytes, 0)] = 1
      }
    }
  }

  in(sink: string, content: string | Buffer): Hit[] {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    const hits = new Map<string, Hit>()
    for (let at = 0; at + WINDOW <= bytes.length; at++) {
      if (this.#bits[slot(bytes, at)] === 0) continue
      for (const { canary, form, bytes: wanted } of this.#byStart.get(bytes.toString('latin1', at, at + WINDOW)) ??
        []) {
        if (bytes.compare(wanted, 0, wanted.length, at, Math.min(at + wanted.length, bytes.length)) !== 0) continue
        hits.set(`${canary} ${form}`, { canary, form, sink })
      }
    }
    return [...hits.values()]
  }
}

// Of the first four bytes: enough to pass nearly everything by.
function slot(bytes: Buffer, at: number): number {
  const four =
    ((bytes[at] as number) << 24) ^
    ((bytes[at + 1] as number) << 16) ^
    ((bytes[at + 2] as number) << 8) ^
    (bytes[at + 3] as number)
  return Math.imul(four, 0x9e3779b1) >>> 11
}
