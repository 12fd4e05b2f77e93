-- The ground of tenancy: who asks (core.tenant), ids, and the procedures that put a table behind its tenant.
-- Roles, the schema core, core.migration and core.installation exist before: core/db/bootstrap.ts.

-- The tenant of this transaction. Raises instead of returning null: a forgotten tenant is an error, never "no rows".
-- A regex and not an exception block around the cast: a subtransaction is not allowed in a parallel worker.
create function core.tenant() returns uuid
  language plpgsql stable parallel safe
as $$
declare
  setting text := pg_catalog.current_setting('agentos.tenant', true);
begin
  if setting is null or setting = '' then
    raise insufficient_privilege using message = 'no tenant is set in this transaction';
  end if;
  if setting !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    raise insufficient_privilege using message = 'the tenant of this transaction is malformed';
  end if;
  return setting::uuid;
end
$$;

-- UUIDv7 also where PostgreSQL has none (before 18): 48 bit milliseconds, 12 bit fraction of the millisecond, random.
create function core.uuidv7() returns uuid
  language plpgsql volatile parallel safe
as $$
declare
  micros bigint := (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint;
  fraction int := ((micros % 1000) * 4096 / 1000)::int;
  bytes bytea := pg_catalog.uuid_send(pg_catalog.gen_random_uuid());
begin
  bytes := overlay(bytes placing substring(pg_catalog.int8send(micros / 1000) from 3) from 1 for 6);
  bytes := pg_catalog.set_byte(bytes, 6, 112 + (fraction >> 8)); -- 0x70: version 7
  bytes := pg_catalog.set_byte(bytes, 7, fraction & 255);
  return pg_catalog.encode(bytes, 'hex')::uuid;
end
$$;

-- 'select, insert' -> {select,insert}; anything else is refused.
create function core.verbs(list text) returns text[]
  language plpgsql immutable
as $$
declare
  verbs text[] := pg_catalog.regexp_split_to_array(pg_catalog.lower(pg_catalog.btrim(list)), '\s*,\s*');
  verb text;
begin
  foreach verb in array verbs loop
    if verb not in ('select', 'insert', 'update', 'delete') then
      raise exception 'unknown verb "%" in "%": use select, insert, update, delete', verb, list;
    end if;
  end loop;
  return verbs;
end
$$;

-- One permissive policy per verb, all TO one role, and the grant of just this verb.
create procedure core.permit(tbl regclass, verbs text, grantee text)
  language plpgsql
as $$
declare
  verb text;
  prefix text := pg_catalog.regexp_replace(grantee, '^agentos_', '');
begin
  execute format('grant usage on schema %I to %I',
    (select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = tbl), grantee);
  foreach verb in array core.verbs(verbs) loop
    execute format('create policy %I on %s as permissive for %s to %I %s', prefix || '_' || verb, tbl, verb, grantee,
      case verb when 'insert' then 'with check (true)' when 'update' then 'using (true) with check (true)' else 'using (true)' end);
    execute format('grant %s on table %s to %I', verb, tbl, grantee);
  end loop;
end
$$;

-- RLS on and forced, nothing granted; the tenant column must be there and not null.
create procedure core.close_table(tbl regclass)
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
end
$$;

-- A tenant table: agentos_app sees and writes rows of its own tenant only, and only by the named verbs.
create procedure core.isolate(tbl regclass, verbs text)
  language plpgsql
as $$
begin
  call core.close_table(tbl);
  execute format('create policy own_tenant on %s as restrictive for all to agentos_app '
    'using (tenant_id = (select core.tenant())) with check (tenant_id = (select core.tenant()))', tbl);
  call core.permit(tbl, verbs, 'agentos_app');
end
$$;

-- Rows are written under tenancy; those for which the SQL condition `readable` holds may be read by every tenant, and by
-- nobody without one: `or true` alone is folded away together with the tenant's own check.
create procedure core.isolate_shared(tbl regclass, verbs text, readable text)
  language plpgsql
as $$
declare
  verb text;
begin
  call core.close_table(tbl);
  execute format('create policy own_or_readable on %s as restrictive for select to agentos_app '
    'using ((select core.tenant()) is not null and (tenant_id = (select core.tenant()) or (%s)))', tbl, readable);
  foreach verb in array array['insert', 'update', 'delete'] loop
    execute format('create policy own_tenant_%s on %s as restrictive for %s to agentos_app %s %s', verb, tbl, verb,
      case when verb <> 'insert' then 'using (tenant_id = (select core.tenant()))' end,
      case when verb <> 'delete' then 'with check (tenant_id = (select core.tenant()))' end);
  end loop;
  call core.permit(tbl, verbs, 'agentos_app');
end
$$;

-- What agentos_system (claim, relay, sweeps) may do on this table, across tenants. Every use is a line to review.
create procedure core.system_access(tbl regclass, verbs text)
  language plpgsql
as $$
begin
  call core.permit(tbl, verbs, 'agentos_system');
end
$$;

-- DDL helpers run as their caller and would fail for the others anyway; what is not callable needs no argument.
revoke execute on function core.verbs(text) from public;
revoke execute on procedure core.permit(regclass, text, text), core.close_table(regclass), core.isolate(regclass, text),
  core.isolate_shared(regclass, text, text), core.system_access(regclass, text) from public;
grant usage on schema core to agentos_app, agentos_system;
