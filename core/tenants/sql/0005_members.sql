-- Members have the address that they were invited by; invitations; a tenant that has owners keeps one.
alter table core.member add column email text check (length(email) between 3 and 254);

-- The last owner can neither go nor become something else, whoever asks and however many ask at once: changes of one
-- tenant's members take turns on its row. Erasing the tenant takes all.
create function core.keep_an_owner() returns trigger
  language plpgsql
as $$
begin
  perform from core.tenants t
    where t.tenant_id = old.tenant_id and coalesce(t.erase_at > pg_catalog.now(), true) for no key update;
  -- A statement of its own: it sees what the lock waited for.
  if found and not exists (select from core.member m
    where m.tenant_id = old.tenant_id and m.role = 'owner' and m.user_id <> old.user_id) then
    raise exception 'a tenant keeps at least one owner' using errcode = 'TO001';
  end if;
  return coalesce(new, old);
end
$$;
revoke execute on function core.keep_an_owner() from public;
create trigger keep_an_owner_gone before delete on core.member for each row
  when (old.role = 'owner') execute function core.keep_an_owner();
create trigger keep_an_owner_changed before update of role on core.member for each row
  when (old.role = 'owner' and new.role <> 'owner') execute function core.keep_an_owner();

-- A token is shown once; its hash is the credential that is looked up before there is a tenant.
create table core.invitation (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  id uuid not null,
  email text not null check (length(email) between 3 and 254),
  role text not null check (role in ('owner', 'admin', 'member', 'viewer')),
  token_hash bytea not null unique check (length(token_hash) = 32), -- sha256 of 32 random bytes
  invited_by text not null, -- user:<id>, key:<id>, operator:<id>
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '7 days',
  accepted_at timestamptz,
  accepted_by uuid,
  revoked_at timestamptz,
  primary key (tenant_id, id),
  check ((accepted_at is null) = (accepted_by is null)),
  check (accepted_at is null or revoked_at is null)
);
call core.isolate('core.invitation', 'select, insert, update');
-- Whoever accepts belongs to no tenant yet: the invitation is found and taken as agentos_system, and the platform invites
-- the first owner of a tenant that it provisions.
call core.system_access('core.invitation', 'select, insert, update');
create index invitation_list on core.invitation (tenant_id, created_at desc, id desc);
create index invitation_open on core.invitation (tenant_id) where accepted_at is null and revoked_at is null;
create index member_list on core.member (tenant_id, created_at desc, user_id desc);
