-- Members see their tenants and who else is in them (PostgREST, Supabase). core.my_tenants(), with the owner's rights, sees
-- the memberships of core.uid() by the first policy: force binds the owner as well.
create policy own_membership on core.member for select to agentos_owner using (user_id = (select core.uid()));
call core.member_read('core.tenants');
call core.member_read('core.member');
