-- The answer to a request that came with an Idempotency-Key, written in the transaction of its effect.
create table core.idempotency (
  tenant_id uuid not null default core.tenant(),
  key text not null,
  fingerprint bytea not null check (length(fingerprint) = 32), -- SHA-256 of method, path and body
  status integer not null,
  body json, -- json, not jsonb: the replayed answer has its keys in the first answer's order
  headers jsonb not null default '{}',
  created_at timestamptz not null default now(),
  primary key (tenant_id, key)
);
call core.isolate('core.idempotency', 'select, insert');
call core.system_access('core.idempotency', 'select, delete'); -- the sweep
create index idempotency_sweep on core.idempotency (created_at);
