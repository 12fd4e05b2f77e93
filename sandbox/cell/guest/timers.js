// setTimeout, clearTimeout, queueMicrotask. The host holds the clock; Date stands still meanwhile.
;(kit) => {
  const { post, apply, thenOf, get, set, remove, clear, hide, codedError } = kit
  const settled = kit.Promise.resolve()
  const NativeNumber = kit.Number
  const NativeTypeError = kit.TypeError
  const MAX_TIMERS = 1000 // per call, set at all: recursive timers end, too
  const MAX_DELAY_MS = 2147483647

  const timers = new kit.Map()
  // Never reset: a wake-up that was under way when its call ended must not hit a timer of the next call.
  let lastId = 0
  let count = 0
  let open = 0

  const setTimeout = (run, delay, ...args) => {
    if (typeof run !== 'function') throw new NativeTypeError('setTimeout: the first argument is not a function')
    if (!kit.active()) throw codedError('SANDBOX_TIMERS', 'timers run during a call only, not while the module loads')
    if (++count > MAX_TIMERS) throw codedError('SANDBOX_TIMERS', `a call may set ${MAX_TIMERS} timers`)
    const asked = NativeNumber(delay)
    const ms = asked >= 1 ? kit.min(asked, MAX_DELAY_MS) : 1 // NaN is 1, too
    const id = ++lastId
    set(timers, id, { __proto__: null, run, args })
    open++
    post('timer:set', id, `${ms}`)
    return id
  }

  const clearTimeout = (id) => {
    if (typeof id !== 'number' || get(timers, id) === undefined) return
    remove(timers, id)
    open--
    post('timer:clear', id, '')
  }

  const guarded = (run, args) => {
    try {
      apply(run, undefined, args)
    } catch (error) {
      kit.crash(error)
    }
  }

  hide(globalThis, 'setTimeout', (run, delay, ...args) => setTimeout(run, delay, ...args))
  hide(globalThis, 'clearTimeout', (id) => clearTimeout(id))
  hide(globalThis, 'queueMicrotask', (run) => {
    if (typeof run !== 'function') throw new NativeTypeError('queueMicrotask: the argument is not a function')
    apply(thenOf, settled, [() => guarded(run, [])])
  })

  kit.setTimeout = setTimeout
  kit.openTimers = () => open
  kit.resetTimers = () => {
    if (open > 0) clear(timers)
    count = 0
    open = 0
  }
  /** The host says that a timer's time has come. */
  kit.fire = (id) => {
    const timer = get(timers, id)
    if (timer === undefined || !kit.active()) return
    remove(timers, id)
    open--
    guarded(timer.run, timer.args)
  }
}
