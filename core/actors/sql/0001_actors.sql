-- The durable side of the actor host: a room's own table becomes an actor table, and these three hold what every kind shares.

-- One row per move; together they are an actor's history.
create table core.transition (
  tenant_id uuid not null default core.tenant(),
  actor_id uuid not null,
  n integer not null, -- 1, 2, 3 ... per actor
  from_state text not null,
  to_state text not null,
  cause text not null check (cause in ('command', 'step', 'gate', 'timer', 'recovery')),
  by text not null,
  epoch integer not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, actor_id, n)
);
call core.isolate('core.transition', 'select, insert, delete');
call core.system_access('core.transition', 'insert'); -- the claim writes the arrow that a granted slot makes

-- The recorded outcome of an effect: a second outcome for the same key is not written, and the first is replayed.
create table core.journal (
  tenant_id uuid not null default core.tenant(),
  actor_id uuid not null,
  key text not null,
  record jsonb not null,
  epoch integer not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, actor_id, key)
);
call core.isolate('core.journal', 'select, insert, delete');

-- Commands for an actor that a host holds. The host writes the outcome in the commit that takes the command.
create table core.inbox (
  tenant_id uuid not null default core.tenant(),
  actor_id uuid not null,
  id uuid not null,
  kind text not null,
  event jsonb not null,
  by text not null,
  at timestamptz not null default clock_timestamp(),
  outcome text check (outcome in ('applied', 'refused')),
  state text, -- the actor's state after it
  primary key (tenant_id, actor_id, id)
);
create index inbox_open on core.inbox (kind, at) where outcome is null;
create index inbox_answered on core.inbox (at) where outcome is not null; -- for the sweep
call core.isolate('core.inbox', 'select, insert, update, delete');
call core.system_access('core.inbox', 'select, delete'); -- delete: the sweep

-- Makes a room's table an actor table. lease_until: null = nobody needs to run it; -infinity = wake it up;
-- a time = leased until then by lease_owner (database clock). queued_at: waits for a slot since then.
create procedure core.actor_table(tbl regclass) language plpgsql as $$
declare
  name text := (select relname from pg_class where oid = tbl);
begin
  execute format('alter table %s
    add column state text not null,
    add column context jsonb not null,
    add column epoch integer not null default 0,
    add column version integer not null default 0,
    add column moves integer not null default 0,
    add column breaks smallint not null default 0, -- activations in a row that broke off without a commit
    add column band smallint not null default 1,
    add column queued_at timestamptz,
    add column slotted boolean not null default false,
    add column lease_owner uuid,
    add column lease_until timestamptz,
    add column created_at timestamptz not null default clock_timestamp(),
    add column started_at timestamptz,
    add column ended_at timestamptz', tbl);
  -- An expression that only this index knows: asked for by tenant_id, the planner may take the primary key where tenants
  -- are many, and then a claim reads and sorts every session that a big tenant ever had.
  execute format('create index %I on %s ((case when queued_at is not null then tenant_id end), band desc, queued_at)
    where queued_at is not null', name || '_queued', tbl);
  execute format('create index %I on %s (lease_until) where lease_until is not null', name || '_leased', tbl);
  -- lists by state look at the living; the finished are the bulk and are paged by id
  execute format('create index %I on %s (tenant_id, state, id) where ended_at is null', name || '_living', tbl);
  execute format('alter table %s set (fillfactor = 80)', tbl);
  call core.system_access(tbl, 'select, update');
end $$;
