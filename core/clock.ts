// The only file that reads the wall clock or sets a timer: whatever takes a Clock can be tested without waiting.

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Milliseconds since 1970 by the wall clock; it may jump. Deadlines that matter use the database's clock. */
  now(): number
  /** Milliseconds that only rise; for durations. */
  monotonic(): number
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  after(ms: number, run: () => void): Timer
  /** Calls `run` every `ms`, first after `ms`. */
  every(ms: number, run: () => void): Timer
}

// setTimeout turns anything above 2^31-1 ms into 1 ms, and may fire early by as long as the event loop was busy when it
// was set (libuv counts from the start of the turn): so a wait goes in hops until its time is really over.
const longestTimerMs = 2 ** 31 - 1

/** The real clock. Its timers are unref'd: a waiting timer never keeps the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const abort = () => {
        timer.cancel()
        reject(signal?.reason)
      }
      const timer = systemClock.after(ms, () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      })
      signal?.addEventListener('abort', abort, { once: true })
    }),
  after: (ms, run) => {
    const end = performance.now() + ms
    let handle: NodeJS.Timeout
    const hop = () => {
      const left = end - performance.now()
      if (left <= 0) run()
      else handle = setTimeout(hop, Math.min(Math.ceil(left), longestTimerMs)).unref()
    }
    handle = setTimeout(hop, Math.min(Math.max(0, ms), longestTimerMs)).unref()
    return { cancel: () => clearTimeout(handle) }
  },
  every: (ms, run) => {
    const handle = setInterval(run, ms).unref()
    return { cancel: () => clearInterval(handle) }
  }
}
