import t from 'tap'
import { hostTools } from '#test/support/host-tools.ts'
import { pulseApp } from '#test/support/pulse-app.ts'
import { until } from '#test/support/until.ts'

t.test('a running kernel sweeps old answers every hour', async (t) => {
  const { sql, makeTenant } = await pulseApp(t, hostTools({}))
  const { tenantId } = await makeTenant()
  const [schedule] = await sql`select cron from pgboss.schedule where name = 'core.sweep'`
  t.strictSame(schedule, { cron: '17 * * * *' })

  await sql`
    insert into core.idempotency (tenant_id, key, fingerprint, status, created_at)
    select ${tenantId}, 'k' || hours, sha256('x'), 200, now() - make_interval(hours => hours)
    from unnest(array[1, 25, 500]) hours`
  // What the hour does: cron puts the job into its queue.
  await sql`insert into pgboss.job_common (name, data, policy) values ('core.sweep', '{}', 'short')`
  const left = async () => (await sql<{ key: string }[]>`select key from core.idempotency`).map((row) => row.key)
  await until(async () => (await left()).length === 1, 'the sweep')
  t.strictSame(await left(), ['k1'])
})

t.test('events are kept for ever, or as many days as the operator says', async (t) => {
  const days = async (eventRetentionDays?: number) => {
    const kept = eventRetentionDays === undefined ? {} : { eventRetentionDays }
    const { sql, kernel, makeTenant } = await pulseApp(t, hostTools({}), kept)
    const { tenantId } = await makeTenant()
    await sql`insert into core.stream (stream_id, last_seq) values (${tenantId}, 3)`
    await sql`
      insert into core.event (tenant_id, id, type, subject, data, seq, at)
      select ${tenantId}, gen_random_uuid(), 'probe.ticked', 'probe:p', '{}', seq, now() - make_interval(days => 40 - 10 * seq)
      from generate_series(1, 3) seq`
    await sql`insert into core.idempotency (tenant_id, key, fingerprint, status, created_at)
      values (${tenantId}, 'k', sha256('x'), 200, now() - interval '2 days')`
    await sql`insert into pgboss.job_common (name, data, policy) values ('core.sweep', '{}', 'short')`
    const swept = async () =>
      (await sql`select 1 from pgboss.job_common where name = 'core.sweep' and state = 'completed'`).length > 0
    await until(swept, 'the sweep')
    return (await kernel.bus.history(tenantId, { after: 0n, limit: 10 })).map(({ seq }) => Number(seq))
  }
  t.strictSame(await days(), [1, 2, 3])
  t.strictSame(await days(15), [3])
})

t.test('a running kernel erases tenants whose grace time is over, every hour', async (t) => {
  const { sql, makeTenant, kernel } = await pulseApp(t, hostTools({}))
  const { tenantId } = await makeTenant()
  await kernel.objects.put(tenantId, Buffer.from('bytes'))
  const [schedule] = await sql`select cron from pgboss.schedule where name = 'core.erase'`
  t.strictSame(schedule, { cron: '47 * * * *' })
  await sql`
    update core.tenants set suspended_at = now() - interval '31 days', suspended_by = 'deletion', erase_by = 'owner',
      erase_at = now() - interval '1 day' where tenant_id = ${tenantId}`
  await sql`insert into pgboss.job_common (name, data, policy) values ('core.erase', '{}', 'short')`
  const tombstone = () => sql`select slug from core.tenants where tenant_id = ${tenantId} and erased_at is not null`
  await until(async () => (await tombstone()).length === 1, 'the tombstone')
  t.equal((await sql`select 1 from core.api_key where tenant_id = ${tenantId}`).length, 0)
  t.strictSame(await Array.fromAsync(kernel.objects.list(tenantId)), [])
})
