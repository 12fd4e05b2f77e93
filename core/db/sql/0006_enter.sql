-- The beginning of a tenant's transaction, as one statement. What an earlier transaction set for the session ends here
-- (set_config(..., false) fits into any select); as a statement of its own that was a tenth of a small transaction.
create function core.enter(tenant text, member text, claims text, signature text) returns void
  language plpgsql
as $$
begin
  reset all;
  perform pg_catalog.set_config('agentos.tenant', tenant, true), pg_catalog.set_config('agentos.user', member, true),
    pg_catalog.set_config('request.jwt.claims', claims, true), pg_catalog.set_config('agentos.signature', signature, true);
end
$$;
revoke execute on function core.enter(text, text, text, text) from public;
grant execute on function core.enter(text, text, text, text) to agentos_app;
