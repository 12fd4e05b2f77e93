import type { Gate } from './gate.ts'
import { createFate, type Fate, guardQueries, mapError, retryStale, whileConnected } from './guard.ts'
import type { Pool, Tx } from './types.ts'

type Hook = () => void
// Savepoints are transaction objects of their own; their hooks join the outer ones when they are released.
const hooks = new WeakMap<Tx, Hook[]>()

/** @see Db.afterCommit */
export function afterCommit(tx: Tx, run: Hook): void {
  const list = hooks.get(tx)
  if (!list) throw new Error('afterCommit was given something that is not an open transaction')
  list.push(run)
}

/**
 * One transaction on a pool.
 * @param prepare sends the first statements without waiting for them: they travel with `work`'s first query, and when
 *   they fail everything after them fails too (25P02) and postgres.js throws the first error
 * @param mode of BEGIN
 */
export async function transaction<T>(
  pool: Pool,
  gate: Gate,
  prepare: ((tx: Tx) => void) | undefined,
  work: (tx: Tx) => Promise<T>,
  onHookError: (error: unknown) => void,
  mode = ''
): Promise<T> {
  const leave = await gate.enter()
  const fate = createFate()
  const after: Hook[] = []
  let result: T
  try {
    let begun = false
    const begin = () =>
      pool.begin(mode, (raw) => {
        begun = true
        const tx = guard(raw, fate, after)
        return whileConnected(fate, async () => {
          try {
            prepare?.(tx)
            return { value: await work(tx) } // boxed: begin() would await the members of an array
          } finally {
            fate.ended = true
          }
        })
      })
    const run = retryStale(begin, () => begun)
    run.catch(fate.lose) // also for what runs on in work(): its next query is refused
    result = (await Promise.race([run, fate.whenLost])).value
  } catch (error) {
    throw fate.ended || !fate.lost ? mapError(error) : fate.lost
  } finally {
    fate.ended = true
    leave()
  }
  for (const hook of after) {
    try {
      hook()
    } catch (error) {
      onHookError(error) // the transaction is committed: its caller must not hear of a failure
    }
  }
  return result
}

function guard(raw: Tx, fate: Fate, after: Hook[]): Tx {
  const tx = guardQueries(raw, fate)
  hooks.set(tx, after)
  const savepoint = async <T>(name: string | ((inner: Tx) => T), work?: (inner: Tx) => T) => {
    if (fate.lost) throw fate.lost
    const label = typeof name === 'string' ? name : 'nested'
    const body = typeof name === 'string' ? work : name
    if (!body) throw new TypeError('savepoint needs a function')
    const inside: Hook[] = []
    const { value } = await raw.savepoint(label, (inner) =>
      whileConnected(fate, async () => ({ value: await body(guard(inner, fate, inside)) }))
    )
    after.push(...inside)
    return value
  }
  return Object.assign(tx, { savepoint })
}
