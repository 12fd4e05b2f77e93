import type { Db, Tx } from '#core/db/types.ts'
import type { DoctorCheck, Verdict } from '#core/doctor/doctor.ts'
import { ChainWalker } from './chain.ts'
import type { AuditLog } from './service.ts'
import { findHead, linksAfter } from './store/log.ts'

/** What `agentos doctor tenancy` asks of the audit log. All as agentos_system: counts and numbers, no row's content. */
export function auditChecks(db: Db, audit: AuditLog): DoctorCheck[] {
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
      title: `each tenant's chain ends as it was signed, and its last ${LINKS} rows are what was sealed`,
      run: () => checkChains(db, audit)
    }
  ]
}

/** Ten times what the sealer takes at most. */
const LAG_MS = 10_000
const LINKS = 100
const TENANTS = 500

async function findHoles(tx: Tx): Promise<string[]> {
  const rows = await tx<{ hole: string }[]>`
    with log (name) as (values ('audit.entry'), ('audit.seal'))
    select role || ' may ' || verb || ' ' || name as hole
    from log cross join (values ('agentos_app'), ('agentos_system')) r (role)
    cross join (values ('update'), ('delete'), ('truncate')) v (verb)
    where has_table_privilege(role, name, verb)
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
    select 'rows are not counted any more' where not exists (
      select from pg_trigger where tgrelid = 'audit.entry'::regclass and tgname = 'count_entry' and tgenabled in ('O', 'A'))
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

async function checkChains(db: Db, audit: AuditLog): Promise<Verdict> {
  const tenants = await db.system(
    (tx) => tx<{ id: string; faults: number }[]>`
      select t.tenant_id as id, (select count(*)::int from audit.seal s where s.tenant_id = t.tenant_id and s.fault is not null) as faults
      from core.tenants t where exists (select from audit.seal s where s.tenant_id = t.tenant_id)
      order by t.tenant_id limit ${TENANTS}`
  )
  if (tenants.length === 0) return { ok: 'unknown', detail: 'nothing is sealed yet' }
  const broken: string[] = []
  for (const { id, faults } of tenants) {
    const head = await db.system((tx) => findHead(tx, id))
    if (!head) continue
    // One link more: the walk begins behind it, with its hash.
    const [first, ...links] = await db.system((tx) => linksAfter(tx, id, Math.max(0, head.seq - LINKS - 1), LINKS + 1))
    const walker = first && first.seq > 1 ? new ChainWalker(id, first) : new ChainWalker(id)
    for (const link of first && first.seq === 1 ? [first, ...links] : links) walker.add(link)
    walker.finish(audit.key)
    const what = walker.faults[0]?.what ?? (faults > 0 ? `${faults} faults are sealed in it` : undefined)
    if (what !== undefined) broken.push(`tenant ${id}: ${what}`)
  }
  if (broken.length === 0) return { ok: true, detail: `${tenants.length} chains` }
  return {
    ok: false,
    detail: `${broken.length} of ${tenants.length} chains are broken; ${broken.slice(0, 2).join('; ')}`,
    fix: 'run `agentos audit verify` as that tenant; compare with its last export'
  }
}
