import t, { type Test } from 'tap'
import { createAuth } from '#core/auth/auth.ts'
import { Lookups } from '#core/auth/cache.ts'
import { newKey } from '#core/auth/key.ts'
import { createUser } from '#core/auth/users.ts'
import { RateLimits } from '#core/http/limits/index.ts'
import { smallTable } from '#core/http/test/support/limits.ts'
import { testApp } from '#test/support/app.ts'
import { FakeClock } from '#test/support/fake-clock.ts'

const { most } = smallTable.failures.address
const from = '192.0.2.1'

/** Identities with real limits, and how often the system pool was asked. */
async function guarded(t: Test) {
  const world = await testApp(t)
  const { db, log, secrets } = world
  const clock = new FakeClock(Date.now())
  const limits = new RateLimits({ db, clock, table: smallTable })
  let asked = 0
  const system: typeof db.system = (work) => {
    asked++
    return db.system(work)
  }
  const keys = { pepper: secrets.apiKeyPepper, userTokenKey: secrets.userTokenKey }
  const auth = createAuth({ db: { ...db, system }, clock, log, limits, ...keys })
  t.teardown(() => auth.settle())
  /** The code of each of ten wrong ones, and the look-ups that they cost. */
  const guess = async (one: () => Promise<unknown>) => {
    const before = asked
    const codes: string[] = []
    for (let i = 0; i < 10; i++) await one().catch(({ code }) => codes.push(code))
    return { codes, asked: asked - before }
  }
  return { ...world, auth, clock, guess }
}

const refusals = [...Array(most - 1).fill('AUTH_REQUIRED'), ...Array(11 - most).fill('RATE_LIMITED')]

t.test('who invents keys is not looked up any more; a known key from the same address goes on', async (t) => {
  const { auth, clock, guess, makeTenant } = await guarded(t)
  const [known, other] = [await makeTenant(), await makeTenant()]
  const enter = async (key: string, ip = from) => (await auth.prove(key, { from: ip })).identity.tenantId
  t.equal(await enter(known.key), known.tenantId)
  t.strictSame(await guess(() => enter(newKey().key.reveal())), { codes: refusals, asked: most })
  await clock.advance(6_000) // longer than an answer is believed
  t.equal(await enter(known.key), known.tenantId)
  await t.rejects(enter(other.key), { code: 'RATE_LIMITED' })
  t.equal(await enter(other.key, '192.0.2.2'), other.tenantId)
  await clock.advance(60_000)
  t.equal(await enter(newKey().key.reveal()).catch(({ code }) => code), 'AUTH_REQUIRED', 'the next window')
})

t.test('invented tickets and tokens are limited like keys, also where no membership is asked for', async (t) => {
  const { auth, guess, clock } = await guarded(t)
  const ticket = () => auth.prove(`wt_live_${'x'.repeat(43)}`, { from, ticket: true })
  t.strictSame(await guess(ticket), { codes: refusals, asked: most })
  await clock.advance(60_000)
  t.strictSame((await guess(() => auth.userOf('a.b.c', from))).codes, refusals)
})

t.test(
  'passwords that are guessed at once do not pass the limit together, a right one counts for nothing',
  async (t) => {
    const { auth, db, clock } = await guarded(t)
    await db.system((tx) => createUser(tx, { email: 'ada@example.com', password: 'correct horse battery' }))
    const logIn = (password: string) =>
      auth.logins.logIn('ada@example.com', password, from).then(
        () => 'in',
        ({ code }) => code
      )
    for (let i = 0; i < 3; i++) t.equal(await logIn('correct horse battery'), 'in')
    const most = smallTable.failures.accountAtAddress.most
    const codes = await Promise.all(Array.from({ length: most + 3 }, () => logIn('not the password')))
    t.equal(codes.filter((code) => code === 'AUTH_CREDENTIALS_WRONG').length, most)
    t.equal(codes.filter((code) => code === 'RATE_LIMITED').length, 3)
    t.equal(await logIn('correct horse battery'), 'RATE_LIMITED')
    await clock.advance(15 * 60_000)
    t.equal(await logIn('correct horse battery'), 'in')
  }
)

t.test('a flood of absences costs no known entry, and one entry more costs the oldest only', async (t) => {
  const asked: string[] = []
  const lookups = new Lookups<string | null>(new FakeClock(), async (name) => {
    asked.push(name)
    return name.startsWith('no') ? null : name
  })
  const known = Array.from({ length: 10_000 }, (_, i) => `yes ${i}`)
  for (const name of known) await lookups.get(name)
  for (let i = 0; i <= 10_000; i++) await lookups.get(`no ${i}`)
  asked.length = 0
  for (const name of [...known, 'no 1', 'no 10000', 'no 0']) await lookups.get(name)
  t.strictSame(asked, ['no 0'])
  await lookups.get('yes more')
  t.strictSame([lookups.has('yes 0'), lookups.has('yes 1'), lookups.has('no 1')], [false, true, false])
})
