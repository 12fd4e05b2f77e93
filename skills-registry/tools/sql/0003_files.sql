-- The workspace of a session: files by path. Their bytes lie in the tenant's object store, in parts, so that an append
-- stores what is new and not the whole file again.
create table tools.file (
  tenant_id uuid not null default core.tenant(),
  session_id uuid not null,
  path text collate "C" not null,
  folded text collate "C" not null, -- the same for every path that some file system takes for this one
  parts jsonb not null, -- [{digest, bytes}] in order
  bytes integer not null check (bytes >= 0),
  version bigint not null check (version >= 1), -- of the workspace, at the last write
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, session_id, path),
  unique (tenant_id, session_id, folded)
);
call core.isolate('tools.file', 'select, insert, update, delete');

-- What a workspace has used: locked by whoever writes, so that the sums are exact and appends come one after the other.
create table tools.workspace (
  tenant_id uuid not null default core.tenant(),
  session_id uuid not null,
  version bigint not null default 0, -- writes so far
  files integer not null default 0,
  bytes bigint not null default 0, -- of its files
  stored bigint not null default 0, -- put into the object store in all, what was overwritten or deleted since included
  primary key (tenant_id, session_id)
);
call core.isolate('tools.workspace', 'select, insert, update');
