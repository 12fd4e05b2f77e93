// Headers: https://fetch.spec.whatwg.org/#headers-class. Pairs in, pairs out; names lower case, in their order.
;(kit) => {
  const { apply, codeAt, lower, upper, slice, get, set, remove, each, bare, isArray, keys } = kit
  const NativeMap = kit.Map
  const { sort } = Array.prototype
  const iteratorOf = Symbol.iterator
  const toText = kit.text

  const isTokenChar = (code) =>
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x5e && code <= 0x7a) || // ^ _ ` and a to z
    code === 0x7c ||
    code === 0x7e ||
    code === 0x21 ||
    (code >= 0x23 && code <= 0x27) || // # $ % & '
    code === 0x2a ||
    code === 0x2b ||
    code === 0x2d ||
    code === 0x2e

  /** RFC 9110 token: names of headers and methods. */
  const isToken = (text) => {
    for (let i = 0; i < text.length; i++) if (!isTokenChar(codeAt(text, i))) return false
    return text.length > 0
  }
  kit.isToken = isToken

  const nameOf = (value) => {
    const name = toText(value)
    if (!isToken(name)) throw kit.wrong(`Headers: ${kit.stringify(apply(slice, name, [0, 100]))} is no header name`)
    return lower(name)
  }
  const isSpace = (code) => code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d
  const textOf = (given, name) => {
    const value = toText(given)
    let from = 0
    let to = value.length
    while (from < to && isSpace(codeAt(value, from))) from++
    while (to > from && isSpace(codeAt(value, to - 1))) to--
    for (let i = from; i < to; i++) {
      const code = codeAt(value, i)
      if (code === 0 || code === 0x0a || code === 0x0d || code > 0xff)
        throw kit.wrong(`Headers: the value of ${name} has a line break, a NUL or a character above U+00FF`)
    }
    return apply(slice, value, [from, to])
  }

  kit.headers = kit.lazy(['Headers'], () => {
    let pairsOf
    let isHeaders
    let suggest
    class Headers {
      #values = new NativeMap() // by name: the list of values
      static {
        /** Sorted, one pair a value that stands alone: [['accept', 'text/html'], ['set-cookie', 'a'], ['set-cookie', 'b']]. */
        pairsOf = (headers) => headers.#pairs()
        isHeaders = (value) => #values in value
        /** Sets what the author left open. */
        suggest = (headers, name, value) => {
          if (get(headers.#values, name) === undefined) headers.#append(name, value)
        }
      }
      constructor(init) {
        if (init === undefined) return
        if (init === null || typeof init !== 'object') throw kit.wrong('Headers: give pairs or an object')
        this.#fill(init)
      }
      #fill(init) {
        if (isHeaders(init)) {
          const pairs = pairsOf(init)
          for (let i = 0; i < pairs.length; i++) this.#append(pairs[i][0], pairs[i][1])
        } else if (isArray(init)) {
          for (let i = 0; i < init.length; i++) this.#pair(init[i])
        } else if (typeof init[iteratorOf] === 'function') {
          for (const pair of init) this.#pair(pair)
        } else {
          const names = keys(init)
          for (let i = 0; i < names.length; i++) this.#append(names[i], init[names[i]])
        }
      }
      #pair(pair) {
        if (!isArray(pair) || pair.length !== 2) throw kit.wrong('Headers: each entry is [name, value]')
        this.#append(pair[0], pair[1])
      }
      #append(given, value) {
        const name = nameOf(given)
        const text = textOf(value, name)
        const list = get(this.#values, name)
        if (list === undefined) set(this.#values, name, bare([text]))
        else list[list.length] = text
      }
      #pairs() {
        const names = bare([])
        each(this.#values, (_, name) => {
          names[names.length] = name
        })
        apply(sort, names, [])
        const pairs = bare([])
        for (let i = 0; i < names.length; i++) {
          const list = get(this.#values, names[i])
          if (names[i] !== 'set-cookie') pairs[pairs.length] = bare([names[i], joined(list)])
          else for (let k = 0; k < list.length; k++) pairs[pairs.length] = bare([names[i], list[k]])
        }
        return pairs
      }
      append(name, value) {
        this.#append(name, value)
      }
      set(name, value) {
        const key = nameOf(name)
        set(this.#values, key, bare([textOf(value, key)]))
      }
      get(name) {
        const list = get(this.#values, nameOf(name))
        return list === undefined ? null : joined(list)
      }
      has(name) {
        return get(this.#values, nameOf(name)) !== undefined
      }
      delete(name) {
        remove(this.#values, nameOf(name))
      }
      getSetCookie() {
        const list = get(this.#values, 'set-cookie')
        return list === undefined ? [] : copied(list)
      }
      forEach(run, self) {
        const pairs = this.#pairs()
        for (let i = 0; i < pairs.length; i++) apply(run, self, [pairs[i][1], pairs[i][0], this])
      }
      *entries() {
        const pairs = this.#pairs()
        for (let i = 0; i < pairs.length; i++) yield [pairs[i][0], pairs[i][1]]
      }
      *keys() {
        const pairs = this.#pairs()
        for (let i = 0; i < pairs.length; i++) yield pairs[i][0]
      }
      *values() {
        const pairs = this.#pairs()
        for (let i = 0; i < pairs.length; i++) yield pairs[i][1]
      }
      [Symbol.iterator]() {
        return this.entries()
      }
      get [Symbol.toStringTag]() {
        return 'Headers'
      }
    }
    return { Headers, pairsOf, suggest }
  })

  const joined = (list) => {
    let text = list[0]
    for (let i = 1; i < list.length; i++) text += `, ${list[i]}`
    return text
  }
  const copied = (list) => {
    const made = []
    for (let i = 0; i < list.length; i++)
      kit.defineProperty(made, i, {
        __proto__: null,
        value: list[i],
        writable: true,
        enumerable: true,
        configurable: true
      })
    return made
  }
  /** GET, POST ...; undefined for what is no method. */
  kit.methodOf = (value) => {
    const method = toText(value)
    return isToken(method) ? upper(method) : undefined
  }
}
