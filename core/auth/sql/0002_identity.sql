-- Users with a password of ours, their logins, tickets for the WebSocket; keys that are rotated and bound to addresses.

-- Who of Tenant Zero's members may do what beside its owner, who may do all of it: `platform:...`. It counts there only.
alter table core.member add column platform text[] not null default '{}' check (cardinality(platform) <= 50);

alter table core.api_key
  add column old_hash bytea check (length(old_hash) = 32), -- the secret before the last rotation
  add column old_hash_until timestamptz,
  add column rotated_at timestamptz,
  add column allowed_ips text[] not null default '{}' check (cardinality(allowed_ips) <= 50), -- CIDR; empty: from everywhere
  add constraint api_key_old check ((old_hash is null) = (old_hash_until is null));

-- A user belongs to no tenant: core.member says where they are what.
create table core.app_user (
  id uuid primary key,
  email text not null unique check (length(email) between 3 and 254),
  password_hash text not null check (length(password_hash) between 1 and 500), -- scrypt$N$r$p$salt$hash
  version integer not null default 1, -- in every access token; another one ends them all
  created_at timestamptz not null default now(),
  password_changed_at timestamptz not null default now()
);
alter table core.app_user enable row level security;
alter table core.app_user force row level security;
revoke all on table core.app_user from public, agentos_app, agentos_system;
call core.system_access('core.app_user', 'select, insert, update');

-- One row per login. Its refresh token names row and generation and is proven by an HMAC, so nothing of it is stored;
-- a generation that was used before ends the login.
create table core.login (
  id uuid primary key,
  user_id uuid not null references core.app_user (id) on delete cascade,
  version integer not null, -- of the user when they logged in: another one and it is over, whatever stands below
  generation integer not null default 1,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  ended_by text check (ended_by in ('logout', 'reuse', 'password')),
  constraint login_ended check ((ended_at is null) = (ended_by is null))
);
alter table core.login enable row level security;
alter table core.login force row level security;
revoke all on table core.login from public, agentos_app, agentos_system;
call core.system_access('core.login', 'select, insert, update, delete');
create index login_user on core.login (user_id);
create index login_expires on core.login (expires_at);

-- What opens one WebSocket within 30 s, on whatever host. Made by a tenant; found by its hash before the tenant is known.
create table core.ws_ticket (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  id uuid not null default core.uuidv7(),
  hash bytea not null unique check (length(hash) = 32),
  -- what the connection is authorised by from then on (core/auth/credential.ts), sealed: who can write rows makes no ticket
  credential text not null check (length(credential) <= 4096),
  expires_at timestamptz not null default now() + interval '30 seconds',
  primary key (tenant_id, id)
);
call core.isolate('core.ws_ticket', 'insert');
call core.system_access('core.ws_ticket', 'select, delete');
create index ws_ticket_expires on core.ws_ticket (expires_at);
