// The language as a skill sees it: without what makes clocks, threads and uncounted memory; time stands still, chance is seeded.
;(kit) => {
  const { apply, construct, defineProperty, getOwnPropertyDescriptor, hide, imul, codeAt } = kit

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

  // --- time -----------------------------------------------------------------------------------------------------------
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

  // --- chance -----------------------------------------------------------------------------------------------------------
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
  let seed // not sown yet: most calls draw nothing
  hide(Math, 'random', () => {
    if (seed !== undefined) sow()
    return random()
  })

  const word = (w) => {
    let hash = (2166136261 ^ imul(w, 668265263)) | 0
    for (let i = 0; i < seed.length; i++) hash = imul(hash ^ codeAt(seed, i), 16777619)
    return hash
  }
  const sow = () => {
    a = word(0)
    b = word(1)
    c = word(2)
    d = 1
    seed = undefined
    for (let i = 0; i < 12; i++) random()
  }

  /** Sets what Date and Math.random answer from here on. `time`: epoch ms. */
  kit.setWorld = (time, chance) => {
    now = time
    seed = chance
  }
}
