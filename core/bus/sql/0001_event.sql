-- One table is outbox and history: a row is written in the sender's transaction without seq; the relay numbers it later.
create table core.event (
  tenant_id uuid not null default core.tenant(),
  id uuid not null, -- UUIDv7 from one counter per process: the order of events inside one transaction
  stream text not null default 'tenant' check (stream in ('tenant', 'platform')),
  -- generated, so nobody can write into another tenant's stream; the platform's stream is the zero uuid
  stream_id uuid not null generated always as (
    case stream when 'platform' then '00000000-0000-0000-0000-000000000000'::uuid else tenant_id end) stored,
  -- given before its transaction commits: a transaction that began after another's commit has the larger one
  xid xid8 not null default pg_current_xact_id(),
  type text not null,
  subject text not null,
  data jsonb not null,
  at timestamptz not null default clock_timestamp(),
  seq bigint,
  primary key (tenant_id, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

create index event_unsequenced on core.event (stream_id, xid, id) where seq is null;
create unique index event_history on core.event (stream_id, seq);
create index event_subject on core.event (stream_id, subject, seq) where seq is not null; -- one session's events

call core.isolate('core.event', 'select, insert');
call core.system_access('core.event', 'select, insert, update, delete');
-- a tenant's transaction writes only what the relay has not numbered yet
create policy event_outbox on core.event as restrictive for insert to agentos_app with check (seq is null);

-- One row per stream, made by the relay at the stream's first event. Whoever locks it is the stream's one relay.
create table core.stream (
  stream_id uuid primary key,
  last_seq bigint not null default 0,
  oldest_seq bigint not null default 1 -- the first seq that retention left
);
insert into core.stream (stream_id) values ('00000000-0000-0000-0000-000000000000'); -- before force: it binds the owner too
alter table core.stream enable row level security;
alter table core.stream force row level security;
call core.system_access('core.stream', 'select, insert, update');
