// URL and URLSearchParams: https://url.spec.whatwg.org. The host parses (strings in, strings out), the list of pairs is ours.
;(kit) => {
  const { ask, parse, codeAt } = kit
  const MAX_URL = 65536
  const MORE = { __proto__: null, '!': '%21', "'": '%27', '(': '%28', ')': '%29', '~': '%7E' }
  const encodeComponent = encodeURIComponent
  const PARTS = 'href origin protocol username password host hostname port pathname search hash'.split(' ')

  kit.url = kit.lazy(['URL', 'URLSearchParams'], () => {
    const invalid = () => {
      const error = new TypeError('Invalid URL')
      kit.hide(error, 'code', 'ERR_INVALID_URL')
      return error
    }
    const request = (...texts) => {
      for (const text of texts) if (text.length > MAX_URL) throw new TypeError('a URL has 64 Ki characters at most')
      return ask('url', ...texts)
    }

    // application/x-www-form-urlencoded escapes more than encodeURIComponent. No method of a string: they are the guest's.
    const encode = (text) => {
      const escaped = encodeComponent(kit.wellFormed(text))
      let encoded = ''
      for (let i = 0; i < escaped.length; i++) {
        const code = codeAt(escaped, i)
        if (code === 0x25 && codeAt(escaped, i + 1) === 0x32 && codeAt(escaped, i + 2) === 0x30) {
          encoded += '+'
          i += 2
        } else encoded += MORE[escaped[i]] ?? escaped[i]
      }
      return encoded
    }
    const decode = (text) => {
      const spaced = text.replace(/\+/g, ' ')
      try {
        return decodeURIComponent(spaced)
      } catch {
        // Broken escapes stay as they are, broken UTF-8 becomes U+FFFD.
        const Decoder = kit.encoding('TextDecoder')
        return spaced.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
          const bytes = Uint8Array.from(run.slice(1).split('%'), (pair) => Number.parseInt(pair, 16))
          return new Decoder('utf-8', { ignoreBOM: true }).decode(bytes)
        })
      }
    }
    const split = (query) =>
      query
        .split('&')
        .filter((pair) => pair !== '')
        .map((pair) => {
          const at = pair.indexOf('=')
          return at < 0 ? [decode(pair), ''] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]
        })

    const toText = (pairs) => {
      let text = ''
      for (let i = 0; i < pairs.length; i++) text += `${i > 0 ? '&' : ''}${encode(pairs[i][0])}=${encode(pairs[i][1])}`
      return text
    }

    const link = Symbol('link')
    const reset = Symbol('reset')
    const pairOf = (pair) => {
      const both = [...pair]
      if (both.length !== 2) throw new TypeError('URLSearchParams: each entry is a pair of name and value')
      return [`${both[0]}`, `${both[1]}`]
    }
    let paramsText
    class URLSearchParams {
      #pairs = []
      #changed = () => undefined
      static {
        /** What a request sends of it; undefined when `value` is none. */
        paramsText = (value) => (#pairs in value ? toText(value.#pairs) : undefined)
      }
      constructor(init = '') {
        if (init === null || typeof init !== 'object') this.#pairs = split(`${init}`.replace(/^\?/, ''))
        else if (typeof init[Symbol.iterator] === 'function') this.#pairs = Array.from(init, pairOf)
        else this.#pairs = Object.entries(init).map(([name, value]) => [name, `${value}`])
      }
      [link](changed) {
        this.#changed = changed
      }
      [reset](query) {
        this.#pairs = split(query.replace(/^\?/, ''))
      }
      get size() {
        return this.#pairs.length
      }
      append(name, value) {
        this.#pairs.push([`${name}`, `${value}`])
        this.#changed()
      }
      delete(name, value) {
        this.#pairs = this.#pairs.filter(
          (pair) => pair[0] !== `${name}` || (value !== undefined && pair[1] !== `${value}`)
        )
        this.#changed()
      }
      get(name) {
        return this.#pairs.find((pair) => pair[0] === `${name}`)?.[1] ?? null
      }
      getAll(name) {
        return this.#pairs.filter((pair) => pair[0] === `${name}`).map((pair) => pair[1])
      }
      has(name, value) {
        return this.#pairs.some((pair) => pair[0] === `${name}` && (value === undefined || pair[1] === `${value}`))
      }
      set(name, value) {
        const first = this.#pairs.find((pair) => pair[0] === `${name}`)
        if (first) {
          first[1] = `${value}`
          this.#pairs = this.#pairs.filter((pair) => pair === first || pair[0] !== `${name}`)
        } else this.#pairs.push([`${name}`, `${value}`])
        this.#changed()
      }
      sort() {
        this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        this.#changed()
      }
      forEach(run, self) {
        for (const [name, value] of this.#pairs) run.call(self, value, name, this)
      }
      *entries() {
        for (const [name, value] of this.#pairs) yield [name, value]
      }
      *keys() {
        for (const [name] of this.#pairs) yield name
      }
      *values() {
        for (const [, value] of this.#pairs) yield value
      }
      [Symbol.iterator]() {
        return this.entries()
      }
      toString() {
        return toText(this.#pairs)
      }
      get [Symbol.toStringTag]() {
        return 'URLSearchParams'
      }
    }

    class URL {
      #parts
      #params
      constructor(url, base) {
        this.#take(base === undefined ? request(`${url}`) : request(`${url}`, `${base}`))
      }
      #take(answer) {
        if (answer === '') throw invalid()
        this.#parts = parse(answer)
      }
      static canParse(url, base) {
        return (base === undefined ? request(`${url}`) : request(`${url}`, `${base}`)) !== ''
      }
      static parse(url, base) {
        return URL.canParse(url, base) ? new URL(url, base) : null
      }
      static part(url, index) {
        return url.#parts[index]
      }
      static change(url, name, value) {
        url.#take(ask('url.set', url.#parts[0], name, value))
        if (name !== 'search' && name !== 'href') return
        url.#params?.[reset](url.#parts[9])
      }
      get searchParams() {
        if (!this.#params) {
          const params = new URLSearchParams(this.#parts[9])
          params[link](() => this.#take(ask('url.set', this.#parts[0], 'search', params.toString())))
          this.#params = params
        }
        return this.#params
      }
      toString() {
        return this.#parts[0]
      }
      toJSON() {
        return this.#parts[0]
      }
      get [Symbol.toStringTag]() {
        return 'URL'
      }
    }
    const { part, change } = URL
    delete URL.part
    delete URL.change
    PARTS.forEach((name, index) => {
      const set =
        name === 'origin'
          ? undefined
          : function (value) {
              const text = `${value}`
              if (text.length > MAX_URL) throw new TypeError('a URL has 64 Ki characters at most')
              change(this, name, text)
            }
      Object.defineProperty(URL.prototype, name, {
        get() {
          return part(this, index)
        },
        set,
        enumerable: true,
        configurable: true
      })
    })
    return { URL, URLSearchParams, paramsText }
  })
}
