/**
 * Every way in which a secret's text is usually written: plain, JSON-escaped (once, and twice for JSON in JSON),
 * URL-encoded, hex, and base64 and base64url at each of the three places where it can begin in a longer text that is
 * encoded as a whole. A URL's password counts as a secret of its own.
 */
export function formsOf(secret: string): Set<string> {
  const forms = new Set<string>()
  for (const text of [secret, ...passwordOf(secret)]) {
    const escaped = jsonEscaped(text)
    const encoded = encodeURIComponent(text)
    for (const form of [text, escaped, jsonEscaped(escaped), encoded, lowerHex(encoded), formEncoded(text)]) {
      forms.add(form)
    }
    const bytes = Buffer.from(text)
    for (const form of base64Of(bytes)) forms.add(form).add(form.replaceAll('+', '-').replaceAll('/', '_'))
    // A key of 32 bytes is written as base64; the bytes themselves may be printed as hex, or in the other alphabet.
    const key = /^[\w+/-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : bytes
    for (const printed of new Set([bytes.toString('hex'), key.toString('hex')])) {
      forms.add(printed).add(printed.toUpperCase())
    }
    if (key !== bytes) forms.add(key.toString('base64').slice(0, 43)).add(key.toString('base64url'))
  }
  return forms
}

function passwordOf(text: string): string[] {
  const [, password] = /^[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:([^\s/@]+)@/i.exec(text) ?? []
  if (password === undefined) return []
  try {
    return [password, decodeURIComponent(password)]
  } catch {
    return [password]
  }
}

function jsonEscaped(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

function lowerHex(encoded: string): string {
  return encoded.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())
}

function formEncoded(text: string): string {
  return new URLSearchParams([['', text]]).toString().slice(1)
}

/** The characters that depend on these bytes alone, when 0, 1 or 2 other bytes stand before them in a group of three. */
function base64Of(bytes: Buffer): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64')
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6))
  })
}
