// ctx.fetch: https://fetch.spec.whatwg.org as far as text and bytes go. The host decides what is reachable.
;(kit) => {
  const { isArray, bytesOf, toBase64, fromBase64, bare, wellFormed, codeAt, slice, apply, parse } = kit
  const NativeTypeError = kit.TypeError
  const toText = kit.text

  const wrong = (message) => kit.wrong(`ctx.fetch: ${message}`)

  // --- what is sent ---------------------------------------------------------------------------------------------------
  // Each property of what the author gives is read once, and what is sent is made of that alone.
  const readRequest = (input, init) => {
    if (init !== undefined && (init === null || typeof init !== 'object')) throw wrong('the options are an object')
    const url = typeof input === 'object' && input !== null ? input.url : undefined
    const request = typeof url === 'string' ? input : undefined // {url, method, headers, ...}, like a Request
    const pick = (name) => {
      const own = init === undefined ? undefined : init[name]
      return own === undefined && request !== undefined ? request[name] : own
    }
    const given = pick('method')
    const method = given === undefined ? 'GET' : kit.methodOf(given)
    if (method === undefined) throw wrong('the method is a word such as POST')
    const redirect = pick('redirect') ?? 'follow'
    if (redirect !== 'follow' && redirect !== 'manual' && redirect !== 'error')
      throw wrong('redirect is follow, manual or error')
    const headers = new (kit.headers('Headers'))(pick('headers') ?? undefined)
    const body = readBody(pick('body'))
    if (body !== undefined && (method === 'GET' || method === 'HEAD')) throw wrong(`a ${method} request has no body`)
    if (body?.type !== undefined) kit.headers('suggest')(headers, 'content-type', body.type)
    const sent = {
      __proto__: null,
      url: wellFormed(request === undefined ? toText(input) : url),
      method,
      headers: kit.headers('pairsOf')(headers),
      redirect
    }
    if (body !== undefined) sent.body = body.sent
    return { __proto__: null, sent, signal: pick('signal') ?? undefined }
  }

  const readBody = (value) => {
    if (value === undefined || value === null) return undefined
    if (typeof value === 'string')
      return { __proto__: null, sent: { __proto__: null, text: wellFormed(value) }, type: 'text/plain;charset=UTF-8' }
    const bytes = bytesOf(value)
    if (bytes !== undefined)
      return { __proto__: null, sent: { __proto__: null, base64: toBase64(bytes) }, type: undefined }
    const query = typeof value === 'object' ? kit.url('paramsText')(value) : undefined
    if (query === undefined)
      throw wrong('the body is a string (JSON.stringify it), a Uint8Array, an ArrayBuffer or URLSearchParams')
    const type = 'application/x-www-form-urlencoded;charset=UTF-8'
    return { __proto__: null, sent: { __proto__: null, text: query }, type }
  }

  // --- what comes back ------------------------------------------------------------------------------------------------
  const lazyResponse = () => {
    let making = false
    class Response {
      #answer
      #headers
      #used = false
      constructor(answer) {
        if (!making) throw new NativeTypeError('Illegal constructor: a Response comes from ctx.fetch')
        this.#answer = answer
        this.#headers = new (kit.headers('Headers'))(answer.headers)
      }
      get url() {
        return this.#answer.url
      }
      get status() {
        return this.#answer.status
      }
      get statusText() {
        return this.#answer.statusText
      }
      get ok() {
        return this.#answer.status >= 200 && this.#answer.status < 300
      }
      get redirected() {
        return this.#answer.redirected
      }
      get headers() {
        return this.#headers
      }
      get bodyUsed() {
        return this.#used
      }
      #take() {
        if (this.#used) throw new NativeTypeError('Body is unusable: Body has already been read')
        this.#used = true
        return this.#answer.body
      }
      #text() {
        const { text, base64 } = this.#take()
        if (typeof text !== 'string') return kit.encoding('decodeText')(fromBase64(base64))
        return codeAt(text, 0) === 0xfeff ? apply(slice, text, [1]) : text
      }
      #bytes() {
        const { text, base64 } = this.#take()
        return typeof text === 'string' ? kit.encoding('encodeText')(text) : fromBase64(base64)
      }
      async text() {
        return this.#text()
      }
      async json() {
        return parse(this.#text())
      }
      async bytes() {
        return this.#bytes()
      }
      async arrayBuffer() {
        return kit.bufferOf(this.#bytes())
      }
      get [Symbol.toStringTag]() {
        return 'Response'
      }
    }
    return (answer) => {
      const { url, status, statusText, redirected, headers, body } = answer
      const { text, base64 } = body
      if (typeof status !== 'number' || !isArray(headers)) throw new NativeTypeError('no answer to a fetch')
      making = true
      try {
        const kept = { __proto__: null, url, status, statusText, redirected, headers }
        kept.body = { __proto__: null, text, base64: base64 ?? '' }
        return new Response(kept)
      } finally {
        making = false
      }
    }
  }
  let responseOf
  const shape = (answer) => {
    responseOf ??= lazyResponse()
    return responseOf(answer)
  }

  kit.members.fetch = (ctx) => {
    const fetch = (input, init) =>
      kit.promised(fetch, (waiter) => {
        const { sent, signal } = readRequest(input, init)
        waiter.shape = shape
        if (signal === undefined) {
          kit.request('fetch', bare([sent]), waiter)
          return
        }
        const follow = kit.web('follow')
        let n = 0
        let aborted = false
        const stop = follow(signal, (reason) => {
          aborted = true
          waiter.reject(reason)
          kit.abandon(n)
        })
        if (stop === undefined) throw wrong('the signal is no AbortSignal')
        if (aborted) return
        const { resolve, reject } = waiter
        waiter.resolve = (response) => {
          stop()
          resolve(response)
        }
        waiter.reject = (error) => {
          stop()
          reject(error)
        }
        n = kit.request('fetch', bare([sent]), waiter)
      })
    ctx.fetch = fetch
  }
}
