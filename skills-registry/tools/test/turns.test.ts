import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { PinnedSkill } from '#core/ports/tools.ts'
import { createKey } from '#skills-registry/signing/keys.ts'
import { signedSkill } from '#skills-registry/test/support/packages.ts'
import { registryApp } from '#skills-registry/test/support/registry-app.ts'
import { Turns } from '#skills-registry/tools/turns.ts'
import { until } from '#test/support/until.ts'

t.test('so many of a tenant and of all run at once, and tenants are served in turn', async (t) => {
  const turns = new Turns({ perTenant: 2, inAll: 3 })
  const begun: string[] = []
  const ends: (() => void)[] = []
  const work = (tenant: string) =>
    turns.run(tenant, async () => {
      begun.push(tenant)
      await new Promise<void>((resolve) => ends.push(resolve))
    })
  const all = [...Array.from({ length: 6 }, () => work('a')), work('b'), work('b'), work('c')]
  const end = async () => {
    ends.shift()?.()
    await turn()
  }
  await turn()
  t.strictSame(begun, ['a', 'a', 'b'], 'the third of a waits although a place was free')
  for (let i = 0; i < 3; i++) await end()
  t.strictSame(begun.slice(3), ['a', 'b', 'c'])
  for (let i = 0; i < all.length; i++) await end()
  await Promise.all(all)
  t.strictSame(begun.toSorted().join(''), 'aaaaaabbc')
  await t.rejects(
    turns.run('a', () => Promise.reject(new Error('broken'))),
    { message: 'broken' }
  )
  t.equal(await turns.run('a', async () => 1), 1, 'a failed work gave its place back')
})

t.test('a skill whose host calls wait for one another leaves the database to others', async (t) => {
  const r = await registryApp(t)
  const [acme, victim] = [await r.makeTenant(), await r.makeTenant()]
  const tool = { description: 'd', input: {}, output: {}, effect: 'none' }
  const signed = signedSkill(
    {
      name: '@acme/greedy',
      manifest: { tools: { run: tool }, permissions: { storage: 'write' } },
      code: `export const run = (input, ctx) =>
        Promise.all(Array.from({ length: 60 }, (_, i) => ctx.storage.set('key', i))).then((all) => all.length)`
    },
    { author: createKey().key }
  )
  await r.publish(acme, { archive: signed.archive, bundle: signed.authorBundle })
  await r.post(acme, '/v1/skills', { ref: '@acme/greedy@1.0.0' })
  const skills = await r.db.tenant(acme.tenantId, (tx) => r.tools.resolve(tx, ['@acme/greedy']))
  const sessionId = '01900000-0000-7000-8000-000000000001'
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  // Holds the row that every write of the skill needs.
  const holder = r.db.tenant(acme.tenantId, async (tx) => {
    await tx`insert into tools.storage_use (skill) values ('@acme/greedy')`
    await held
  })
  const running = r.tools.call({
    tenantId: acme.tenantId,
    sessionId,
    skill: skills[0] as PinnedSkill,
    skills,
    tool: 'run',
    input: {},
    step: 's',
    attempt: 1,
    effectKey: `${sessionId}/s`,
    time: 1,
    seed: 's',
    signal: new AbortController().signal
  })
  const waiting = async () => {
    const [row] = await r.sql<{ n: number }[]>`
      select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
    return row?.n ?? 0
  }
  await until(async () => (await waiting()) > 0, 'a write that waits for the row')
  const answers = await Promise.all(Array.from({ length: 30 }, async () => (await r.get(victim, '/v1/storage')).status))
  t.strictSame(new Set(answers), new Set([200]))
  t.ok((await waiting()) <= 3, 'the others of the skill wait without a connection')
  release()
  await holder
  t.equal((await running).output, 60, 'and all are done in the end')
})
