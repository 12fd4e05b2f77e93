import type { Clock } from '#core/clock.ts'
import type { Db, Tx } from '#core/db/types.ts'
import type { DoctorCheck, Verdict } from '#core/doctor/doctor.ts'
import { ChainWalker } from './chain.ts'
import type { AuditLog } from './service.ts'
import { findHead, linksAfter } from './store/log.ts'

/** What `agentos doctor tenancy` asks of the audit log. All as agentos_system: counts and numbers, no row's content. */
export function auditChecks(db: Db, audit: AuditLog, clock: Clock, budgetMs = BUDGET_MS): DoctorCheck[] {
  // Where there are more chains than the time is enough for, the next run goes on after them.
  let after: string | null = null
  return [
    {
      name: 'audit.append-only',
      title: 'audit rows can be neither changed nor deleted',
      run: async () => {
        const holes = await db.system(findHoles)
        if (holes.length === 0) return { ok: true, detail: 'no grant to change them, and the triggers stand' }
        return {
          ok: false,
          detail: holes.join(', '),
          fix: 'find who changed the schema, and restore it from core/audit/sql'
        }
      }
    },
    {
      name: 'audit.sealed',
      title: 'audit rows are sealed within seconds',
      run: async () => {
        const { waiting, oldestMs } = await db.system(findLag)
        const detail = `${waiting} transactions wait for their seal, the oldest for ${(oldestMs / 1000).toFixed(1)} s`
        if (oldestMs < LAG_MS) return { ok: true, detail }
        return { ok: false, detail, fix: 'look for "could not be sealed" in the logs of the hosts' }
      }
    },
    {
      name: 'audit.chain',
      title: `each tenant's chain ends as it was signed, its last ${LINKS} rows are what was sealed, all new ones are counted`,
      limitMs: BUDGET_MS + 10_000,
      run: async () => {
        const end = clock.monotonic() + budgetMs
        const { verdict, last } = await checkChains(db, audit, after, () => clock.monotonic() < end)
        after = last
        return verdict
      }
    }
  ]
}

/** Ten times what the sealer takes at most. */
const LAG_MS = 10_000
const LINKS = 100
const NEWEST = 1000
const BUDGET_MS = 20_000

async function findHoles(tx: Tx): Promise<string[]> {
  const rows = await tx<{ hole: string }[]>`
    with log (name) as (values ('audit.entry'), ('audit.seal'))
    select role || ' may ' || verb || ' ' || name as hole
    from log cross join (values ('agentos_app'), ('agentos_system')) r (role)
    cross join (values ('update'), ('delete'), ('truncate')) v (verb)
    -- of single columns, too; there is no such grant of delete and truncate
    where case verb when 'update' then has_any_column_privilege(role, name, verb) else has_table_privilege(role, name, verb) end
      -- erasing a tenant (core.isolate): behind a policy, and the trigger looks again
      and not (role = 'agentos_system' and verb = 'delete')
    union all
    select 'the trigger ' || t.tgname || ' of ' || log.name || ' is missing or off' from log
    cross join (values ('append_only', 27), ('append_only_all', 34)) t (tgname, tgtype)
    where not exists (
      select from pg_trigger g join pg_proc p on p.oid = g.tgfoid
      where g.tgrelid = log.name::regclass and g.tgname = t.tgname and g.tgtype = t.tgtype and g.tgenabled in ('O', 'A')
        and p.oid = 'audit.refuse_change'::regproc and p.prosrc like '%raise insufficient_privilege%')
    union all
    select what from (values
      ('audit.entry', 'count_entry', 'rows are not counted any more'),
      ('audit.tally', 'check_tally', 'a tenant may change what it counted')
    ) t (name, trigger, what) where not exists (
      select from pg_trigger where tgrelid = t.name::regclass and tgname = t.trigger and tgenabled in ('O', 'A'))
    union all
    select role || ' may ' || verb || ' ' || name from (values
      ('agentos_app', 'audit.tally', 'delete'), ('agentos_app', 'audit.tally', 'truncate'),
      ('agentos_app', 'audit.chain', 'select'), ('agentos_app', 'audit.chain', 'update'),
      ('agentos_app', 'audit.chain', 'delete'), ('agentos_app', 'audit.chain', 'truncate')
    ) g (role, name, verb) where has_table_privilege(role, name, verb)
    union all
    select 'session_replication_role is ' || current_setting('session_replication_role')
    where current_setting('session_replication_role') <> 'origin'`
  return rows.map((row) => row.hole)
}

async function findLag(tx: Tx): Promise<{ waiting: number; oldestMs: number }> {
  const [row] = await tx<{ waiting: number; oldestMs: number }[]>`
    select count(*)::int as waiting,
      coalesce(extract(epoch from clock_timestamp() - min(e.at)) * 1000, 0)::float8 as "oldestMs"
    from audit.tally t left join audit.entry e on e.tenant_id = t.tenant_id and e.id = t.entry_ids[1]
    where not exists (select from core.tenants o where o.tenant_id = t.tenant_id and o.erase_at <= now()
      and o.erased_at is null)`
  return row ?? { waiting: 0, oldestMs: 0 }
}

/**
 * As many chains as there is time for.
 * @param after begins behind this tenant and goes round
 * @returns `last`: the last one looked at; null where all were
 */
async function checkChains(
  db: Db,
  audit: AuditLog,
  after: string | null,
  hasTime: () => boolean
): Promise<{ verdict: Verdict; last: string | null }> {
  const ids = await db.system((tx) => findChains(tx, after))
  if (ids.length === 0) return { verdict: { ok: 'unknown', detail: 'nothing is written yet' }, last: null }
  const broken: string[] = []
  let looked = 0
  for (const id of ids) {
    if (!hasTime()) break
    const what = await faultOf(db, audit, id)
    if (what !== undefined) broken.push(`tenant ${id}: ${what}`)
    looked += 1
  }
  const last = looked < ids.length ? (ids[looked - 1] ?? after) : null
  const detail = `${looked} of ${ids.length} chains`
  if (broken.length === 0) return { verdict: { ok: looked > 0 ? true : 'unknown', detail }, last }
  return {
    verdict: {
      ok: false,
      detail: `${broken.length} broken; looked at ${detail}; ${broken.slice(0, 2).join('; ')}`,
      fix: 'run `agentos audit verify --since` with the last export, as that tenant'
    },
    last
  }
}

async function findChains(tx: Tx, after: string | null): Promise<string[]> {
  const rows = await tx<{ id: string }[]>`
    select t.tenant_id as id from core.tenants t
    where exists (select from audit.entry e where e.tenant_id = t.tenant_id)
      or exists (select from audit.tally c where c.tenant_id = t.tenant_id)
      or exists (select from audit.seal s where s.tenant_id = t.tenant_id)
    order by ${after === null ? tx`` : tx`t.tenant_id <= ${after},`} t.tenant_id`
  return rows.map(({ id }) => id)
}

async function faultOf(db: Db, audit: AuditLog, id: string): Promise<string | undefined> {
  const walker = await db.system(async (tx) => {
    const head = await findHead(tx, id)
    if (!head) return undefined
    // One link more: the walk begins behind it, with its hash.
    const [first, ...links] = await linksAfter(tx, id, Math.max(0, head.seq - LINKS - 1), LINKS + 1)
    const walker = first && first.seq > 1 ? new ChainWalker(id, first) : new ChainWalker(id)
    for (const link of first && first.seq === 1 ? [first, ...links] : links) walker.add(link)
    walker.finish(audit.key)
    return walker
  })
  const found = walker?.faults[0]?.what
  if (found !== undefined) return found
  const { faults, gone, stray } = await db.system((tx) => findUncounted(tx, id))
  if (gone !== null) return `row ${gone} vanished before it was sealed`
  if (stray !== null) return `row ${stray} was written by no transaction`
  return faults > 0 ? `${faults} faults are sealed in it` : undefined
}

// The newest rows only: verify looks at all.
async function findUncounted(
  tx: Tx,
  id: string
): Promise<{ faults: number; gone: string | null; stray: string | null }> {
  const [row] = await tx<{ faults: number; gone: string | null; stray: string | null }[]>`
    with counted as materialized (select unnest(entry_ids) as id from audit.tally where tenant_id = ${id})
    select (select count(*)::int from audit.seal where tenant_id = ${id} and fault is not null) as faults,
      (select c.id from counted c
        where not exists (select from audit.entry e where e.tenant_id = ${id} and e.id = c.id) limit 1) as gone,
      (select e.id from (select id from audit.entry where tenant_id = ${id} order by id desc limit ${NEWEST}) e
        where not exists (select from audit.seal s where s.tenant_id = ${id} and s.entry_id = e.id)
          and not exists (select from counted c where c.id = e.id) limit 1) as stray`
  return row ?? { faults: 0, gone: null, stray: null }
}
