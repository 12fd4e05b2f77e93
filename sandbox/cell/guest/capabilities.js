// ctx.storage, files, events, model, tools: how the author's arguments become those of the host, and answers his values.
;(kit) => {
  const { members, method, bare, hasOwn, apply, bytesOf, toBase64, fromBase64, wellFormed } = kit

  const NativeTypeError = kit.TypeError
  const wrong = (name, message) => kit.wrong(`ctx.${name}: ${message}`)
  const optional = (options) => options ?? { __proto__: null }
  /** JSON has no undefined: it would arrive as null, and be stored as that. */
  const present = (name, value) => {
    if (value === undefined) throw wrong(name, 'the value is undefined; null is a value')
    return value
  }
  // {ifVersion: found?.version} of a key that was not there would overwrite what came in between.
  const versioned = (name, options) => {
    const given = optional(options)
    if (typeof given === 'object' && apply(hasOwn, undefined, [given, 'ifVersion']) && given.ifVersion === undefined)
      throw wrong(name, 'ifVersion is undefined; 0 means that the key must not exist yet')
    return given
  }

  const define = (name, prepare, shape) => {
    const member = apply(kit.slice, name, [kit.indexOf(name, '.') + 1])
    members[name] = (group) => {
      group[member] = method(name, (...given) => bare(apply(prepare, undefined, given)), shape)
    }
  }
  define('storage.get', (key) => [key])
  define('storage.set', (key, value, options) => [
    key,
    present('storage.set', value),
    versioned('storage.set', options)
  ])
  define('storage.delete', (key, options) => [key, versioned('storage.delete', options)])
  define('storage.list', (options) => [optional(options)])

  define('events.publish', (type, data) => [type, data])
  define('model.run', (request) => [optional(request)])
  define('tools.call', (address, input) => [address, input === undefined ? { __proto__: null } : input])

  // --- files ----------------------------------------------------------------------------------------------------------
  const content = (name, value) => {
    if (typeof value === 'string') return { __proto__: null, text: wellFormed(value) }
    const bytes = bytesOf(value)
    if (bytes === undefined) throw wrong(name, 'the content is a string, a Uint8Array or an ArrayBuffer')
    return { __proto__: null, base64: toBase64(bytes) }
  }
  define('files.write', (path, value) => [path, content('files.write', value)])
  define('files.append', (path, value) => [path, content('files.append', value)])
  define('files.delete', (path) => [path])
  define('files.stat', (path) => [path])
  define('files.list', (prefix) => [typeof prefix === 'string' ? { __proto__: null, prefix } : optional(prefix)])

  /** Reads on until the file's end, one host call a piece, unless the author asked for a piece himself. */
  const reader = (as, partOf, join) => {
    const shape = (answer) => {
      const { bytes, more } = answer
      if (typeof bytes !== 'number') throw new NativeTypeError('no length')
      return { __proto__: null, part: partOf(answer), bytes, more: more === true }
    }
    const read = (path, options) =>
      kit.promised(read, (waiter) => {
        const { offset, length } = optional(options)
        let at = offset ?? 0
        let whole
        const { reject } = waiter
        const ask = () => {
          const range = { __proto__: null, as, offset: at, length }
          kit.request('files.read', bare([path, range]), { __proto__: null, site: waiter.site, shape, resolve, reject })
        }
        const resolve = ({ part, bytes, more }) => {
          whole = whole === undefined ? part : join(whole, part)
          at += bytes
          if (more && length === undefined && bytes > 0) ask()
          else waiter.resolve(whole)
        }
        ask()
      })
    return read
  }
  const Bytes = Uint8Array
  const { set: copyInto } = Bytes.prototype
  const joinBytes = (a, b) => {
    const made = new Bytes(a.length + b.length)
    apply(copyInto, made, [a, 0])
    apply(copyInto, made, [b, a.length])
    return made
  }
  const textOf = ({ text }) => {
    if (typeof text !== 'string') throw new NativeTypeError('no text')
    return text
  }
  const bytesIn = ({ base64 }) => fromBase64(base64)
  members['files.read'] = (files) => {
    files.read = reader('text', textOf, (a, b) => a + b)
    files.readBytes = reader('base64', bytesIn, joinBytes)
  }
}
