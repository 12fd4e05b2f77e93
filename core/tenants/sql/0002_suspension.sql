-- Suspension, and deletion with a grace time: a tenant to be deleted is suspended until `erase_at`, then a sweep erases
-- its rows and leaves this one as a tombstone (core/tenants/README.md says why).
alter table core.tenants
  add column suspended_at timestamptz,
  add column suspended_by text check (suspended_by in ('platform', 'deletion')),
  add column suspended_reason text check (length(suspended_reason) between 1 and 500), -- the platform's, shown to the tenant
  add column erase_at timestamptz, -- from here on agentos_system may delete the tenant's rows
  add column erase_by text check (erase_by in ('owner', 'platform')),
  add column erased_at timestamptz,
  add constraint tenants_suspension check ((suspended_at is null) = (suspended_by is null)),
  add constraint tenants_erasure check ((erase_at is null) = (erase_by is null) and (erase_at is null or suspended_at is not null)),
  add constraint tenants_erased check (erased_at is null or erase_at is not null),
  -- The operator locked out of his own installation could not undo it.
  add constraint tenants_zero_stays check (tenant_id <> '00000000-0000-7000-8000-000000000000' or suspended_at is null);
create index tenants_erase on core.tenants (erase_at) where erase_at is not null and erased_at is null;

-- A tenant changes its name and settings itself. What it pays for and whether it runs is the platform's: agentos_system.
revoke update on core.tenants from agentos_app;
grant update (name, settings) on core.tenants to agentos_app;

create function core.touch() returns trigger
  language plpgsql
as $$
begin
  new.updated_at := pg_catalog.now();
  return new;
end
$$;
revoke execute on function core.touch() from public;
create trigger touch before update on core.tenants for each row execute function core.touch();
