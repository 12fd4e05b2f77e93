-- What other tenants read of a tenant (core.isolate_shared) outlives it: they installed it, and a log that everybody
-- verifies cannot lose leaves. Erasing passes by rows for which `readable` holds.
create procedure core.erase_keeps(tbl regclass, readable text)
  language plpgsql
as $$
begin
  execute format('create policy erase_keeps on %s as restrictive for delete to agentos_system using (not (%s))', tbl, readable);
end
$$;
revoke execute on procedure core.erase_keeps(regclass, text) from public;
