-- Rows are failures: (rule, object). What agentos_owner has and what our logins come near; not what else lives in the
-- database (auth, storage, public of a Supabase project). It must run with search_path pg_catalog, so that ::regclass
-- prints schema.name.
with near as (
  select n.*, r.oid as owner from pg_namespace n join pg_roles r on r.rolname = 'agentos_owner'
  where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
),
ours as (
  select * from near where nspowner = owner
    or has_schema_privilege('agentos_app', oid, 'usage') or has_schema_privilege('agentos_system', oid, 'usage')
),
rel as (
  select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as name
  from pg_class c join near n on n.oid = c.relnamespace
  where (c.relowner = n.owner or n.oid in (select oid from ours))
    -- What an extension brought is not ours to judge.
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
tbl as (select * from rel where relkind in ('r', 'p')),
ten as (
  select t.*, a.attnum as tenant_att, a.attnotnull from tbl t
  join pg_attribute a on a.attrelid = t.oid and a.attname = 'tenant_id' and not a.attisdropped
),
-- Functions of ours, and those that our logins come near.
fun as (
  select p.* from pg_proc p join near n on n.oid = p.pronamespace
  where (p.proowner = n.owner or n.oid in (select oid from ours))
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
),
app as (select oid, rolname, rolbypassrls, rolsuper from pg_roles where rolname in ('agentos_app', 'agentos_system')),
-- Who comes near our tables: authenticated is PostgREST's, what it may elsewhere is not ours to judge.
asker as (select * from app union all select oid, rolname, rolbypassrls, rolsuper from pg_roles where rolname = 'authenticated'),
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
  'CASE WHEN (tenant_id = ( SELECT core.tenant() AS tenant)) THEN true ELSE '
)),
shared as (
  select r.polrelid from restrictive r cross join form
  where r.polcmd in ('*', 'r') and starts_with(btrim(regexp_replace(r.using_expr, '\s+', ' ', 'g')), form.shared)
)
select 'rls_off' as rule, name as object from tbl where not relrowsecurity
union all select 'rls_not_forced', name from tbl where relrowsecurity and not relforcerowsecurity
-- A check in a column default runs once a row: core.isolate puts core.tenant_setting() there.
union all select 'default_checked', d.adrelid::regclass || ' ' || a.attname from pg_attrdef d
  join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum join rel on rel.oid = d.adrelid
  where pg_get_expr(d.adbin, d.adrelid) ~ '\mcore\.tenant\(\)'
-- Whoever reads the key can sign for every tenant.
union all select 'tenant_key_open', coalesce(r.rolname, 'public') from rel cross join aclexplode(rel.relacl) acl
  left join pg_roles r on r.oid = acl.grantee where rel.name = 'core.tenant_key' and acl.grantee <> rel.relowner
union all select 'tenant_key_open', a.attname::text from rel join pg_attribute a on a.attrelid = rel.oid
  where rel.name = 'core.tenant_key' and a.attacl is not null
-- The policies ask core.tenant(), and that one checks the signature with the owner's right to read the key.
union all select 'tenant_unchecked', p.oid::regprocedure::text from fun p
  where p.oid = 'core.tenant()'::regprocedure and not (p.prosecdef and p.prosrc ~ '\msha256\(' and p.prosrc ~ 'core\.tenant_key')
-- authenticated reads rows of its tenants by membership, and does nothing else.
union all select 'member_policy', p.polrelid::regclass || ' ' || p.polname from pg_policy p join rel on rel.oid = p.polrelid
  join asker a on a.rolname = 'authenticated' and a.oid = any (p.polroles)
  where p.polpermissive and (p.polcmd <> 'r' or p.polroles <> array[a.oid] or pg_get_expr(p.polqual, p.polrelid)
    <> '(tenant_id = ANY (( SELECT core.my_tenants() AS my_tenants)::uuid[]))')
union all select 'member_write', rel.name from rel join asker a on a.rolname = 'authenticated'
  where relkind in ('r', 'p', 'v', 'f') and (has_any_column_privilege(a.oid, rel.oid, 'insert, update') or has_table_privilege(a.oid, rel.oid, 'delete'))
-- The owner stands under force too; it sees the memberships of whoever asks and their tenants, for core.my_tenants(), and
-- nothing else.
union all select 'owner_policy', p.polrelid::regclass || ' ' || p.polname from pg_policy p join rel on rel.oid = p.polrelid
  where p.polpermissive and rel.relowner = any (p.polroles) and (p.polcmd <> 'r'
    or (rel.name, btrim(regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\s+', ' ', 'g'))) not in (
      ('core.member', '(user_id = ( SELECT core.uid() AS uid))'),
      ('core.tenants', '(tenant_id IN ( SELECT m.tenant_id FROM core.member m))')))
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
  join rel on rel.oid = p.polrelid where p.polpermissive
    and 'true' in (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    and p.polroles <> array[(select oid from pg_roles where rolname = 'agentos_system')]
    and not exists (select from pg_policy r where r.polrelid = p.polrelid and not r.polpermissive and r.polroles = p.polroles)
-- A policy for everybody binds agentos_system too, where core.tenant() raises.
union all select 'policy_for_public', p.polrelid::regclass || ' ' || p.polname from pg_policy p
  join rel on rel.oid = p.polrelid where p.polroles = '{0}'
-- What is only carried along (include) does not count, and an exclusion must ask for the same tenant: uuid =.
union all select 'unique_without_tenant', i.indexrelid::regclass::text from pg_index i join ten on ten.oid = i.indrelid
  cross join lateral (select array_position(i.indkey[0:i.indnkeyatts - 1]::int2[], ten.tenant_att) as place) k
  where (i.indisunique or i.indisexclusion) and (k.place is null or exists (select from pg_constraint c
    where c.conindid = i.indexrelid and c.contype = 'x'
      and c.conexclop[k.place - array_lower(i.indkey[0:i.indnkeyatts - 1]::int2[], 1) + 1] <> '=(uuid,uuid)'::regoperator))
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
union all select 'matview_readable', rel.name || ' ' || asker.rolname from rel cross join asker
  where relkind = 'm' and has_any_column_privilege(asker.oid, rel.oid, 'select')
-- Neither can stand under row level security, and a rule acts with the rights of the table's owner.
union all select 'foreign_table', rel.name || ' ' || asker.rolname from rel cross join asker
  where relkind = 'f' and has_any_column_privilege(asker.oid, rel.oid, 'select, insert, update')
union all select 'rewrite_rule', tbl.name || ' ' || w.rulename from pg_rewrite w join tbl on tbl.oid = w.ev_class
union all select 'priv_' || priv, rel.name || ' ' || asker.rolname from rel cross join asker
  cross join (values ('truncate'), ('references'), ('trigger')) p (priv)
  where relkind in ('r', 'p') and has_table_privilege(asker.oid, rel.oid, priv)
-- MAINTAIN is of 17 and later, where has_table_privilege knows it.
union all select 'priv_maintain', tbl.name || ' ' || asker.rolname from tbl cross join asker cross join aclexplode(tbl.relacl) acl
  where acl.privilege_type = 'MAINTAIN' and acl.grantee in (0, asker.oid)
-- Rights on tables that do not exist yet.
union all select 'default_privileges', coalesce(d.defaclnamespace::regnamespace::text, '*') || ' ' || d.defaclobjtype::text
  from pg_default_acl d
  where (d.defaclrole in (select owner from near) or d.defaclnamespace in (select oid from ours))
    and exists (select from aclexplode(d.defaclacl) acl left join asker on asker.oid = acl.grantee
                where d.defaclobjtype in ('r', 'S', 'n') and (acl.grantee = 0 or asker.oid is not null))
union all select 'seq_readable', rel.name || ' ' || asker.rolname from rel cross join asker
  where relkind = 'S' and has_sequence_privilege(asker.oid, rel.oid, 'select, usage')
union all select 'schema_create', n.nspname || ' ' || asker.rolname from pg_namespace n cross join asker
  where n.nspname !~ '^pg_' and has_schema_privilege(asker.oid, n.oid, 'create')
    and (asker.oid in (select oid from app) or n.nspowner in (select owner from near))
union all select 'owns', rel.name || ' ' || asker.rolname from rel join asker on asker.oid = rel.relowner
union all select 'secdef_callable', p.oid::regprocedure || ' ' || asker.rolname from fun p cross join asker
  where p.prosecdef and has_function_privilege(asker.oid, p.oid, 'execute')
-- A trigger calls its function whoever may execute it.
union all select distinct 'secdef_trigger', rel.name || ' ' || p.oid::regprocedure from pg_trigger g
  join rel on rel.oid = g.tgrelid join pg_proc p on p.oid = g.tgfoid cross join asker
  where p.prosecdef and not g.tgisinternal and (has_any_column_privilege(asker.oid, rel.oid, 'insert, update')
    or has_table_privilege(asker.oid, rel.oid, 'delete') or has_table_privilege(asker.oid, rel.oid, 'truncate'))
union all select 'leakproof_function', p.oid::regprocedure::text from fun p where p.proleakproof
union all select 'role_bypass', rolname from asker where rolbypassrls or rolsuper
-- As authenticated there is no signature to check.
union all select 'role_can_become', asker.rolname || ' ' || r.rolname from asker
  join pg_roles r on r.oid <> asker.oid and pg_has_role(asker.oid, r.oid, 'member')
  where r.rolsuper or r.rolbypassrls or r.rolname in ('agentos_owner', 'agentos_app', 'agentos_system', 'authenticated')
    or exists (select from rel where relowner = r.oid)
order by 1, 2
