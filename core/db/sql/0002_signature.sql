-- Tenant, user and claims of a transaction carry one HMAC, made by the API process: SQL injection alone, which can set any
-- setting, cannot speak for another tenant or member. Policies ask core.tenant() (checked), column defaults
-- core.tenant_setting() (unchecked: what a default says, the policy of the same statement checks).

-- HMAC-SHA256(key, m) = sha256(outer || sha256(inner || m)); inner and outer are the key, padded to 64 bytes, xor 0x36 and
-- 0x5c (RFC 2104), made once instead of in every statement. Whoever reads this row can sign: no login has a grant on it.
create table core.tenant_key (
  only_row boolean primary key default true check (only_row),
  inner_pad bytea not null check (octet_length(inner_pad) = 64),
  outer_pad bytea not null check (octet_length(outer_pad) = 64)
);

-- The tenant of this transaction, as signed. Raises instead of returning null: a forgotten tenant is an error, never "no
-- rows". Signed is tenant || octets of user || ':' || user || claims; the tenant has 36 octets, so there is one way to take
-- that apart. SECURITY DEFINER for the key; no SET search_path (1 us a statement), so every name and operator is whole.
-- The form is looked at without a regular expression (6 us): dashes in their places and nowhere else, hex digits. No
-- exception block around the cast: a subtransaction is not allowed in a parallel worker. That the comparison ends at the first wrong
-- byte tells nothing: some ns of 10 us, and a digest cannot be steered byte by byte.
create or replace function core.tenant() returns uuid
  language plpgsql stable parallel safe security definer
as $$
declare
  tenant pg_catalog.text := pg_catalog.current_setting('agentos.tenant', true);
  member pg_catalog.text := pg_catalog.current_setting('agentos.user', true);
  claims pg_catalog.text := pg_catalog.current_setting('request.jwt.claims', true);
  signature pg_catalog.text := pg_catalog.current_setting('agentos.signature', true);
  inner_pad pg_catalog.bytea;
  outer_pad pg_catalog.bytea;
begin
  if tenant is null or tenant operator(pg_catalog.=) '' then
    raise insufficient_privilege using message = 'no tenant is set in this transaction';
  end if;
  select k.inner_pad, k.outer_pad into inner_pad, outer_pad from core.tenant_key k;
  if tenant operator(pg_catalog.~~) '________-____-____-____-____________'
    and tenant operator(pg_catalog.!~~) '%-%-%-%-%-%'
    and pg_catalog.ltrim(pg_catalog.convert_to(tenant, 'UTF8'), '0123456789abcdef-'::pg_catalog.bytea)
      operator(pg_catalog.=) ''::pg_catalog.bytea
    and signature operator(pg_catalog.=) pg_catalog.encode(pg_catalog.sha256(outer_pad operator(pg_catalog.||)
      pg_catalog.sha256(inner_pad operator(pg_catalog.||) pg_catalog.convert_to(tenant operator(pg_catalog.||)
        pg_catalog.octet_length(member)::pg_catalog.text operator(pg_catalog.||) ':' operator(pg_catalog.||)
        member operator(pg_catalog.||) claims, 'UTF8'))), 'hex') then
    return tenant::pg_catalog.uuid;
  end if;
  raise insufficient_privilege using message = 'the tenant of this transaction is not signed';
end
$$;

-- The tenant that this transaction names, signed or not. It runs once a row: of the form it looks at the dashes only, and
-- the cast refuses the rest (22P02).
create function core.tenant_setting() returns uuid
  language plpgsql stable parallel safe
as $$
declare
  tenant pg_catalog.text := pg_catalog.current_setting('agentos.tenant', true);
begin
  if tenant operator(pg_catalog.~~) '________-____-____-____-____________' then
    return tenant::pg_catalog.uuid;
  end if;
  raise insufficient_privilege using message = 'no tenant is set in this transaction';
end
$$;

-- Not for everybody who comes into the schema: authenticated has no use for it.
revoke execute on function core.tenant() from public;
grant execute on function core.tenant() to agentos_app, agentos_system;
