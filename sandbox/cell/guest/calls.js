// Host calls: what hangs on ctx.
;(kit) => {
  const { post, apply, thenOf, parse, freeze, keys, ownKeys, create, defineProperty, get, set, remove, siteOf } = kit
  const { toJson, codedError, logger } = kit
  const NativePromise = kit.Promise
  const NativeMap = kit.Map
  const ignore = () => undefined

  const MAX_ARGS = 262144
  const MAX_PENDING = 8

  let sequence = 0
  let max = 0
  let left = 0
  let exceeded
  let pending = new NativeMap()
  let flying = 0
  let waiting = new NativeMap() // not an array: setters on Array.prototype would see its entries
  let head = 0
  let tail = 0
  let abandoned = 0 // of those, nobody waits for these any more

  const launch = (n, name, text) => {
    flying++
    post(`call:${name}`, n, text)
  }

  /**
   * Asks the host. `waiter`: {resolve, reject, site, shape}; `shape` makes of the answer what the author gets.
   * @returns the call's number, 0 when it was refused here
   */
  const request = (name, args, waiter) => {
    const refuse = (code, message) => {
      waiter.reject(codedError(code, message, waiter.site))
      return 0
    }
    if (!kit.active()) return refuse('CAPABILITY_DENIED', `ctx.${name} was used when no call was running`)
    let text
    try {
      if (left > 0) text = toJson(args)
    } catch (error) {
      return refuse('ARGUMENTS_INVALID', `the arguments of ctx.${name} are not JSON: ${kit.describe(error).message}`)
    }
    if (left <= 0) {
      // One error for all of them.
      exceeded ??= freeze(codedError('SANDBOX_HOST_CALLS', `the tool made more than ${max} host calls`, waiter.site))
      waiter.reject(exceeded)
      return 0
    }
    if (typeof text !== 'string' || text.length > MAX_ARGS)
      return refuse('ARGUMENTS_TOO_LARGE', `the arguments of ctx.${name} are 256 KiB of JSON at most`)
    left--
    const n = ++sequence
    set(pending, n, waiter)
    if (flying < MAX_PENDING) launch(n, name, text)
    else set(waiting, tail++, { n, name, text })
    return n
  }

  /** Nobody waits for call `n` any more: one that was not sent yet never is. */
  const abandon = (n) => {
    const waiter = get(pending, n)
    if (waiter === undefined || waiter.abandoned) return
    waiter.abandoned = true
    abandoned++
  }

  const launchNext = () => {
    while (head < tail) {
      const next = get(waiting, head)
      remove(waiting, head++)
      if (!get(pending, next.n).abandoned) {
        launch(next.n, next.name, next.text)
        return
      }
      remove(pending, next.n)
      abandoned--
    }
  }

  /** The answer of host call `n`, JSON text. */
  kit.deliver = (n, ok, text) => {
    const waiter = get(pending, n)
    // A tool that has returned is not woken up again: what it left behind would run in the next call.
    if (waiter === undefined || !kit.active()) return
    remove(pending, n)
    flying--
    if (waiter.abandoned) abandoned--
    launchNext()
    if (waiter.abandoned) return
    const value = parse(text)
    if (!ok) {
      waiter.reject(codedError(value.code, value.message, waiter.site))
      return
    }
    let shaped
    try {
      shaped = waiter.shape === undefined ? value : waiter.shape(value)
    } catch {
      waiter.reject(codedError('HOST_CALL_FAILED', 'the answer of the host is not what it should be', waiter.site))
      return
    }
    waiter.resolve(shaped)
  }

  kit.resetCalls = (hostCalls) => {
    max = hostCalls
    left = hostCalls
    if (sequence === 0 && exceeded === undefined) return
    sequence = 0
    exceeded = undefined
    pending = new NativeMap()
    flying = 0
    waiting = new NativeMap()
    head = 0
    tail = 0
    abandoned = 0
  }
  kit.exceeded = () => exceeded !== undefined
  /** Host calls without an answer yet. */
  kit.openCalls = () => flying + tail - head - abandoned

  /** A function of ctx: `prepare(...given)` gives the arguments for the host, or throws what the author did wrong. */
  kit.method = (name, prepare, shape) => {
    const method = (...given) =>
      promised(method, (waiter) => {
        waiter.shape = shape
        request(name, prepare === undefined ? given : apply(prepare, undefined, given), waiter)
      })
    return method
  }

  /** The promise that `start(waiter)` settles; what it throws is the promise's, too. */
  const promised = (method, start) => {
    // A flood of refusals must not cost a stack trace each.
    const waiter = {
      __proto__: null,
      site: exceeded === undefined ? siteOf(method) : undefined,
      shape: undefined,
      abandoned: false
    }
    const promise = new NativePromise((resolve, reject) => {
      waiter.resolve = resolve
      waiter.reject = reject
    })
    // Counts as handled from the start: isolated-vm keeps unhandled rejections in a list that it searches for each one,
    // and a progress message that nobody waits for must not fail the call.
    apply(thenOf, promise, [undefined, ignore])
    try {
      start(waiter)
    } catch (error) {
      waiter.reject(kit.placed(error, waiter.site))
    }
    return promise
  }
  kit.promised = promised
  kit.request = request
  kit.abandon = abandon

  const freezeAll = (value) => {
    if (typeof value !== 'object' || value === null) return value
    const names = keys(value)
    for (let i = 0; i < names.length; i++) freezeAll(value[names[i]])
    return freeze(value)
  }

  /** What a granted name puts into ctx or its group there, when that is more than one function of the same name. */
  kit.members = create(null)

  /**
   * The ctx of every call with these capabilities and data: `session` and `signal` are the running call's. Frozen, and
   * the same object each time, because making and freezing one costs more than a quick tool.
   */
  kit.makeContext = (capabilities, data, session, signal) => {
    const ctx = create(null)
    const given = keys(data)
    for (let i = 0; i < given.length; i++) ctx[given[i]] = freezeAll(data[given[i]])
    for (let i = 0; i < capabilities.length; i++) {
      const { name, group, member } = capabilities[i]
      if (name === 'log') {
        ctx.log = logger()
        continue
      }
      if (group !== undefined && ctx[group] === undefined) ctx[group] = create(null)
      const target = group === undefined ? ctx : ctx[group]
      if (kit.members[name] === undefined) target[member ?? name] = kit.method(name)
      else kit.members[name](target)
    }
    const names = ownKeys(ctx)
    for (let i = 0; i < names.length; i++) {
      const member = ctx[names[i]]
      if (typeof member === 'object') {
        const inner = ownKeys(member)
        for (let k = 0; k < inner.length; k++) freeze(member[inner[k]])
      }
      freeze(member)
    }
    defineProperty(ctx, 'session', { get: () => session(), enumerable: true })
    defineProperty(ctx, 'signal', { get: () => signal(), enumerable: true })
    return freeze(ctx)
  }
}
