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
  entry_ids uuid[] not null check (cardinality(entry_ids) between 1 and 10000),
  primary key (tenant_id, xid)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
call core.isolate('audit.tally', 'select, insert, update');
call core.system_access('audit.tally', 'select, insert, update, delete');
-- a tenant's transaction counts its own rows and nobody else's
create policy tally_own_insert on audit.tally as restrictive for insert to agentos_app
  with check (xid = pg_current_xact_id());
create policy tally_own_update on audit.tally as restrictive for update to agentos_app
  using (xid = pg_current_xact_id()) with check (xid = pg_current_xact_id());

-- Who may write the count may not take anything back or count what is not there: a row that is no longer counted would
-- never be sealed, and a counted one that is not there is a fault for ever. What count_entry says needs no look.
create function audit.check_tally() returns trigger
  language plpgsql
as $$
declare
  known pg_catalog.int4 := 0;
begin
  if pg_catalog.pg_trigger_depth() operator(pg_catalog.>) 1
    or pg_catalog.pg_has_role('agentos_system', 'usage') then -- its policies and the sealer bind that one
    return new;
  end if;
  if tg_op operator(pg_catalog.=) 'UPDATE' then
    known := pg_catalog.cardinality(old.entry_ids);
    if new.entry_ids[1:known] operator(pg_catalog.<>) old.entry_ids then
      raise insufficient_privilege using message = 'what is counted stays counted';
    end if;
  end if;
  if exists (select from pg_catalog.unnest(new.entry_ids[known operator(pg_catalog.+) 1:]) u (id)
    where not exists (select from audit.entry e
      where e.tenant_id operator(pg_catalog.=) new.tenant_id and e.id operator(pg_catalog.=) u.id)) then
    raise insufficient_privilege using message = 'only rows that are there are counted';
  end if;
  return new;
end
$$;
revoke execute on function audit.check_tally() from public;
create trigger check_tally before insert or update on audit.tally for each row execute function audit.check_tally();

-- Who holds a tenant's row here is its sealer. No advisory lock: any login could take that one and end the seals.
create table audit.chain (
  tenant_id uuid primary key default core.tenant()
);
call core.close_table('audit.chain'); -- nothing for agentos_app: not to read, so not to lock
call core.system_access('audit.chain', 'select, insert, update');

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
-- The check is here, at the very row: the policies ask once a statement, and a statement can change settings between rows.
-- agentos_system has no tenant and names the actor itself.
-- The setting spares the first row of a transaction an `on conflict`, whose policies cost as much as the insert; it goes
-- with its savepoint as the count does, and where it does not tell the truth the insert fails or the update finds nothing.
create function audit.count_entry() returns trigger
  language plpgsql
as $$
declare
  counting pg_catalog.text := pg_catalog.current_setting('agentos.audited', true);
  actor pg_catalog.jsonb;
begin
  new.id := core.uuidv7();
  new.at := pg_catalog.clock_timestamp();
  if not pg_catalog.pg_has_role('agentos_system', 'usage') then
    if new.tenant_id operator(pg_catalog.<>) core.tenant() then
      raise insufficient_privilege using message = 'the row is not of the tenant of this transaction';
    end if;
    actor := nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb
      operator(pg_catalog.->) 'actor';
    new.actor_kind := coalesce(actor operator(pg_catalog.->>) 'kind', 'system');
    new.actor_id := coalesce(actor operator(pg_catalog.->>) 'id', 'agentos');
    new.request_id := actor operator(pg_catalog.->>) 'requestId';
    new.from_address := actor operator(pg_catalog.->>) 'from';
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
