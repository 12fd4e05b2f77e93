// DOMException, Event, EventTarget, AbortController, AbortSignal: what of them works without a document.
;(kit) => {
  const CODES = { InvalidCharacterError: 5, SyntaxError: 12, QuotaExceededError: 22, TimeoutError: 23 }
  Object.assign(CODES, { AbortError: 20, DataCloneError: 25 })

  kit.web = kit.lazy(['DOMException', 'Event', 'EventTarget', 'AbortController', 'AbortSignal'], () => {
    const NativeError = kit.Error
    const { codedError, setTimeout } = kit
    const NativeMap = kit.Map

    class DOMException extends NativeError {
      #name
      constructor(message = '', name = 'Error') {
        super(message)
        this.#name = `${typeof name === 'object' && name !== null ? (name.name ?? 'Error') : name}`
      }
      get name() {
        return this.#name
      }
      get code() {
        return CODES[this.#name] ?? 0
      }
      get [Symbol.toStringTag]() {
        return 'DOMException'
      }
    }

    class Event {
      #type
      #cancelable
      #prevented = false
      stopped = false
      target = null
      constructor(type, options = {}) {
        this.#type = `${type}`
        this.#cancelable = Boolean(options?.cancelable)
      }
      get type() {
        return this.#type
      }
      get currentTarget() {
        return this.target
      }
      get cancelable() {
        return this.#cancelable
      }
      get defaultPrevented() {
        return this.#prevented
      }
      preventDefault() {
        if (this.#cancelable) this.#prevented = true
      }
      stopPropagation() {}
      stopImmediatePropagation() {
        this.stopped = true
      }
    }

    class EventTarget {
      #listeners = new Map()
      addEventListener(type, listener, options) {
        if (typeof listener !== 'function' && typeof listener?.handleEvent !== 'function') return
        const list = this.#listeners.get(`${type}`) ?? []
        if (list.some((entry) => entry.listener === listener)) return
        const signal = options?.signal
        if (signal?.aborted) return
        this.#listeners.set(`${type}`, [...list, { listener, once: Boolean(options?.once) }])
        signal?.addEventListener('abort', () => this.removeEventListener(type, listener))
      }
      removeEventListener(type, listener) {
        const list = this.#listeners.get(`${type}`) ?? []
        this.#listeners.set(
          `${type}`,
          list.filter((entry) => entry.listener !== listener)
        )
      }
      dispatchEvent(event) {
        event.target = this
        const run = (listener) => {
          try {
            if (typeof listener === 'function') listener.call(this, event)
            else listener.handleEvent(event)
          } catch (error) {
            kit.crash(error)
          }
        }
        const handler = this[`on${event.type}`]
        if (typeof handler === 'function') run(handler)
        for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
          if (event.stopped) break
          if (once) this.removeEventListener(event.type, listener)
          run(listener)
        }
        return !event.defaultPrevented
      }
    }

    let making = false
    let stop // of the signal that is being made
    let follow
    let followers = 0
    class AbortSignal extends EventTarget {
      #aborted = false
      #reason
      #followers // before the listeners, and out of their reach
      static {
        /** Runs `run(reason)` on abort, at once when it was. @returns what ends that; undefined for what is no signal */
        follow = (signal, run) => {
          if (typeof signal !== 'object' || signal === null || !(#aborted in signal)) return undefined
          if (signal.#aborted) run(signal.#reason)
          signal.#followers ??= new NativeMap()
          const id = ++followers
          kit.set(signal.#followers, id, run)
          return () => kit.remove(signal.#followers, id)
        }
      }
      onabort = null
      constructor() {
        super()
        if (!making) throw new TypeError('Illegal constructor')
        stop = (reason = new DOMException('This operation was aborted', 'AbortError')) => {
          if (this.#aborted) return
          this.#aborted = true
          this.#reason = reason
          if (this.#followers !== undefined) kit.each(this.#followers, (run) => run(reason))
          this.dispatchEvent(new Event('abort'))
        }
      }
      get aborted() {
        return this.#aborted
      }
      get reason() {
        return this.#reason
      }
      throwIfAborted() {
        if (this.#aborted) throw this.#reason
      }
      static abort(reason) {
        const [signal, abort] = make()
        abort(reason)
        return signal
      }
      static timeout(ms) {
        if (!(ms >= 0)) throw codedError('SANDBOX_TIMERS', 'AbortSignal.timeout: a number of ms is needed')
        const [signal, abort] = make()
        setTimeout(() => abort(new DOMException('The operation timed out', 'TimeoutError')), ms)
        return signal
      }
      static any(signals) {
        const [signal, abort] = make()
        for (const one of signals) {
          if (one.aborted) {
            abort(one.reason)
            break
          }
          one.addEventListener('abort', () => abort(one.reason), { once: true })
        }
        return signal
      }
    }
    const make = () => {
      making = true
      try {
        const signal = new AbortSignal()
        return [signal, stop]
      } finally {
        making = false
      }
    }

    class AbortController {
      #signal
      #abort
      constructor() {
        const [signal, abort] = make()
        this.#signal = signal
        this.#abort = abort
      }
      get signal() {
        return this.#signal
      }
      abort(reason) {
        this.#abort(reason)
      }
    }
    return { DOMException, Event, EventTarget, AbortController, AbortSignal, follow }
  })
}
