-- Tenants and their members. Rooms that keep a row per tenant (streams, slots) make it in an `after insert` trigger on
-- core.tenants of their own migration: whoever creates a tenant cannot forget one.
create table core.tenants (
  tenant_id uuid primary key, -- its own id: the policy of every other table fits here too
  name text not null check (length(name) between 1 and 200),
  slug text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  plan text not null, -- a name in config/plans.json
  settings jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
  agent_limit integer check (agent_limit >= 0), -- null: what the plan says
  cell text not null default 'default', -- which database and hosts the tenant lives on, once there are several
  region text not null default 'default',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
call core.isolate('core.tenants', 'select, update');
call core.system_access('core.tenants', 'select, insert, update');

create table core.member (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  user_id uuid not null,
  role text not null check (role in ('owner', 'admin', 'member', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (tenant_id, user_id)
);
call core.isolate('core.member', 'select, insert, update, delete');
-- A user's token names no tenant: which ones they belong to is asked before there is one.
call core.system_access('core.member', 'select, insert');
create index member_user on core.member (user_id);
