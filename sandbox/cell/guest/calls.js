// Host calls: what hangs on ctx.
;(kit) => {
  const { post, apply, thenOf, parse, freeze, ownKeys, create, defineProperty, get, set, remove } = kit
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
    apply(thenOf, promise, [undefined, ignore])
    if (!kit.active()) {
      reject(codedError('CAPABILITY_DENIED', `ctx.${name} was used when no call was running`))
      return promise
    }
    let text
    try {
      if (left > 0) text = toJson(args)
    } catch (error) {
      reject(
        codedError('ARGUMENTS_INVALID', `the arguments of ctx.${name} are not JSON: ${kit.describe(error).message}`)
      )
      return promise
    }
    if (left <= 0) {
      // One error for all of them: a flood of refusals must not cost a stack trace each.
      exceeded ??= freeze(codedError('SANDBOX_HOST_CALLS', `the tool made more than ${max} host calls`))
      reject(exceeded)
    } else if (typeof text !== 'string' || text.length > MAX_ARGS) {
      reject(codedError('ARGUMENTS_TOO_LARGE', 'the arguments of a host call are 256 KiB of JSON at most'))
    } else {
      left--
      const n = ++sequence
      set(pending, n, { resolve, reject })
      if (flying < MAX_PENDING) launch(n, name, text)
      else set(waiting, tail++, { n, name, text })
    }
    return promise
  }

  /** The answer of host call `n`, JSON text. */
  kit.deliver = (n, ok, text) => {
    const waiter = get(pending, n)
    // A tool that has returned is not woken up again: what it left behind would run in the next call.
    if (waiter === undefined || !kit.active()) return
    remove(pending, n)
    flying--
    if (head < tail) {
      const next = get(waiting, head)
      remove(waiting, head++)
      launch(next.n, next.name, next.text)
    }
    const value = parse(text)
    if (ok) waiter.resolve(value)
    else waiter.reject(codedError(value.code, value.message))
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
  }
  kit.exceeded = () => exceeded !== undefined
  /** Host calls without an answer yet. */
  kit.openCalls = () => flying + tail - head

  /**
   * The ctx of every call with these capabilities: `session` and `signal` are the running call's. Frozen, and the same
   * object each time, because making and freezing one costs more than a quick tool.
   */
  kit.makeContext = (capabilities, session, signal) => {
    const ctx = create(null)
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
    defineProperty(ctx, 'session', { get: () => session(), enumerable: true })
    defineProperty(ctx, 'signal', { get: () => signal(), enumerable: true })
    return freeze(ctx)
  }
}
