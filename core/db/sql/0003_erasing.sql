-- core.isolate as of here: the default of tenant_id is the unchecked setting, and agentos_system may erase the rows of a
-- tenant whose grace time is over (core.tenants.erase_at, core/tenants), and of no other.

-- Tenants that are to be erased now. Runs as its caller: who may not read core.tenants erases nothing.
create function core.erasable() returns uuid[]
  language plpgsql stable parallel safe
as $$
begin
  if pg_catalog.to_regclass('core.tenants') is null then
    return '{}'; -- core/db without core/tenants
  end if;
  return coalesce((select pg_catalog.array_agg(t.tenant_id) from core.tenants t where t.erase_at <= pg_catalog.now()), '{}');
end
$$;

-- Two narrow policies and their grants, unless agentos_system has the verb on every row anyhow. Of what it erases it sees
-- tenant_id and nothing else.
create procedure core.permit_erasing(tbl regclass)
  language plpgsql
as $$
declare
  verb text;
begin
  execute format('grant usage on schema %I to agentos_system',
    (select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = tbl));
  foreach verb in array array['select', 'delete'] loop
    continue when exists (select from pg_catalog.pg_policy
      where polrelid = tbl and polname in ('system_' || verb, 'erase_' || verb));
    execute format('create policy %I on %s for %s to agentos_system using (tenant_id = any ((select core.erasable())::uuid[]))',
      'erase_' || verb, tbl, verb);
    execute format('grant %s on table %s to agentos_system', case verb when 'select' then 'select (tenant_id)' else verb end, tbl);
  end loop;
end
$$;

-- Column defaults are not the place for a check: they run once a row.
create procedure core.default_tenant(tbl regclass)
  language plpgsql
as $$
begin
  if exists (select from pg_catalog.pg_attrdef d join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
             where d.adrelid = tbl and a.attname = 'tenant_id' and pg_catalog.pg_get_expr(d.adbin, d.adrelid) = 'core.tenant()') then
    execute format('alter table %s alter column tenant_id set default core.tenant_setting()', tbl);
  end if;
end
$$;

-- RLS on and forced, nothing granted; the tenant column must be there and not null.
create or replace procedure core.close_table(tbl regclass)
  language plpgsql
as $$
begin
  if not exists (select from pg_catalog.pg_attribute where attrelid = tbl and attname = 'tenant_id'
                 and atttypid = 'uuid'::regtype and attnotnull and not attisdropped) then
    raise exception 'table % has no column "tenant_id uuid not null"', tbl;
  end if;
  execute format('alter table %s enable row level security', tbl);
  execute format('alter table %s force row level security', tbl);
  execute format('revoke all on table %s from public, agentos_app, agentos_system', tbl);
  call core.default_tenant(tbl);
  call core.permit_erasing(tbl);
end
$$;

-- What agentos_system (claim, relay, sweeps) may do on this table, across tenants. Every use is a line to review.
create or replace procedure core.system_access(tbl regclass, verbs text)
  language plpgsql
as $$
declare
  verb text;
begin
  foreach verb in array core.verbs(verbs) loop
    execute format('drop policy if exists %I on %s', 'erase_' || verb, tbl); -- contained in what it gets here
  end loop;
  call core.permit(tbl, verbs, 'agentos_system');
end
$$;

-- Instead of a whole table: `role` may do `verb` (insert, update) on these columns and no others, under the policies that
-- the table has for it. 'name, settings'.
create procedure core.permit_columns(tbl regclass, verb text, columns text, grantee text)
  language plpgsql
as $$
declare
  names text := (select string_agg(quote_ident(btrim(name)), ', ') from unnest(string_to_array(columns, ',')) name);
begin
  if verb not in ('insert', 'update') then
    raise exception 'core.permit_columns is for insert and update, not for "%"', verb;
  end if;
  execute format('revoke %s on table %s from %I', verb, tbl, grantee);
  execute format('grant %s (%s) on table %s to %I', verb, names, tbl, grantee);
end
$$;

-- Where a tenant lives. Runs as its caller: agentos_system, or a tenant about itself.
create function core.locate(tenant uuid) returns table (cell text, region text)
  language plpgsql stable parallel safe
as $$
begin
  return query select t.cell, t.region from core.tenants t where t.tenant_id = tenant;
end
$$;

revoke execute on function core.erasable(), core.locate(uuid) from public;
grant execute on function core.erasable() to agentos_system;
grant execute on function core.locate(uuid) to agentos_app, agentos_system;
revoke execute on procedure core.permit_erasing(regclass), core.default_tenant(regclass),
  core.permit_columns(regclass, text, text, text) from public;

-- The tables that a database has already.
do $$
declare
  tbl regclass;
begin
  for tbl in select distinct p.polrelid::regclass from pg_catalog.pg_policy p
    join pg_catalog.pg_class c on c.oid = p.polrelid
    where p.polname in ('own_tenant', 'own_or_readable') and pg_catalog.pg_get_userbyid(c.relowner) = 'agentos_owner' loop
    call core.default_tenant(tbl);
    call core.permit_erasing(tbl);
  end loop;
end
$$;
