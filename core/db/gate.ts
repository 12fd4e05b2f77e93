import { type Clock, systemClock } from '#core/clock.ts'
import { DatabaseUnavailable } from './errors.ts'

export interface Gate {
  /** Resolves with the function that gives the place back. @throws DatabaseUnavailable after the wait */
  enter(): Promise<() => void>
}

/**
 * The bounded queue in front of a pool (postgres.js queues without end and without a time limit): a database that is
 * too slow turns into quick 503s and not into memory.
 * @param options `places` run at once, `waiting` may wait, each at most `waitMs`
 */
export function createGate(options: { places: number; waiting: number; waitMs: number; clock?: Clock }): Gate {
  const clock = options.clock ?? systemClock
  const queue = new Set<() => void>()
  let free = options.places

  const leave = () => {
    const [next] = queue
    if (next) {
      queue.delete(next)
      next()
    } else free++
  }
  // A place that is given back twice would let two tenants' worth of work through for ever.
  const place = () => {
    let held = true
    return () => {
      if (held) leave()
      held = false
    }
  }

  return {
    enter() {
      if (free > 0) {
        free--
        return Promise.resolve(place())
      }
      if (queue.size >= options.waiting) {
        return Promise.reject(new DatabaseUnavailable(`${queue.size} transactions are waiting for a connection`))
      }
      return new Promise((resolve, reject) => {
        const admit = () => {
          timer.cancel()
          resolve(place())
        }
        const timer = clock.after(options.waitMs, () => {
          queue.delete(admit)
          reject(new DatabaseUnavailable(`no connection became free within ${options.waitMs} ms`))
        })
        queue.add(admit)
      })
    }
  }
}
