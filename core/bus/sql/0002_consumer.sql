-- What a consumer listens to, as its newest host declared it: any host's relay marks for all of them.
create table core.consumer_kind (
  name text primary key,
  types text[] not null
);
alter table core.consumer_kind enable row level security;
alter table core.consumer_kind force row level security;
call core.system_access('core.consumer_kind', 'select, insert, update');

-- How far a consumer came in one tenant's stream. Its handler's transaction locks and moves it: once in the tables.
create table core.consumer (
  tenant_id uuid not null default core.tenant(),
  name text not null,
  seq bigint not null default 0,
  failing_seq bigint, -- the event that is being retried
  attempts int not null default 0, -- failed attempts at failing_seq
  last_error text,
  retry_at timestamptz, -- no host handles anything before
  primary key (tenant_id, name)
);
call core.isolate('core.consumer', 'select, insert, update');
call core.system_access('core.consumer', 'select, insert, update');

-- "There is something for this consumer up to seq." Apart from core.consumer, because the relay must never wait for
-- the row that a slow handler keeps locked.
create table core.consumer_wanted (
  tenant_id uuid not null,
  name text not null,
  seq bigint not null,
  not_before timestamptz not null default clock_timestamp(), -- later than now while a failed handler backs off
  primary key (tenant_id, name)
);
create index consumer_wanted_due on core.consumer_wanted (not_before);
alter table core.consumer_wanted enable row level security;
alter table core.consumer_wanted force row level security;
call core.system_access('core.consumer_wanted', 'select, insert, update, delete');

-- An event whose handler failed every attempt; the consumer went on without it.
create table core.dead_letter (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  consumer text not null,
  event_id uuid not null,
  seq bigint not null,
  type text not null,
  error text not null,
  attempts int not null,
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id),
  unique (tenant_id, consumer, event_id)
);
call core.isolate('core.dead_letter', 'select, insert, delete');
