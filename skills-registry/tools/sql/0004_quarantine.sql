-- Skill versions that end the process that runs them: counted per tenant and digest, stopped at the third in ten minutes.

-- One call whose own fault ended its cell. Kept for a day; the quarantine that they led to has its own copy.
create table tools.crash (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  digest text not null,
  skill text not null, -- '@scope/name'
  version text not null,
  session_id uuid not null,
  step text not null,
  code text not null, -- SANDBOX_KILLED, SANDBOX_MEMORY
  reason text not null, -- the sandbox's word for it: 'cpuMs', 'memory', 'crash'
  at timestamptz not null default now(),
  primary key (tenant_id, id)
);
call core.isolate('tools.crash', 'select, insert, delete');
create index crash_recent on tools.crash (tenant_id, digest, at);
create index crash_old on tools.crash (tenant_id, at);

create table tools.quarantine (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  digest text not null,
  skill text not null,
  version text not null,
  skill_id uuid not null, -- the installation that ran
  since timestamptz not null default now(),
  explanation text not null,
  crashes jsonb not null check (jsonb_typeof(crashes) = 'array'),
  lifted_at timestamptz,
  lifted_by text, -- 'key:<id>', 'user:<id>' of Tenant Zero
  lift_reason text check (length(lift_reason) between 1 and 500),
  primary key (tenant_id, id),
  check ((lifted_at is null) = (lifted_by is null) and (lifted_at is null) = (lift_reason is null))
);
call core.isolate('tools.quarantine', 'select, insert');
-- The operator sees what stands still and lifts it; no tenant lifts its own.
call core.system_access('tools.quarantine', 'select, update');
create unique index quarantine_open on tools.quarantine (tenant_id, digest) where lifted_at is null;
create index quarantine_digest on tools.quarantine (tenant_id, digest, lifted_at);
create index quarantine_id on tools.quarantine (id);
