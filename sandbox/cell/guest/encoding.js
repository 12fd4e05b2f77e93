// TextEncoder, TextDecoder (utf-8, utf-16le, latin1), atob, btoa: https://encoding.spec.whatwg.org
;(kit) => {
  const LABELS = {
    'utf-8': ['utf-8', 'utf8', 'unicode-1-1-utf-8'],
    'utf-16le': ['utf-16le', 'utf-16', 'unicode', 'ucs-2'],
    'windows-1252': ['windows-1252', 'latin1', 'iso-8859-1', 'ascii', 'us-ascii', 'cp1252']
  }
  // 0x80 to 0x9f of windows-1252, which is what the labels latin1 and ascii mean on the web.
  const HIGH = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'
  const CHUNK = 4096
  const Bytes = Uint8Array
  const Units = Uint16Array
  const { fromCharCode } = String

  kit.encoding = kit.lazy(['TextEncoder', 'TextDecoder', 'atob', 'btoa'], () => {
    const { codeAt, apply, construct, bufferOf } = kit

    /** Writes UTF-8 into `target`, whole characters only. */
    const encodeInto = (text, target) => {
      let read = 0
      let at = 0
      while (read < text.length) {
        let code = codeAt(text, read)
        let units = 1
        if (code >= 0xd800 && code < 0xe000) {
          const next = code < 0xdc00 && read + 1 < text.length ? codeAt(text, read + 1) : 0
          if (next >= 0xdc00 && next < 0xe000) {
            code = 0x10000 + ((code - 0xd800) << 10) + (next - 0xdc00)
            units = 2
          } else code = 0xfffd
        }
        const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
        if (at + bytes > target.length) break
        if (bytes === 1) target[at] = code
        else {
          target[at] = [0, 0, 0xc0, 0xe0, 0xf0][bytes] | (code >> (6 * (bytes - 1)))
          for (let i = 1; i < bytes; i++) target[at + i] = 0x80 | ((code >> (6 * (bytes - 1 - i))) & 0x3f)
        }
        at += bytes
        read += units
      }
      return { read, written: at }
    }

    class TextEncoder {
      get encoding() {
        return 'utf-8'
      }
      encode(text = '') {
        const string = `${text}`
        const bytes = new Uint8Array(kit.utf8Bytes(string))
        encodeInto(string, bytes)
        return bytes
      }
      encodeInto(text, target) {
        if (!(target instanceof Uint8Array)) throw new TypeError('encodeInto: the second argument is a Uint8Array')
        return encodeInto(`${text}`, target)
      }
    }

    const view = (input) => {
      if (input === undefined) return new Uint8Array(0)
      if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
      return new Uint8Array(input instanceof ArrayBuffer ? input : bad())
    }
    const bad = () => {
      throw new TypeError('decode: the input is an ArrayBuffer or a view of one')
    }

    const units = new Units(CHUNK + 1) // one more for the second half of a pair; no two collectors are at work at once
    /** Collects UTF-16 units in pieces: one apply() with all of them would overflow the stack. */
    const collector = () => {
      let text = ''
      let length = 0
      const flush = () => {
        if (length > 0) text += apply(fromCharCode, undefined, construct(Units, [bufferOf(units), 0, length]))
        length = 0
      }
      return {
        add(code) {
          if (code > 0xffff) {
            units[length++] = 0xd800 + ((code - 0x10000) >> 10)
            units[length++] = 0xdc00 + ((code - 0x10000) & 0x3ff)
          } else units[length++] = code
          if (length >= CHUNK) flush()
        },
        end() {
          flush()
          return text
        }
      }
    }

    const begin = (state, needed, code) => {
      state.needed = needed
      state.code = code
    }
    const widen = (state) => {
      state.low = 0x80
      state.high = 0xbf
    }

    /** The UTF-8 decoder of the standard: `state` lives on between chunks of a stream. */
    const utf8 = (bytes, state, fatal, more) => {
      const out = collector()
      const broken = () => {
        if (fatal) throw new TypeError('The encoded data was not valid for encoding utf-8')
        out.add(0xfffd)
      }
      for (let i = 0; i < bytes.length; i++) {
        const byte = bytes[i]
        if (state.needed === 0) {
          if (byte < 0x80) out.add(byte)
          else if (byte >= 0xc2 && byte <= 0xdf) begin(state, 1, byte & 0x1f)
          else if (byte >= 0xe0 && byte <= 0xef) {
            begin(state, 2, byte & 0xf)
            if (byte === 0xe0) state.low = 0xa0
            if (byte === 0xed) state.high = 0x9f
          } else if (byte >= 0xf0 && byte <= 0xf4) {
            begin(state, 3, byte & 0x7)
            if (byte === 0xf0) state.low = 0x90
            if (byte === 0xf4) state.high = 0x8f
          } else broken()
          continue
        }
        const fits = byte >= state.low && byte <= state.high
        widen(state)
        if (!fits) {
          state.needed = 0
          broken()
          i-- // this byte begins something new
          continue
        }
        state.code = (state.code << 6) | (byte & 0x3f)
        if (--state.needed === 0) out.add(state.code)
      }
      if (!more && state.needed > 0) {
        state.needed = 0
        widen(state)
        broken()
      }
      return out.end()
    }

    const utf16 = (bytes, state, fatal, more) => {
      const out = collector()
      for (const byte of bytes) {
        if (state.first === undefined) state.first = byte
        else {
          out.add(state.first | (byte << 8))
          state.first = undefined
        }
      }
      if (!more && state.first !== undefined) {
        state.first = undefined
        if (fatal) throw new TypeError('The encoded data was not valid for encoding utf-16le')
        out.add(0xfffd)
      }
      const text = out.end()
      return text.isWellFormed() ? text : text.toWellFormed()
    }

    const latin1 = (bytes) => {
      const out = collector()
      for (const byte of bytes) out.add(byte >= 0x80 && byte < 0xa0 ? HIGH.charCodeAt(byte - 0x80) : byte)
      return out.end()
    }

    const fresh = () => ({ needed: 0, code: 0, low: 0x80, high: 0xbf, first: undefined, begun: false })
    const decoders = { 'utf-8': utf8, 'utf-16le': utf16, 'windows-1252': latin1 }

    class TextDecoder {
      #encoding
      #fatal
      #ignoreBOM
      #state = fresh()
      constructor(label = 'utf-8', options = {}) {
        const wanted = `${label}`.trim().toLowerCase()
        this.#encoding = Object.keys(LABELS).find((name) => LABELS[name].includes(wanted))
        if (!this.#encoding)
          throw new RangeError(`TextDecoder: ${wanted.slice(0, 40)} is not supported; utf-8, utf-16le and latin1 are`)
        this.#fatal = Boolean(options?.fatal)
        this.#ignoreBOM = Boolean(options?.ignoreBOM)
      }
      get encoding() {
        return this.#encoding
      }
      get fatal() {
        return this.#fatal
      }
      get ignoreBOM() {
        return this.#ignoreBOM
      }
      decode(input, options = {}) {
        const more = Boolean(options?.stream)
        const state = this.#state
        if (!more) this.#state = fresh()
        const text = decoders[this.#encoding](view(input), state, this.#fatal, more)
        const bom = !state.begun && !this.#ignoreBOM && this.#encoding !== 'windows-1252' && text[0] === '\ufeff'
        if (text !== '') state.begun = true
        return bom ? text.slice(1) : text
      }
    }

    const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    const invalid = (message) => {
      throw new (kit.web('DOMException'))(message, 'InvalidCharacterError')
    }
    const btoa = (data) => {
      const text = `${data}`
      const out = collector()
      for (let i = 0; i < text.length; i += 3) {
        const codes = [codeAt(text, i), i + 1 < text.length ? codeAt(text, i + 1) : 0]
        codes.push(i + 2 < text.length ? codeAt(text, i + 2) : 0)
        if (codes.some((code) => code > 255)) invalid('btoa: the text has a character above U+00FF')
        const bits = (codes[0] << 16) | (codes[1] << 8) | codes[2]
        for (let k = 0; k < 4; k++) out.add(i + k > text.length ? 61 : codeAt(ALPHABET, (bits >> (18 - 6 * k)) & 63))
      }
      return out.end()
    }
    const atob = (data) => {
      let text = `${data}`.replace(/[\t\n\f\r ]/g, '')
      if (text.length % 4 === 0) text = text.replace(/==?$/, '')
      if (text.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(text)) invalid('atob: the text is not base64')
      const out = collector()
      let bits = 0
      let have = 0
      for (const letter of text) {
        bits = ((bits << 6) | ALPHABET.indexOf(letter)) & 0xffffff
        have += 6
        if (have >= 8) {
          have -= 8
          out.add((bits >> have) & 0xff)
        }
      }
      return out.end()
    }
    /** A body as text: U+FFFD for what is no UTF-8, no byte order mark. */
    const decodeText = (bytes) => {
      const text = utf8(bytes, fresh(), false, false)
      return codeAt(text, 0) === 0xfeff ? apply(kit.slice, text, [1]) : text
    }
    const encodeText = (text) => {
      const bytes = construct(Bytes, [kit.utf8Bytes(text)])
      encodeInto(text, bytes)
      return bytes
    }
    return {
      TextEncoder,
      TextDecoder,
      atob: (data) => atob(data),
      btoa: (data) => btoa(data),
      decodeText,
      encodeText
    }
  })
}
