// Last part: calls the tool, and whatever comes of it goes out as one capped string.
// 'V' + JSON | 'E' + JSON of {name, message, stack} | 'H' same, host call limit | 'L' message | 'I' message | 'Z' message
;(kit) => {
  const { post, apply, freeze, stringify, parse, hasOwn, describe, toJson, MAX_TEXT } = kit
  const TOO_LARGE = 'Zthe result is larger than 1 MiB'

  let namespace
  let running = false
  let context
  let contextOf // the capabilities and data that `context` was made of, as text
  // Of the running call, made when the skill looks at them.
  let sessionText
  let session
  let signal
  let abort
  kit.active = () => running

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

  const getSession = () => {
    session ??= freeze(parse(sessionText))
    return session
  }

  const getSignal = () => {
    if (signal === undefined) {
      const controller = new (kit.web('AbortController'))()
      const stop = controller.abort
      signal = controller.signal
      abort = (name, message) => apply(stop, controller, [new (kit.web('DOMException'))(message, name)])
      post('signal', 0, '')
    }
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

  const failure = (error) => (kit.exceeded() ? 'H' : 'E') + stringify(describe(error))

  /** The call's one answer; what comes later is noise. */
  const settle = (text) => {
    if (!running) return
    running = false
    const calls = kit.openCalls()
    const timers = kit.openTimers()
    if (text[0] === 'V' && (calls > 0 || timers > 0))
      post(
        'log:warn',
        0,
        `the tool returned with ${calls} host calls and ${timers} timers still open: they were dropped, await them`
      )
    post('answer', 0, text)
  }
  kit.crash = (error) => settle(failure(error))

  const run = async (exportName, input) => {
    let text
    try {
      const tool = find(exportName)
      text = typeof tool === 'string' ? tool : finish(await tool(parse(input), context))
    } catch (error) {
      text = failure(error)
    }
    settle(text)
  }

  kit.exports = [
    (entry) => {
      namespace = entry
    },
    // No promise crosses: the answer is posted, within this very call when the tool needs nobody.
    (exportName, input, time, seed, hostCalls, sessionOf, capabilities) => {
      kit.setWorld(time, seed)
      kit.resetLog()
      kit.resetCalls(hostCalls)
      kit.resetTimers()
      kit.resetChance()
      sessionText = sessionOf
      session = undefined
      signal = undefined
      abort = undefined
      if (contextOf !== capabilities) {
        const made = parse(capabilities)
        context = kit.makeContext(made[0], made[1], getSession, getSignal)
        contextOf = capabilities
      }
      running = true
      void run(exportName, input)
    },
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
