-- Secrets at rest. A value is sealed with its tenant's data key (AES-256-GCM, AAD tenant|id|name|version), a data key is
-- wrapped by a key encryption key that is never in the database (AAD tenant|kek version).
create schema vault;

create table vault.data_key (
  tenant_id uuid not null default core.tenant() references core.tenants (tenant_id),
  generation integer not null check (generation > 0), -- the highest seals; older ones only open what they sealed
  kek_version integer not null check (kek_version > 0),
  wrapped bytea not null check (length(wrapped) between 32 and 4096), -- a KMS answers with more than we do
  used bigint not null default 0 check (used >= 0), -- values sealed: random nonces are safe for 2^32 of them
  created_at timestamptz not null default now(),
  rewrapped_at timestamptz,
  primary key (tenant_id, generation)
);
-- A server does not start while a data key's KEK is missing, so that no tenant may say what a data key is: it counts.
call core.isolate('vault.data_key', 'select, update');
call core.permit_columns('vault.data_key', 'update', 'used', 'agentos_app');
-- Makes them, rotation of the KEK reads and re-wraps across tenants, doctor reads, crypto-shred deletes.
call core.system_access('vault.data_key', 'select, insert, update, delete');
create index data_key_kek on vault.data_key (kek_version, tenant_id, generation);

-- Shred of a data key takes with it what nobody can open any more.
create table vault.secret (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  name text not null check (name ~ '^[A-Z][A-Z0-9_]{0,63}$'),
  version integer not null check (version > 0),
  generation integer not null,
  sealed bytea not null,
  previous_generation integer, -- of version - 1, kept by a rotation until the next change
  previous_sealed bytea,
  created_at timestamptz not null default now(),
  rotated_at timestamptz,
  last_used_at timestamptz, -- to the minute
  primary key (tenant_id, id),
  unique (tenant_id, name),
  check (previous_sealed is null or previous_generation is not null),
  foreign key (tenant_id, generation) references vault.data_key (tenant_id, generation) on delete cascade,
  foreign key (tenant_id, previous_generation) references vault.data_key (tenant_id, generation) on delete cascade
);
call core.isolate('vault.secret', 'select, insert, update, delete');
create index secret_list on vault.secret (tenant_id, created_at desc, id desc);
create index secret_generation on vault.secret (tenant_id, generation);
create index secret_previous_generation on vault.secret (tenant_id, previous_generation);

create table vault.secret_grant (
  tenant_id uuid not null default core.tenant(),
  secret_id uuid not null,
  kind text not null check (kind in ('skill', 'agent')),
  grantee text not null check (length(grantee) between 1 and 200), -- a skill's @scope/name, an agent's name
  hosts text[] check (cardinality(hosts) between 1 and 20), -- null: wherever the grantee may send requests
  created_at timestamptz not null default now(),
  primary key (tenant_id, secret_id, kind, grantee),
  foreign key (tenant_id, secret_id) references vault.secret (tenant_id, id) on delete cascade
);
call core.isolate('vault.secret_grant', 'select, insert, update, delete');
