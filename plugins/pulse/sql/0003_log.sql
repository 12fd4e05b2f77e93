-- What the tools of a session said while they ran, and why they failed.
create table pulse.log (
  tenant_id uuid not null default core.tenant(),
  session_id uuid not null,
  id uuid not null, -- UUIDv7: the order in which the lines were said
  step text not null,
  undo boolean not null, -- by the tool that took the step back
  attempt integer not null,
  n integer not null, -- of the attempt's lines
  level text not null check (level in ('debug', 'info', 'warn', 'error')),
  message text not null,
  at timestamptz not null, -- by the clock of the host
  primary key (tenant_id, session_id, id),
  unique (tenant_id, session_id, step, undo, attempt, n), -- an attempt that runs again after a crash says it all again
  foreign key (tenant_id, session_id) references pulse.session (tenant_id, id) on delete cascade
);
call core.isolate('pulse.log', 'select, insert, delete');

-- How far the running step said it is, as a percentage of the session. Not in the context, which its host writes whole.
alter table pulse.session add column pct smallint not null default 0;
