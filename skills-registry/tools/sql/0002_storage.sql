-- What skills keep between sessions: one map of keys to JSON per tenant and skill name, for all versions of the skill.
create table tools.storage (
  tenant_id uuid not null default core.tenant(),
  skill text collate "C" not null, -- '@scope/name'
  key text collate "C" not null, -- data, never a path; pages go by it, in the order of its UTF-8 bytes
  value text not null, -- the JSON text as it came: jsonb would write it anew
  version bigint not null check (version >= 1),
  bytes integer not null check (bytes >= 1), -- of value
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, skill, key)
);
call core.isolate('tools.storage', 'select, insert, update, delete');

-- What a skill has used of its quota: locked by whoever writes, so that the sums are exact and a version comes once. It
-- stays when the last key goes: a key that comes back does not get a version that it had before.
create table tools.storage_use (
  tenant_id uuid not null default core.tenant(),
  skill text collate "C" not null,
  version bigint not null default 0, -- the highest that was given
  keys integer not null default 0,
  bytes bigint not null default 0, -- of keys and values
  blocks integer not null default 0, -- what it took of the tenant's total, in blocks: capabilities/storage-store.ts
  primary key (tenant_id, skill)
);
call core.isolate('tools.storage_use', 'select, insert, update');
