create schema pulse;

-- A session's row is also its actor's: state, epoch, lease and place in the queue are added by core.actor_table.
create table pulse.session (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  name text,
  agent text,
  config jsonb not null, -- as sent, parsed; never changes
  pinned jsonb not null, -- { skills: exact versions, durationMs: the limit in force }
  deadline timestamptz,
  result jsonb,
  result_digest text, -- a result above 64 KiB lies in the object store
  primary key (tenant_id, id)
);
call core.isolate('pulse.session', 'select, insert, update, delete');
call core.actor_table('pulse.session');

create table pulse.checkpoint (
  tenant_id uuid not null default core.tenant(),
  id uuid not null,
  session_id uuid not null,
  name text,
  step text not null, -- the step it stands after
  snapshot jsonb not null, -- the machine's context; the outputs are in the journal up to `step`
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id),
  foreign key (tenant_id, session_id) references pulse.session (tenant_id, id) on delete cascade
);
create index checkpoint_session on pulse.checkpoint (tenant_id, session_id, id);
call core.isolate('pulse.checkpoint', 'select, insert, delete');
