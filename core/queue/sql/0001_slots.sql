-- How many actors of a class a tenant may run at once, how many wait, and whose turn it is.
-- The claim takes slots by `turn`, so tenants go round whatever the length of their queues.
create table core.slot (
  tenant_id uuid not null default core.tenant(),
  class text not null,
  max integer, -- null = unlimited
  running integer not null default 0 check (running >= 0),
  queued integer not null default 0 check (queued >= 0),
  queue_max integer not null,
  turn timestamptz not null default clock_timestamp(),
  primary key (tenant_id, class)
);
create index slot_turn on core.slot (class, turn) where queued > 0;
alter table core.slot set (fillfactor = 50); -- updated with every claim and release
call core.isolate('core.slot', 'select, insert, update');
call core.system_access('core.slot', 'select, update');
