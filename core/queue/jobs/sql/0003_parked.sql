-- A job that came due while its tenant was suspended waits until infinity (jobs/park.ts) and is due when it is resumed.
-- It is then kept as long as pg-boss keeps a new one: 14 days.
create function core.wake_parked_jobs() returns trigger
  language plpgsql
as $$
begin
  update pgboss.job_common set start_after = pg_catalog.now(), keep_until = pg_catalog.now() + interval '14 days'
  where start_after = 'infinity' and state < 'active' and data ->> 'tenantId' = new.tenant_id::text;
  return null;
end
$$;
revoke execute on function core.wake_parked_jobs() from public;
create trigger wake_parked_jobs after update of suspended_at on core.tenants for each row
  when (old.suspended_at is not null and new.suspended_at is null) execute function core.wake_parked_jobs();
