-- The audit log. A row is written in the transaction that it tells of and counted there; the sealer hashes it into its
-- tenant's chain within a second (core/audit/README.md).
create schema audit;

-- Append only: no role has update or delete, and the trigger below says no to whoever has.
create table audit.entry (
  tenant_id uuid not null default core.tenant(),
  id uuid not null default core.uuidv7(), -- rises with time: pages and time filters go by it
  at timestamptz not null default clock_timestamp(),
  action text not null check (length(action) <= 100 and action ~ '^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$'),
  subject text not null check (length(subject) between 1 and 300),
  -- who, through which request and from where: of the transaction's claims, whatever the statement says
  actor_kind text not null default 'system' check (actor_kind in ('key', 'user', 'skill', 'rule', 'operator', 'system')),
  actor_id text not null default 'agentos' check (length(actor_id) between 1 and 200),
  request_id text,
  from_address text,
  before_digest bytea check (length(before_digest) = 32), -- sha256 of canonical JSON: it changed, never what it was
  after_digest bytea check (length(after_digest) = 32),
  details jsonb not null default '{}' check (jsonb_typeof(details) = 'object' and octet_length(details::text) <= 8192),
  primary key (tenant_id, id)
);
create index entry_subject on audit.entry (tenant_id, subject, id); -- "what happened to this key"
call core.isolate('audit.entry', 'select, insert');
call core.system_access('audit.entry', 'select, insert');

-- What one transaction wrote into the log, in order; it is there until those rows are sealed. The row is the
-- transaction's own: no transaction waits for another's. A row that vanishes before it is sealed is missed here.
create table audit.tally (
  tenant_id uuid not null default core.tenant(),
  xid xid8 not null default pg_current_xact_id(),
  entry_ids uuid[] not null check (cardinality(entry_ids) > 0),
  primary key (tenant_id, xid)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
call core.isolate('audit.tally', 'select, insert, update');
call core.system_access('audit.tally', 'select, insert, update, delete');
-- a tenant's transaction counts its own rows and nobody else's
create policy tally_own_insert on audit.tally as restrictive for insert to agentos_app
  with check (xid = pg_current_xact_id());
create policy tally_own_update on audit.tally as restrictive for update to agentos_app
  using (xid = pg_current_xact_id()) with check (xid = pg_current_xact_id());

-- The chain: one link per row of the log, in the order of the transactions. hash = sha256(hash before || the row).
create table audit.seal (
  tenant_id uuid not null default core.tenant(),
  seq bigint not null check (seq > 0),
  entry_id uuid,
  fault jsonb, -- what the sealer found instead of a row
  hash bytea not null check (length(hash) = 32),
  sealed_at timestamptz not null default clock_timestamp(),
  signature bytea check (length(signature) = 64), -- ed25519, on the last link of each batch
  primary key (tenant_id, seq),
  unique (tenant_id, entry_id),
  check ((entry_id is null) <> (fault is null))
);
create index seal_fault on audit.seal (tenant_id, seq) where fault is not null;
call core.isolate('audit.seal', 'select');
call core.system_access('audit.seal', 'select, insert');

-- Counts the row into its transaction and says who: what the claims were signed with counts, not what the SQL says.
-- A transaction without a tenant is the server's own (core.system_access) and names the actor itself.
-- The setting spares the first row of a transaction an `on conflict`, whose policies cost as much as the insert; it goes
-- with its savepoint as the count does, and where it does not tell the truth the insert fails or the update finds nothing.
create function audit.count_entry() returns trigger
  language plpgsql
as $$
declare
  claims text := pg_catalog.current_setting('request.jwt.claims', true);
  counting text := pg_catalog.current_setting('agentos.audited', true);
  actor jsonb;
begin
  new.at := pg_catalog.clock_timestamp();
  if coalesce(pg_catalog.current_setting('agentos.tenant', true), '') <> '' then
    if claims <> '' then
      actor := claims::jsonb -> 'actor';
    end if;
    new.actor_kind := coalesce(actor ->> 'kind', 'system');
    new.actor_id := coalesce(actor ->> 'id', 'agentos');
    new.request_id := actor ->> 'requestId';
    new.from_address := actor ->> 'from';
  end if;
  if counting = new.tenant_id::text then
    update audit.tally set entry_ids = entry_ids || new.id
    where tenant_id = new.tenant_id and xid = pg_catalog.pg_current_xact_id();
    if found then
      return new;
    end if;
  end if;
  if counting <> '' then -- a transaction of the server's own may touch several tenants
    insert into audit.tally (tenant_id, entry_ids) values (new.tenant_id, array[new.id])
    on conflict (tenant_id, xid) do update set entry_ids = audit.tally.entry_ids || excluded.entry_ids;
  else
    insert into audit.tally (tenant_id, entry_ids) values (new.tenant_id, array[new.id]);
  end if;
  perform pg_catalog.set_config('agentos.audited', new.tenant_id::text, true);
  return new;
end
$$;
revoke execute on function audit.count_entry() from public;
create trigger count_entry before insert on audit.entry for each row execute function audit.count_entry();

-- Also for the owner and a superuser, who would have to switch triggers off (and the chain would still tell).
-- The one way out: a tenant whose time to be erased has come.
create function audit.refuse_change() returns trigger
  language plpgsql
as $$
begin
  if tg_op = 'DELETE' then
    if exists (select from core.tenants t where t.tenant_id = old.tenant_id and t.erase_at <= pg_catalog.now()) then
      return old;
    end if;
  end if;
  raise insufficient_privilege using message = 'the audit log is append only';
end
$$;
revoke execute on function audit.refuse_change() from public;
create trigger append_only before update or delete on audit.entry for each row execute function audit.refuse_change();
create trigger append_only before update or delete on audit.seal for each row execute function audit.refuse_change();
create trigger append_only_all before truncate on audit.entry execute function audit.refuse_change();
create trigger append_only_all before truncate on audit.seal execute function audit.refuse_change();
