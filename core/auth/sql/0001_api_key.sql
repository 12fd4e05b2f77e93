-- API keys. The secret part is never stored: hash = HMAC-SHA256(pepper, secret), the pepper is not in the database.
create table core.api_key (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  id uuid not null,
  prefix text not null unique, -- the 8 public characters by which a key is found before its tenant is known
  hash bytea not null check (length(hash) = 32),
  name text not null check (length(name) between 1 and 200),
  scopes text[] not null check (cardinality(scopes) between 1 and 100),
  user_id uuid, -- the member for whom the key acts; null: the tenant itself
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  primary key (tenant_id, id)
);
-- No delete: a revoked key stays as the answer to "who was that".
call core.isolate('core.api_key', 'select, insert, update');
-- A request brings a key and no tenant: it is found by prefix, and its last use is noted, as agentos_system.
call core.system_access('core.api_key', 'select, update');
create index api_key_list on core.api_key (tenant_id, created_at desc, id desc);
