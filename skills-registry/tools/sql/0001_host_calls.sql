-- What the tools of installed skills asked of the host. Texts are exact, as they crossed the sandbox's wall: jsonb would
-- write them anew, and a replay compares bytes.
create schema tools;

-- The journal of a tool call: written before its guest hears the answer, in the transaction of the effect where that is ours.
create table tools.host_call (
  tenant_id uuid not null default core.tenant(),
  session_id uuid not null,
  call_key text collate "C" not null, -- '<effect key>#<attempt>'; of a called tool '<the caller's>/<n>'
  n integer not null check (n >= 1), -- in program order
  name text not null, -- 'fetch', 'storage.get'
  args text not null,
  ok boolean not null,
  answer text not null, -- JSON of the value, or of {code, message}
  landed integer not null check (landed >= 1), -- its place in the order of answers
  digest text not null, -- sha256 hex over all of the above, for whoever changes a row later
  time bigint not null, -- epoch ms: what the call saw as now
  call jsonb, -- the record of the tool call that it made
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, session_id, call_key, n)
);
call core.isolate('tools.host_call', 'select, insert, delete');
