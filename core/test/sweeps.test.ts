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
