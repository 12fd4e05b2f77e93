-- The role `authenticated` (PostgREST, Supabase): whoever comes with a user's token sees what that user's tenants have, by
-- membership alone. Select only; nothing here asks for agentos.tenant, so nothing needs its signature. The role, schema auth
-- and auth.uid() are there before, where the login of the migration may make them: core/db/authenticated.ts.

-- auth.uid(); where it is not to be had, what it would say.
do $$
begin
  execute format('create function core.uid() returns uuid language sql stable parallel safe as %L',
    case when case when has_schema_privilege(to_regnamespace('auth')::oid, 'usage') -- else looking for it raises
      then to_regprocedure('auth.uid()') is not null end then 'select auth.uid()'
    else $f$select (nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb
      operator(pg_catalog.->>) 'sub')::pg_catalog.uuid$f$ end);
end
$$;

-- The tenants whose member core.uid() is, without those that are suspended or about to be erased; {} for nobody. SECURITY
-- DEFINER: core.member's own policy calls it, and one that read the table under that policy would never end. The owner
-- stands under force as well, so core/tenants lets it see the memberships of core.uid() and their tenants, no others.
create function core.my_tenants() returns uuid[]
  language plpgsql stable parallel safe security definer
as $$
begin
  return coalesce((select pg_catalog.array_agg(m.tenant_id) from core.member m
    join core.tenants t on t.tenant_id operator(pg_catalog.=) m.tenant_id
    where m.user_id operator(pg_catalog.=) (select core.uid()) and t.suspended_at is null), '{}');
end
$$;
revoke execute on function core.my_tenants(), core.uid() from public;

-- Members, whatever their role, read this table of their tenants, or these columns of it ('id, name'): each use is a line
-- to review. Nothing where there is no such role.
create procedure core.member_read(tbl regclass, columns text default null)
  language plpgsql
as $$
declare
  names text := (select string_agg(quote_ident(btrim(name)), ', ') from unnest(string_to_array(columns, ',')) name);
begin
  if to_regrole('authenticated') is null then
    raise notice 'there is no role authenticated: nobody reads % by membership', tbl;
    return;
  end if;
  execute format('grant usage on schema core, %I to authenticated',
    (select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = tbl));
  grant execute on function core.my_tenants() to authenticated;
  execute format('create policy member_select on %s for select to authenticated '
    'using (tenant_id = any ((select core.my_tenants())::uuid[]))', tbl);
  execute format('grant select %s on table %s to authenticated', '(' || names || ')', tbl);
end
$$;
revoke execute on procedure core.member_read(regclass, text) from public;
