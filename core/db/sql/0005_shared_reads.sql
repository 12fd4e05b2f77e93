-- core.isolate_shared as of here asks for the tenant once a statement and not twice. PostgreSQL asks when it looks at the
-- first row: that another tenant keeps a thing of this name to itself could be told by the time of the second question.

-- Rows are written under tenancy; those for which the SQL condition `readable` holds may be read by every tenant, and by
-- nobody without one: an `or true` would be folded away together with the tenant's own check, a case is not.
create or replace procedure core.isolate_shared(tbl regclass, verbs text, readable text)
  language plpgsql
as $$
declare
  verb text;
begin
  call core.close_table(tbl);
  execute format('create policy own_or_readable on %s as restrictive for select to agentos_app '
    'using (case when tenant_id = (select core.tenant()) then true else (%s) end)', tbl, readable);
  foreach verb in array array['insert', 'update', 'delete'] loop
    execute format('create policy own_tenant_%s on %s as restrictive for %s to agentos_app %s %s', verb, tbl, verb,
      case when verb <> 'insert' then 'using (tenant_id = (select core.tenant()))' end,
      case when verb <> 'delete' then 'with check (tenant_id = (select core.tenant()))' end);
  end loop;
  call core.permit(tbl, verbs, 'agentos_app');
end
$$;

-- The tables that a database has already: their condition is what stands between the former head and its two brackets.
do $$
declare
  head constant text := '((( SELECT core.tenant() AS tenant) IS NOT NULL) AND ((tenant_id = ( SELECT core.tenant() AS tenant)) OR ';
  policy record;
begin
  for policy in select polrelid::regclass as tbl, pg_get_expr(polqual, polrelid) as expr from pg_policy where polname = 'own_or_readable' loop
    if not starts_with(policy.expr, head) then
      raise exception 'the policy own_or_readable of % is not one of core.isolate_shared: %', policy.tbl, policy.expr;
    end if;
    execute format('alter policy own_or_readable on %s using (case when tenant_id = (select core.tenant()) then true else (%s) end)',
      policy.tbl, substr(policy.expr, length(head) + 1, length(policy.expr) - length(head) - 2));
  end loop;
end
$$;
