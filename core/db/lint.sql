-- Rows are failures: (rule, object). Tables of every schema but the server's own. It must run with search_path
-- pg_catalog, so that ::regclass prints schema.name.
with rel as (
  select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    -- What an extension brought is not ours to judge.
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
tbl as (select * from rel where relkind in ('r', 'p')),
ten as (
  select t.*, a.attnum as tenant_att, a.attnotnull from tbl t
  join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id' and not a.attisdropped
),
app as (select oid, rolname, rolbypassrls, rolsuper from pg_roles where rolname in ('agentos_app', 'agentos_system')),
verb (verb, cmd) as (values ('select', 'r'), ('insert', 'a'), ('update', 'w'), ('delete', 'd')),
-- Tables that agentos_app has anything to do with. All four verbs are looked at: what is not granted today may be tomorrow.
-- has_any_column_privilege also sees grants on single columns; a column cannot be deleted.
shown as (
  select t.oid, t.name from ten t
  where has_any_column_privilege('agentos_app', t.oid, 'select, insert, update') or has_table_privilege('agentos_app', t.oid, 'delete')
    or exists (select from pg_policy p where p.polrelid = t.oid and 'agentos_app'::regrole = any (p.polroles))
),
granted as (select s.oid, s.name, v.verb, v.cmd from shown s cross join verb v),
restrictive as (
  select p.*, coalesce(pg_get_expr(p.polqual, p.polrelid), '') as using_expr,
         coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), '') as check_expr
  from pg_policy p
  where not p.polpermissive and 'agentos_app'::regrole = any (p.polroles)
),
-- The tenant policy as the server prints it, whole: with `or true` behind it, it is another one.
form (own, shared) as (values (
  '(tenant_id = ( SELECT core.tenant() AS tenant))',
  '((( SELECT core.tenant() AS tenant) IS NOT NULL) AND ((tenant_id = ( SELECT core.tenant() AS tenant)) OR '
)),
shared as (
  select r.polrelid from restrictive r cross join form
  where r.polcmd in ('*', 'r') and starts_with(r.using_expr, form.shared)
)
select 'rls_off' as rule, name as object from tbl where not relrowsecurity
union all select 'rls_not_forced', name from tbl where relrowsecurity and not relforcerowsecurity
union all select 'no_tenant_id', name from tbl where oid not in (select oid from ten)
union all select 'tenant_id_nullable', name from ten where not attnotnull
-- Each verb stands under a restrictive policy that asks for the tenant.
union all select 'no_tenant_policy', g.name || ' ' || g.verb from granted g cross join form
  where not exists (
    select from restrictive r where r.polrelid = g.oid and r.polcmd in ('*', g.cmd)
      and (g.verb = 'insert' or r.using_expr = form.own) and (g.verb not in ('insert', 'update') or r.check_expr = form.own))
    and not (g.verb = 'select' and g.oid in (select polrelid from shared))
-- Other tenants read some rows of this table (core.isolate_shared): always with a reason on the list.
union all select 'shared_read', s.name from shown s where s.oid in (select polrelid from shared)
-- "true" for a role that no restrictive policy of the table binds. agentos_system is given rows across tenants on purpose.
union all select 'policy_true', p.polrelid::regclass || ' ' || p.polname from pg_policy p
  where p.polpermissive
    and 'true' in (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    and p.polroles <> array[(select oid from pg_roles where rolname = 'agentos_system')]
    and not exists (select from pg_policy r where r.polrelid = p.polrelid and not r.polpermissive and r.polroles = p.polroles)
-- A policy for everybody binds agentos_system too, where core.tenant() raises.
union all select 'policy_for_public', p.polrelid::regclass || ' ' || p.polname from pg_policy p
  join rel on rel.oid = p.polrelid where p.polroles = '{0}'
union all select 'unique_without_tenant', i.indexrelid::regclass::text from pg_index i join ten on ten.oid = i.indrelid
  where i.indisunique and not ten.tenant_att = any (i.indkey)
union all select 'fk_without_tenant', c.conrelid::regclass || ' ' || c.conname from pg_constraint c
  join ten a on a.oid = c.conrelid join ten b on b.oid = c.confrelid
  where c.contype = 'f' and not a.tenant_att = any (c.conkey)
-- A foreign key between tenant_id and something else would still cross tenants.
union all select 'fk_tenant_mismatch', c.conrelid::regclass || ' ' || c.conname from pg_constraint c
  join ten a on a.oid = c.conrelid join ten b on b.oid = c.confrelid
  where c.contype = 'f' and a.tenant_att = any (c.conkey)
    and c.confkey[array_position(c.conkey, a.tenant_att)] <> b.tenant_att
union all select 'view_not_invoker', name from rel
  where relkind = 'v' and not coalesce(reloptions && array['security_invoker=true', 'security_invoker=on'], false)
union all select 'matview_readable', rel.name || ' ' || app.rolname from rel cross join app
  where relkind = 'm' and has_any_column_privilege(app.oid, rel.oid, 'select')
-- Neither can stand under row level security, and a rule acts with the rights of the table's owner.
union all select 'foreign_table', rel.name || ' ' || app.rolname from rel cross join app
  where relkind = 'f' and has_any_column_privilege(app.oid, rel.oid, 'select, insert, update')
union all select 'rewrite_rule', tbl.name || ' ' || w.rulename from pg_rewrite w join tbl on tbl.oid = w.ev_class
union all select 'priv_' || priv, rel.name || ' ' || app.rolname from rel cross join app
  cross join (values ('truncate'), ('references'), ('trigger')) p (priv)
  where relkind in ('r', 'p') and has_table_privilege(app.oid, rel.oid, priv)
-- MAINTAIN is of 17 and later, where has_table_privilege knows it.
union all select 'priv_maintain', tbl.name || ' ' || app.rolname from tbl cross join app cross join aclexplode(tbl.relacl) acl
  where acl.privilege_type = 'MAINTAIN' and acl.grantee in (0, app.oid)
-- Rights on tables that do not exist yet.
union all select 'default_privileges', coalesce(d.defaclnamespace::regnamespace::text, '*') || ' ' || d.defaclobjtype::text
  from pg_default_acl d
  where exists (select from aclexplode(d.defaclacl) acl left join app on app.oid = acl.grantee
                where d.defaclobjtype in ('r', 'S', 'n') and (acl.grantee = 0 or app.oid is not null))
union all select 'seq_readable', rel.name || ' ' || app.rolname from rel cross join app
  where relkind = 'S' and has_sequence_privilege(app.oid, rel.oid, 'select, usage')
union all select 'schema_create', n.nspname || ' ' || app.rolname from pg_namespace n cross join app
  where n.nspname !~ '^pg_' and has_schema_privilege(app.oid, n.oid, 'create')
union all select 'owns', rel.name || ' ' || app.rolname from rel join app on app.oid = rel.relowner
union all select 'secdef_callable', p.oid::regprocedure || ' ' || app.rolname
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace cross join app
  where p.prosecdef and n.nspname !~ '^pg_' and has_function_privilege(app.oid, p.oid, 'execute')
union all select 'leakproof_function', p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where p.proleakproof and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all select 'role_bypass', rolname from app where rolbypassrls or rolsuper
union all select 'role_can_become', app.rolname || ' ' || r.rolname from app
  join pg_roles r on r.oid <> app.oid and pg_has_role(app.oid, r.oid, 'member')
  where r.rolsuper or r.rolbypassrls or r.rolname in ('agentos_owner', 'agentos_app', 'agentos_system')
    or exists (select from rel where relowner = r.oid)
order by 1, 2
