-- The registry: whose a scope is, what was published, in which order, and what each tenant installed.
-- The bytes of a package lie in the object store under platform/; rows hold their digests.
create schema registry;

-- A scope belongs to who published under it first. Public: a name that is taken is seen to be taken.
create table registry.scope (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  id uuid not null,
  scope text not null unique check (scope ~ '^[a-z0-9-]{1,64}$'),
  verified boolean not null default false, -- of a verified publisher: its code may run with JIT
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
call core.isolate_shared('registry.scope', 'select, insert', 'true');

-- Public keys (SPKI, base64) that speak for a scope. The first one is trusted on first use.
create table registry.author_key (
  tenant_id uuid not null default core.tenant(),
  scope_id uuid not null,
  key_id text not null check (key_id ~ '^[0-9a-f]{64}$'),
  spki text not null,
  added_at timestamptz not null default now(),
  primary key (tenant_id, scope_id, key_id),
  foreign key (tenant_id, scope_id) references registry.scope (tenant_id, id)
);
call core.isolate_shared('registry.author_key', 'select, insert', 'true');

create table registry.skill (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  scope_id uuid not null,
  name text not null unique,
  description text not null,
  latest text not null, -- the highest version that is no pre-release, else the highest
  visibility text not null default 'public' check (visibility in ('public', 'private')),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, scope_id) references registry.scope (tenant_id, id)
);
create index skill_list on registry.skill (created_at desc, id desc);
call core.isolate_shared('registry.skill', 'select, insert, update', 'visibility = ''public''');

-- Immutable: no update of what was published, only of what may still be done with it (state).
create table registry.version (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  skill_id uuid not null,
  name text not null,
  version text not null,
  digest text not null check (digest ~ '^sha256:[0-9a-f]{64}$'),
  size_bytes int not null check (size_bytes > 0),
  manifest jsonb not null,
  bundle text not null, -- as signed, byte by byte: jsonb would write it anew
  author_key_id text not null,
  log_index bigint not null,
  state text not null default 'published' check (state in ('published', 'held', 'yanked', 'revoked')),
  visibility text not null default 'public' check (visibility in ('public', 'private')),
  published_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (name, version),
  foreign key (tenant_id, skill_id) references registry.skill (tenant_id, id)
);
call core.isolate_shared('registry.version', 'select, insert', 'visibility = ''public''');

-- The order of everything that happened, without gaps: the leaves of the Merkle log (RFC 6962: sha256(0x00 || entry)).
create table registry.log (
  tenant_id uuid not null default core.tenant(),
  log_index bigint primary key check (log_index >= 0),
  entry text not null,
  leaf_hash bytea not null check (length(leaf_hash) = 32),
  appended_at timestamptz not null default now()
);
call core.isolate_shared('registry.log', 'select, insert', 'true');

-- What a tenant installed: one exact digest each. Several versions of one skill may stand side by side.
create table registry.install (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  name text not null,
  version text not null,
  digest text not null,
  range text not null,
  permissions jsonb not null, -- the grant: what the tenant allows of what the manifest asks
  verified boolean not null,
  installed_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, name, version)
);
create index install_list on registry.install (tenant_id, installed_at desc, id desc);
call core.isolate('registry.install', 'select, insert, delete');
