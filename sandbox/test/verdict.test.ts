import t from 'tap'
import type { Death } from '../supervisor/cell-owner.ts'
import { Job } from '../supervisor/job.ts'
import { afterDeath, blamed } from '../supervisor/verdict.ts'
import { call } from './support.ts'

const death = (change: Partial<Death> = {}): Death => ({
  reason: 'crash',
  killed: false,
  blame: undefined,
  code: 'SANDBOX_KILLED',
  signal: 'SIGTRAP',
  stderr: '',
  ...change
})
const job = (change: Partial<Job> = {}) => Object.assign(new Job(call('')), { attempts: 1 }, change)

t.test('the one that was alone in a crashed cell did it', async (t) => {
  const [one, two] = [job(), job()]
  t.equal(blamed([one], death(), 5), one)
  t.equal(blamed([one, two], death(), 5), undefined)
  t.equal(blamed([one, two], death({ blame: two }), 5), two)
})

t.test('memory that earlier calls may have left is not blamed on the one that met the limit', async (t) => {
  const one = job()
  const short = death({ reason: 'memory', killed: true, code: 'SANDBOX_MEMORY' })
  t.equal(blamed([one], short, 5), undefined)
  t.equal(afterDeath(one, undefined, short), undefined, 'tried alone')
  t.equal(blamed([one], short, 1), one)
  t.equal(blamed([job({ alone: true })], short, 5)?.alone, true)
  t.match(afterDeath(one, one, short), { code: 'SANDBOX_MEMORY', retryable: false })
})

t.test('an innocent call is tried again once, and never after a host call', async (t) => {
  const other = job()
  t.equal(afterDeath(job(), other, death()), undefined)
  t.equal(afterDeath(job({ hostCalls: 1 }), other, death()), undefined)
  t.match(afterDeath(job({ attempts: 2 }), other, death()), { code: 'SANDBOX_KILLED', retryable: true })
})

t.test('a SIGKILL from the system may be retried, one of ours or a crash may not', async (t) => {
  const one = job()
  t.match(afterDeath(one, one, death({ signal: 'SIGKILL' })), { retryable: true })
  t.match(afterDeath(one, one, death({ signal: 'SIGKILL', killed: true, reason: 'cpuMs' })), { retryable: false })
  t.match(afterDeath(one, one, death()), { retryable: false, details: { reason: 'crash', signal: 'SIGTRAP' } })
})
