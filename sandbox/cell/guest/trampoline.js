// Last part: calls the tool, and whatever comes of it goes out as one capped string.
// 'V' + JSON | 'E' + JSON of {name, message, stack} | 'H' same, host call limit | 'L' message | 'I' message | 'Z' message
;(kit) => {
  const { post, apply, thenOf, stringify, parse, hasOwn, describe, toJson, MAX_TEXT } = kit
  const NativePromise = kit.Promise
  const TOO_LARGE = 'Zthe result is larger than 1 MiB'

  let namespace
  let running = false
  let abort // of the running call's ctx.signal, once the skill looked at it
  kit.active = () => running
  kit.crash = () => undefined

  const finish = (value) => {
    if (value === undefined) return 'Ithe tool returned undefined; return null or a JSON value'
    const type = typeof value
    if (type === 'function' || type === 'symbol' || type === 'bigint')
      return `Ithe tool returned a ${type}, which is not JSON`
    let text
    try {
      text = toJson(value)
    } catch (error) {
      return `Ithe result is not JSON: ${describe(error).message}`
    }
    if (text === kit.TOO_LARGE) return TOO_LARGE
    if (typeof text !== 'string') return 'Ithe result is not JSON: its toJSON() gave undefined'
    return text.length > MAX_TEXT ? TOO_LARGE : `V${text}`
  }

  const makeSignal = () => {
    const controller = new (kit.web('AbortController'))()
    const { signal } = controller
    const stop = controller.abort
    abort = (name, message) => apply(stop, controller, [new (kit.web('DOMException'))(message, name)])
    post('signal', 0, '')
    return signal
  }

  /** The exported function, or the trampoline's 'L' text. */
  const find = (exportName) => {
    try {
      const tool = apply(hasOwn, undefined, [namespace, exportName]) ? namespace[exportName] : undefined
      return typeof tool === 'function' ? tool : `L${exportName} is not an exported function of the skill's entry`
    } catch {
      return 'Lthe entry is not loaded to its end: an await at its top level does not settle'
    }
  }

  const answer = async (exportName, input, call) => {
    try {
      const tool = find(exportName)
      if (typeof tool === 'string') return tool
      const context = kit.makeContext(call.session, call.capabilities, makeSignal)
      const crashed = new NativePromise((_, no) => {
        kit.crash = no
      })
      // With await, a promise of the skill's is followed without asking its `then`, which it may have replaced.
      const work = (async () => await tool(parse(input), context))()
      const value = await new NativePromise((yes, no) => {
        apply(thenOf, work, [yes, no])
        apply(thenOf, crashed, [undefined, no])
      })
      return finish(value)
    } catch (error) {
      return (kit.exceeded() ? 'H' : 'E') + stringify(describe(error))
    }
  }

  const invoke = async (exportName, input, setup) => {
    const call = parse(setup)
    kit.setWorld(call.time, call.seed)
    kit.resetLog()
    kit.resetCalls(call.hostCalls)
    kit.resetTimers()
    kit.resetChance()
    abort = undefined
    running = true
    const text = await answer(exportName, input, call)
    running = false
    const calls = kit.openCalls()
    const timers = kit.openTimers()
    if (text[0] === 'V' && (calls > 0 || timers > 0))
      post(
        'log:warn',
        0,
        `the tool returned with ${calls} host calls and ${timers} timers still open: they were dropped, await them`
      )
    return text
  }

  kit.exports = [
    (entry) => {
      namespace = entry
    },
    invoke,
    kit.deliver,
    kit.fire,
    (name, message) => {
      try {
        abort?.(name, message)
      } catch (error) {
        kit.crash(error)
      }
    },
    (time, seed) => kit.setWorld(time, seed)
  ]
}
