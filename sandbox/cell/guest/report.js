// Errors and logs become capped text; console.
;(kit) => {
  const { post, apply, slice, freeze, keys, isArray, stringify, hide, utf8Bytes } = kit
  const NativeString = kit.String
  const NativeError = kit.Error
  const NativeTypeError = kit.TypeError

  const MAX_TEXT = 1048576
  const MAX_MESSAGE = 16384
  const MAX_STACK = 8192
  const MAX_DEPTH = 200
  const MAX_LOG_LINES = 1000
  const MAX_LOG_BYTES = 65536
  const MAX_LINE = 8192

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

  const isError = (value) => {
    try {
      return value instanceof NativeError
    } catch {
      return false
    }
  }

  // No prototype: no toJSON of the guest's.
  const shown = (name, message, stack) => ({ __proto__: null, name, message, stack })

  const describe = (error) => {
    const type = typeof error
    if ((type !== 'object' && type !== 'function') || error === null) {
      const what = type === 'string' || type === 'symbol' ? `a ${type}` : type === 'object' ? 'null' : type
      const text = type === 'string' ? `: ${cap(error, MAX_MESSAGE)}` : ''
      const value = type === 'number' || type === 'bigint' || type === 'boolean' ? ` ${NativeString(error)}` : ''
      return shown('Thrown', cap(`the tool threw ${what}${cap(value, 200)}, not an Error${text}`, MAX_MESSAGE), '')
    }
    if (type === 'function') return shown('Thrown', 'the tool threw a function, not an Error', '')
    const said = read(error, 'message')
    if (said === '' && !isError(error))
      return shown('Thrown', `the tool threw an object, not an Error: ${cap(print(error), 200)}`, '')
    const name = cap(read(error, 'name') || 'Error', 200)
    const message = cap(said || `${name} without a message`, MAX_MESSAGE)
    return shown(name, message, cap(read(error, 'stack'), MAX_STACK))
  }

  const TOO_LARGE = freeze({ __proto__: null })
  let budget = 0
  let converts = false // something has a toJSON: the lower bound is none
  const weigh = (item, depth) => {
    if (typeof item === 'string') budget -= item.length
    else if (typeof item !== 'object' || item === null) budget -= 1
    else weighObject(item, depth)
  }
  const weighObject = (item, depth) => {
    budget -= 1
    if (budget < 0 || depth > MAX_DEPTH) return
    if (typeof item.toJSON === 'function') converts = true
    if (isArray(item)) {
      for (let i = 0; i < item.length && budget >= 0; i++) weigh(item[i], depth + 1)
      return
    }
    const names = keys(item)
    for (let i = 0; i < names.length && budget >= 0; i++) {
      budget -= names[i].length
      weigh(item[names[i]], depth + 1)
    }
  }
  const weighed = (_, item) => {
    budget -= typeof item === 'string' ? item.length : 1
    if (budget < 0) throw TOO_LARGE
    return item
  }

  /**
   * JSON.stringify that refuses a bomb before it is built: a cheap lower bound of the length comes first.
   * Throws what the guest's getters throw. @returns TOO_LARGE above 1 MiB
   */
  const toJson = (value) => {
    const outer = { __proto__: null, budget, converts } // a getter may log, which comes here again
    try {
      return bounded(value)
    } finally {
      budget = outer.budget
      converts = outer.converts
    }
  }
  const bounded = (value) => {
    budget = MAX_TEXT
    converts = false
    weigh(value, 0)
    if (budget < 0) return TOO_LARGE
    if (!converts) return stringify(value)
    budget = MAX_TEXT
    try {
      return stringify(value, weighed)
    } catch (error) {
      if (error === TOO_LARGE) return TOO_LARGE
      throw error
    }
  }

  let lines = 0
  let bytes = 0
  const print = (part) => {
    try {
      if (typeof part === 'string') return part
      if (typeof part === 'function') return '(function)'
      if (typeof part !== 'object' || part === null) return NativeString(part)
      if (part instanceof NativeError) {
        const found = describe(part)
        return `${found.name}: ${found.message}`
      }
      const text = toJson(part)
      return text === TOO_LARGE ? '(large value)' : NativeString(text)
    } catch {
      return '(unprintable)'
    }
  }
  const log = (level, parts) => {
    if (lines > MAX_LOG_LINES || bytes > MAX_LOG_BYTES) return
    let text = ''
    for (let i = 0; i < parts.length; i++) {
      text += (i > 0 ? ' ' : '') + cap(print(parts[i]), MAX_LINE)
      if (text.length > MAX_LINE) break
    }
    lines++
    bytes += utf8Bytes(text)
    if (lines > MAX_LOG_LINES || bytes > MAX_LOG_BYTES) {
      post('log:warn', 0, 'log limit reached (1000 lines, 64 KiB): the rest of this call is not recorded')
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
    freeze({
      ...logger(),
      log: (...parts) => log('info', parts),
      trace: (...parts) => log('debug', parts),
      assert: (fine, ...parts) => {
        if (!fine) log('error', ['Assertion failed', ...parts])
      }
    })
  )

  kit.MAX_TEXT = MAX_TEXT
  kit.describe = describe
  kit.toJson = toJson
  kit.TOO_LARGE = TOO_LARGE
  kit.logger = logger
  kit.resetLog = () => {
    lines = 0
    bytes = 0
  }
  // The stack of the line that asked: an answer wakes up nobody's line, and our own frames would push the author's out.
  const place = (error, site) => {
    const stack = read(site, 'stack')
    const at = kit.indexOf(stack, '\n    at ')
    hide(error, 'stack', `${read(error, 'name')}: ${read(error, 'message')}${at < 0 ? '' : apply(slice, stack, [at])}`)
  }
  /** An Error with a code, as host calls and limits give it to the skill. `site`: see kit.siteOf. */
  kit.codedError = (code, message, site) => {
    const error = new NativeError(message)
    hide(error, 'code', code)
    if (site !== undefined) place(error, site)
    return error
  }

  let latest
  /** What is wrong with an argument; kit.placed gives it the stack of the call. */
  kit.wrong = (message) => {
    latest = new NativeTypeError(message)
    hide(latest, 'code', 'ARGUMENTS_INVALID')
    return latest
  }
  kit.placed = (error, site) => {
    if (error === latest) place(error, site)
    return error
  }
}
