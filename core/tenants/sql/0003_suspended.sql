-- Every claim asks who is suspended, on every host and many times a second: read from here, not from the table.
create index tenants_suspended on core.tenants (tenant_id) where suspended_at is not null and erased_at is null;
