// First part of the prelude: everything that later parts use is captured here, for the guest may poison every global and
// prototype afterwards. Nothing of `kit` may be reachable from a skill except what is put onto globalThis and ctx.
;(kit) => {
  const { apply, construct, defineProperty, ownKeys, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } =
    Reflect
  const { charCodeAt, indexOf, toLowerCase, toUpperCase, toWellFormed } = String.prototype
  const { get: mapGet, set: mapSet, delete: mapDelete, clear: mapClear, forEach: mapForEach } = Map.prototype
  const { captureStackTrace } = Error

  kit.apply = apply
  kit.construct = construct
  kit.defineProperty = defineProperty
  kit.ownKeys = ownKeys
  kit.getOwnPropertyDescriptor = getOwnPropertyDescriptor
  kit.hasOwn = Object.hasOwn
  kit.freeze = Object.freeze
  kit.keys = Object.keys
  kit.create = Object.create
  kit.stringify = JSON.stringify
  kit.parse = JSON.parse
  kit.isArray = Array.isArray
  kit.Promise = Promise
  kit.Error = Error
  kit.TypeError = TypeError
  kit.RangeError = RangeError
  kit.Map = Map
  kit.String = String
  kit.Number = Number
  kit.thenOf = Promise.prototype.then
  kit.slice = String.prototype.slice
  kit.imul = Math.imul
  kit.min = Math.min

  kit.codeAt = (text, at) => apply(charCodeAt, text, [at])
  kit.get = (map, key) => apply(mapGet, map, [key])
  kit.set = (map, key, value) => apply(mapSet, map, [key, value])
  kit.remove = (map, key) => apply(mapDelete, map, [key])
  kit.clear = (map) => apply(mapClear, map, [])
  kit.each = (map, run) => apply(mapForEach, map, [run])
  /** String(value), except that a symbol throws. */
  kit.text = (value) => `${value}`
  kit.indexOf = (text, part) => apply(indexOf, text, [part])
  kit.lower = (text) => apply(toLowerCase, text, [])
  kit.upper = (text) => apply(toUpperCase, text, [])
  kit.wellFormed = (text) => apply(toWellFormed, text, [])

  /** Out of reach of what the guest puts on Array.prototype and Object.prototype: setters, toJSON. */
  kit.bare = (list) => {
    setPrototypeOf(list, null)
    return list
  }

  /** Where `method` was called: the author's own frames, for an error that comes later. */
  kit.siteOf = (method) => {
    const site = { __proto__: null }
    apply(captureStackTrace, undefined, [site, method])
    return site
  }

  // --- bytes ----------------------------------------------------------------------------------------------------------
  const Bytes = Uint8Array
  const { fromBase64 } = Bytes
  const { toBase64 } = Bytes.prototype
  const { isView } = ArrayBuffer
  const getterOf = (target, name) => getOwnPropertyDescriptor(target, name).get
  const typedArray = getPrototypeOf(Bytes.prototype)
  const tagOf = getterOf(typedArray, Symbol.toStringTag)
  const viewOf = (target) => ({
    __proto__: null,
    buffer: getterOf(target, 'buffer'),
    offset: getterOf(target, 'byteOffset'),
    length: getterOf(target, 'byteLength')
  })
  const typed = viewOf(typedArray)
  const data = viewOf(DataView.prototype)
  const bufferLength = getterOf(ArrayBuffer.prototype, 'byteLength')

  /** The bytes of an ArrayBuffer or of a view of one, not copied; undefined for anything else. */
  kit.bytesOf = (value) => {
    if (typeof value !== 'object' || value === null) return undefined
    if (isView(value)) {
      const view = apply(tagOf, value, []) === undefined ? data : typed
      const part = [apply(view.buffer, value, []), apply(view.offset, value, []), apply(view.length, value, [])]
      return construct(Bytes, part)
    }
    try {
      apply(bufferLength, value, [])
    } catch {
      return undefined
    }
    return construct(Bytes, [value])
  }
  kit.bufferOf = (bytes) => apply(typed.buffer, bytes, [])
  kit.toBase64 = (bytes) => apply(toBase64, bytes, [])
  kit.fromBase64 = (text) => apply(fromBase64, Bytes, [text])

  kit.hide = (target, name, value) =>
    defineProperty(target, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true })

  /** Globals that most skills never touch are built by their first use: a new isolate must stay cheap. */
  kit.lazy = (names, build) => {
    let built
    for (const name of names)
      defineProperty(globalThis, name, {
        get() {
          built ??= build()
          kit.hide(globalThis, name, built[name])
          return built[name]
        },
        set(value) {
          kit.hide(globalThis, name, value)
        },
        enumerable: false,
        configurable: true
      })
    /** For other parts of the prelude, whatever the guest made of the globals. */
    return (name) => {
      built ??= build()
      return built[name]
    }
  }

  /** Bytes of `text` in UTF-8; a lone surrogate counts as U+FFFD. */
  kit.utf8Bytes = (text) => {
    let bytes = text.length
    for (let i = 0; i < text.length; i++) {
      const code = kit.codeAt(text, i)
      if (code > 0x7f) bytes += code > 0x7ff ? 2 : 1
      if (code >= 0xd800 && code < 0xdc00 && i + 1 < text.length) {
        const next = kit.codeAt(text, i + 1)
        if (next >= 0xdc00 && next < 0xe000) i++ // both halves: 4 bytes, and 2 + 2 are counted
      }
    }
    return bytes
  }
}
