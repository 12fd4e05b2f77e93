-- Members see their tenants and who else is in them (PostgREST, Supabase). core.my_tenants(), with the owner's rights, sees
-- the memberships of core.uid() and their tenants by the first two policies: force binds the owner as well.
create policy own_membership on core.member for select to agentos_owner using (user_id = (select core.uid()));
create policy own_membership on core.tenants for select to agentos_owner
  using (tenant_id in (select m.tenant_id from core.member m));
-- Not what a viewer has no business with: settings, limits, why a tenant was suspended, addresses, platform permissions.
call core.member_read('core.tenants', 'tenant_id, name, slug, plan, created_at, updated_at');
call core.member_read('core.member', 'tenant_id, user_id, role, created_at');
