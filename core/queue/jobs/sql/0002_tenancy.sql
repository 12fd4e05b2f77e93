-- pg-boss's tables have no tenant_id: a job's tenant is data->>'tenantId'. agentos_app may put its own tenant's jobs into
-- the queues, see them and cancel them; everything else is agentos_system's.
do $$
declare
  tbl regclass;
begin
  for tbl in select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgboss' and c.relkind in ('r', 'p') loop
    execute format('alter table %s enable row level security', tbl);
    execute format('alter table %s force row level security', tbl);
    call core.system_access(tbl, 'select, insert, update, delete');
  end loop;
end
$$;

grant usage on schema pgboss to agentos_app;

-- pg-boss addresses the partition itself (queue.table_name), so that is where the policies count.
create policy app_own on pgboss.job_common as restrictive for all to agentos_app
  using (data ->> 'tenantId' = (select core.tenant())::text)
  with check (data ->> 'tenantId' = (select core.tenant())::text);
create policy app_select on pgboss.job_common for select to agentos_app using (true);
create policy app_insert on pgboss.job_common for insert to agentos_app with check (state = 'created');
create policy app_cancel on pgboss.job_common for update to agentos_app
  using (state < 'completed') with check (state = 'cancelled');
grant select, insert, update (state, completed_on) on pgboss.job_common to agentos_app;

-- Settings of queues, which an insert copies into the job; no tenant's data.
create policy app_select on pgboss.queue for select to agentos_app using ((select core.tenant()) is not null);
grant select on pgboss.queue to agentos_app;
