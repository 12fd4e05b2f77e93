// A function that runs in every isolate before any skill code. `post(kind, n, text)` is the only way out.
// Everything used later is captured here: the guest may poison every global and prototype afterwards.
// Nothing of this closure may be reachable from a skill except what is frozen onto globalThis and ctx.

;(post) => {
  const { apply, construct, defineProperty, ownKeys, getOwnPropertyDescriptor } = Reflect
  const { freeze, keys, create } = Object
  const { stringify, parse } = JSON
  const { isArray } = Array
  const NativePromise = Promise
  const NativeError = Error
  const NativeMap = Map
  const NativeString = String
  const slice = NativeString.prototype.slice
  const charCodeAt = NativeString.prototype.charCodeAt
  const mapGet = NativeMap.prototype.get
  const mapSet = NativeMap.prototype.set
  const mapDelete = NativeMap.prototype.delete
  const then = Promise.prototype.then
  const ignore = () => undefined
  const hasOwn = Object.prototype.hasOwnProperty
  const imul = Math.imul

  const MAX_TEXT = 1048576
  const MAX_ARGS = 262144
  const MAX_MESSAGE = 16384
  const MAX_STACK = 8192
  const MAX_DEPTH = 200
  const MAX_LOG_LINES = 1000
  const MAX_LOG_CHARS = 65536
  const MAX_PENDING = 8

  const hide = (target, name, value) =>
    defineProperty(target, name, { value, writable: true, enumerable: false, configurable: true })

  // --- what is taken away -------------------------------------------------------------------------------------------
  // WebAssembly and resizable buffers pass memoryLimit; shared memory and Atomics make a clock; weak references make
  // garbage collection visible, so a replay could differ.
  for (const name of ['WebAssembly', 'SharedArrayBuffer', 'Atomics', 'FinalizationRegistry', 'WeakRef', 'console'])
    delete globalThis[name]
  const NativeArrayBuffer = ArrayBuffer
  const bufferPrototype = NativeArrayBuffer.prototype
  for (const name of [
    'resize',
    'resizable',
    'maxByteLength',
    'transfer',
    'transferToFixedLength',
    'transferToImmutable',
    'sliceToImmutable'
  ])
    delete bufferPrototype[name]
  function GuestArrayBuffer(length) {
    if (new.target === undefined) throw new TypeError("Constructor ArrayBuffer requires 'new'")
    return construct(NativeArrayBuffer, [length], new.target)
  }
  defineProperty(GuestArrayBuffer, 'name', { value: 'ArrayBuffer' })
  defineProperty(GuestArrayBuffer, 'prototype', { value: bufferPrototype, writable: false })
  defineProperty(GuestArrayBuffer, Symbol.species, {
    get() {
      return this
    },
    configurable: true
  })
  hide(GuestArrayBuffer, 'isView', NativeArrayBuffer.isView)
  hide(bufferPrototype, 'constructor', GuestArrayBuffer)
  hide(globalThis, 'ArrayBuffer', GuestArrayBuffer)

  // --- time stands still, chance is seeded --------------------------------------------------------------------------
  let now = 0
  const NativeDate = Date
  const dateToString = NativeDate.prototype.toString
  function GuestDate(...parts) {
    if (new.target === undefined) return apply(dateToString, construct(NativeDate, [now]), [])
    return construct(NativeDate, parts.length === 0 ? [now] : parts, new.target)
  }
  defineProperty(GuestDate, 'name', { value: 'Date' })
  defineProperty(GuestDate, 'length', { value: 7 })
  defineProperty(GuestDate, 'prototype', { value: NativeDate.prototype, writable: false })
  hide(GuestDate, 'now', () => now)
  hide(GuestDate, 'parse', NativeDate.parse)
  hide(GuestDate, 'UTC', NativeDate.UTC)
  hide(NativeDate.prototype, 'constructor', GuestDate)
  hide(globalThis, 'Date', GuestDate)

  // A format without an argument reads the real clock inside the engine.
  const formatter = Intl.DateTimeFormat.prototype
  const getFormat = getOwnPropertyDescriptor(formatter, 'format').get
  const formatToParts = formatter.formatToParts
  defineProperty(formatter, 'format', {
    get() {
      const format = apply(getFormat, this, [])
      return (date) => format(date === undefined ? now : date)
    },
    configurable: true
  })
  hide(formatter, 'formatToParts', function (date) {
    return apply(formatToParts, this, [date === undefined ? now : date])
  })
  if (typeof Temporal !== 'undefined') {
    const { fromEpochMilliseconds } = Temporal.Instant
    const toZoned = Temporal.Instant.prototype.toZonedDateTimeISO
    const zoned = (zone = 'UTC') => apply(toZoned, apply(fromEpochMilliseconds, Temporal.Instant, [now]), [zone])
    const part = (name) => {
      const convert = Temporal.ZonedDateTime.prototype[name]
      return (zone) => apply(convert, zoned(zone), [])
    }
    hide(Temporal.Now, 'timeZoneId', () => 'UTC')
    hide(Temporal.Now, 'instant', () => apply(fromEpochMilliseconds, Temporal.Instant, [now]))
    hide(Temporal.Now, 'zonedDateTimeISO', zoned)
    hide(Temporal.Now, 'plainDateTimeISO', part('toPlainDateTime'))
    hide(Temporal.Now, 'plainDateISO', part('toPlainDate'))
    hide(Temporal.Now, 'plainTimeISO', part('toPlainTime'))
  }

  // sfc32 seeded by FNV-1a of the seed: not for secrets, the same numbers on every replay.
  let a = 0
  let b = 0
  let c = 0
  let d = 1
  const random = () => {
    const t = (((a + b) | 0) + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (c << 21) | (c >>> 11)
    c = (c + t) | 0
    return (t >>> 0) / 4294967296
  }
  const seedRandom = (seed) => {
    const words = [0, 0, 0]
    for (let w = 0; w < 3; w++) {
      let hash = (2166136261 ^ imul(w, 668265263)) | 0
      for (let i = 0; i < seed.length; i++) hash = imul(hash ^ apply(charCodeAt, seed, [i]), 16777619)
      words[w] = hash
    }
    a = words[0]
    b = words[1]
    c = words[2]
    d = 1
    for (let i = 0; i < 12; i++) random()
  }
  hide(Math, 'random', () => random())

  // --- errors and logs become capped text ---------------------------------------------------------------------------
  // slice() of a rope flattens it, so a huge string is not touched at all.
  const cap = (text, max) =>
    text.length <= max
      ? text
      : text.length > 4194304
        ? `(text of ${text.length} characters)`
        : apply(slice, text, [0, max])

  const read = (value, name) => {
    try {
      const found = value[name]
      return typeof found === 'string' ? found : ''
    } catch {
      return ''
    }
  }

  const describe = (error) => {
    const type = typeof error
    if ((type !== 'object' && type !== 'function') || error === null) {
      const message = type === 'string' ? error : type === 'symbol' ? 'a symbol was thrown' : NativeString(error)
      return { __proto__: null, name: 'Thrown', message: cap(message, MAX_MESSAGE), stack: '' }
    }
    const name = cap(read(error, 'name') || 'Error', 200)
    const message = cap(read(error, 'message') || (type === 'function' ? 'a function was thrown' : ''), MAX_MESSAGE)
    return { __proto__: null, name, message, stack: cap(read(error, 'stack'), MAX_STACK) } // no prototype: no toJSON of the guest's
  }

  let lines = 0
  let chars = 0
  const log = (level, parts) => {
    if (lines > MAX_LOG_LINES || chars > MAX_LOG_CHARS) return
    let text = ''
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]
      let shown
      try {
        if (typeof part === 'string') shown = part
        else if (typeof part === 'object' && part !== null) {
          const found = part instanceof NativeError ? describe(part) : undefined
          shown = found ? `${found.name}: ${found.message}` : tooBig(part) ? '(large value)' : stringify(part)
        } else shown = typeof part === 'function' ? '(function)' : NativeString(part)
      } catch {
        shown = '(unprintable)'
      }
      text += (i > 0 ? ' ' : '') + cap(NativeString(shown), 8192)
      if (text.length > 8192) break
    }
    lines++
    chars += text.length
    if (lines > MAX_LOG_LINES || chars > MAX_LOG_CHARS) {
      post('log:warn', 0, 'log limit reached: the rest of this call is not recorded')
      return
    }
    post(`log:${level}`, 0, text)
  }
  const logger = () => {
    const made = {}
    for (const level of ['debug', 'info', 'warn', 'error']) made[level] = (...parts) => log(level, parts)
    return freeze(made)
  }
  hide(
    globalThis,
    'console',
    freeze({ ...logger(), log: (...parts) => log('info', parts), trace: (...parts) => log('debug', parts) })
  )

  // A cheap lower bound of the JSON length, so that a bomb is refused before it is built.
  const tooBig = (value) => {
    let budget = MAX_TEXT
    const walk = (item, depth) => {
      if (typeof item === 'string') {
        budget -= item.length
        return
      }
      budget -= 1
      if (typeof item !== 'object' || item === null || budget < 0 || depth > MAX_DEPTH) return
      if (isArray(item)) {
        for (let i = 0; i < item.length && budget >= 0; i++) walk(item[i], depth + 1)
        return
      }
      const names = keys(item)
      for (let i = 0; i < names.length && budget >= 0; i++) {
        budget -= names[i].length
        walk(item[names[i]], depth + 1)
      }
    }
    walk(value, 0)
    return budget < 0
  }

  // --- host calls ---------------------------------------------------------------------------------------------------
  let sequence = 0
  let left = 0
  let exceeded
  let pending = new NativeMap()
  let flying = 0
  let waiting = new NativeMap() // not an array: setters on Array.prototype would see its entries
  let head = 0
  let tail = 0

  const hostError = (code, message) => {
    const error = new NativeError(message)
    hide(error, 'code', code)
    return error
  }

  const launch = (n, name, text) => {
    flying++
    post(`call:${name}`, n, text)
  }

  const hostCall = (name, args) => {
    let resolve
    let reject
    const promise = new NativePromise((yes, no) => {
      resolve = yes
      reject = no
    })
    // Counts as handled from the start: isolated-vm keeps unhandled rejections in a list that it searches for each one,
    // and a progress message that nobody waits for must not fail the call.
    apply(then, promise, [undefined, ignore])
    const text = left <= 0 || tooBig(args) ? undefined : stringify(args)
    if (left <= 0) {
      // One error for all of them: a flood of refusals must not cost a stack trace each.
      exceeded ??= freeze(hostError('SANDBOX_HOST_CALLS', 'the host call limit of this call is reached'))
      reject(exceeded)
    } else if (typeof text !== 'string' || text.length > MAX_ARGS) {
      reject(hostError('ARGUMENTS_TOO_LARGE', 'the arguments of a host call are 256 KiB of JSON at most'))
    } else {
      left--
      const n = ++sequence
      apply(mapSet, pending, [n, { resolve, reject }])
      if (flying < MAX_PENDING) launch(n, name, text)
      else apply(mapSet, waiting, [tail++, { n, name, text }])
    }
    return promise
  }

  const deliver = (n, ok, text) => {
    const waiter = apply(mapGet, pending, [n])
    if (waiter === undefined) return
    apply(mapDelete, pending, [n])
    flying--
    if (head < tail) {
      const next = apply(mapGet, waiting, [head])
      apply(mapDelete, waiting, [head++])
      launch(next.n, next.name, next.text)
    }
    const value = parse(text)
    if (ok) waiter.resolve(value)
    else waiter.reject(hostError(value.code, value.message))
  }

  const makeContext = (session, capabilities) => {
    const ctx = create(null)
    ctx.session = freeze(session)
    for (let i = 0; i < capabilities.length; i++) {
      const { name, group, member } = capabilities[i]
      if (name === 'log') {
        ctx.log = logger()
        continue
      }
      const ask = (...args) => hostCall(name, args)
      if (group === undefined) ctx[name] = ask
      else {
        if (ctx[group] === undefined) ctx[group] = create(null)
        ctx[group][member] = ask
      }
    }
    const names = ownKeys(ctx)
    for (let i = 0; i < names.length; i++) freeze(ctx[names[i]])
    return freeze(ctx)
  }

  // --- the trampoline: one capped string comes back -----------------------------------------------------------------
  // 'V' + JSON | 'E' + JSON of {name, message, stack} | 'H' same, host call limit | 'L' message | 'I' message | 'Z' message
  let namespace
  const bind = (entry) => {
    namespace = entry
  }

  const finish = (value) => {
    if (value === undefined) return 'Ithe tool returned undefined; return null or a JSON value'
    const type = typeof value
    if (type === 'function' || type === 'symbol' || type === 'bigint')
      return `Ithe tool returned a ${type}, which is not JSON`
    let text
    try {
      if (tooBig(value)) return 'Zthe result is larger than 1 MiB'
      text = stringify(value)
    } catch (error) {
      const found = describe(error)
      return `Ithe result is not JSON: ${found.message}`
    }
    if (typeof text !== 'string') return 'Ithe result is not JSON'
    return text.length > MAX_TEXT ? 'Zthe result is larger than 1 MiB' : `V${text}`
  }

  const invoke = async (exportName, input, setup) => {
    const call = parse(setup)
    now = call.time
    seedRandom(call.seed)
    lines = 0
    chars = 0
    sequence = 0
    left = call.hostCalls
    exceeded = undefined
    pending = new NativeMap()
    flying = 0
    waiting = new NativeMap()
    head = 0
    tail = 0
    try {
      if (!apply(hasOwn, namespace, [exportName]) || typeof namespace[exportName] !== 'function')
        return `L${exportName} is not an exported function of the skill's entry`
      const tool = namespace[exportName]
      return finish(await tool(parse(input), makeContext(call.session, call.capabilities)))
    } catch (error) {
      return (exceeded ? 'H' : 'E') + stringify(describe(error))
    }
  }

  return [bind, invoke, deliver]
}
