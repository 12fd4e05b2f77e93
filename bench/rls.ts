// node bench/rls.ts [rounds]: what isolation costs. One tenant transaction (an insert, a select of its newest rows and one
// by id) through core/db as requests make it, against the same SQL without row level security, tenant and signature.
import { availableParallelism } from 'node:os'
import { type Db, deriveSecrets, loginUrl, migrate, openDb, type Tx } from '#core/db/index.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { Secret } from '#core/secret.ts'
import { adminConnection, coreDbRoom } from '#test/support/db.ts'
import { benchDatabase } from './database.ts'
import { ratio, spread } from './stats.ts'

const ROUNDS = Number(process.argv[2] ?? 7)
const MS = 1000
const CALLERS = 16
const TENANTS = 50
/** Rows of each table at the start, spread over the tenants: an index that is used and not a page that is scanned. */
const ROWS = 50_000

const GOALS = { signed: 0.65, unsigned: 0.75 } as const
const kinds = ['signed', 'unsigned', 'bare'] as const
type Kind = (typeof kinds)[number]
const titles: Record<Kind, string> = {
  signed: 'RLS, tenant signed and checked',
  unsigned: 'RLS, policies ask the unsigned setting',
  bare: 'no RLS, no tenant set'
}

const database = await benchDatabase(process.env.DATABASE_URL)
const say = (line: string) => process.stdout.write(`${line}\n`)
let db: Db | undefined
try {
  const url = await database.make('rls')
  const secret = new Secret('the secret of every bench database 0123456789')
  const secrets = deriveSecrets(secret)
  await migrate({ url, rooms: [coreDbRoom], secret })
  const tenants = Array.from({ length: TENANTS }, () => newId())
  await prepare(url, tenants)
  const opened = await openDb({
    appUrl: loginUrl(url, 'agentos_app', secrets.appPassword),
    systemUrl: loginUrl(url, 'agentos_system', secrets.systemPassword),
    tenantHmacKey: secrets.tenantHmacKey,
    appPool: CALLERS,
    systemPool: CALLERS
  })
  db = opened
  const rates: Record<Kind, number[]> = { signed: [], unsigned: [], bare: [] }
  for (let round = 0; round <= ROUNDS; round++) {
    // Each round in another order: whoever comes after a checkpoint is not always the same.
    for (let n = 0; n < kinds.length; n++) {
      const kind = must(kinds[(n + round) % kinds.length], 'a kind')
      const rate = await run(opened, kind, tenants)
      if (round > 0) rates[kind].push(rate) // the first one warms up
    }
  }
  report(rates)
} finally {
  await db?.close()
  await database.end()
}

async function prepare(url: string, tenants: string[]): Promise<void> {
  const sql = adminConnection(url)
  const columns = `tenant_id uuid not null default core.tenant(), id uuid not null, text text not null,
    created_at timestamptz not null default clock_timestamp(), primary key (tenant_id, id)`
  await sql.unsafe(`
    set search_path to pg_catalog; set role agentos_owner;
    create schema lab; grant usage on schema lab to agentos_app, agentos_system;
    create table lab.signed (${columns}); call core.isolate('lab.signed', 'select, insert');
    create table lab.unsigned (${columns}); call core.isolate('lab.unsigned', 'select, insert');
    alter policy own_tenant on lab.unsigned using (tenant_id = (select core.tenant_setting()))
      with check (tenant_id = (select core.tenant_setting()));
    create table lab.bare (${columns.replace('core.tenant()', 'core.tenant_setting()')});
    grant select, insert on lab.bare to agentos_system; reset role;`)
  for (const kind of kinds) {
    await sql.unsafe(`
      insert into lab.${kind} (tenant_id, id, text)
      select ('{${tenants.join()}}'::uuid[])[1 + n % ${TENANTS}], core.uuidv7(), repeat('x', 200)
      from generate_series(1, ${ROWS}) n`)
    await sql.unsafe(`vacuum analyze lab.${kind}`)
  }
  await sql.end({ timeout: 1 })
}

/** Transactions a second of CALLERS at once. */
async function run(opened: Db, kind: Kind, tenants: string[]): Promise<number> {
  const began = performance.now()
  const until = began + MS
  let done = 0
  const caller = async (n: number) => {
    for (let i = n; performance.now() < until; i += CALLERS) {
      const tenantId = must(tenants[i % TENANTS], 'a tenant')
      const work = (tx: Tx) => transact(tx, kind, tenantId)
      // As a request does it: who asks is signed with the tenant, so no signature is one that was made before.
      const actor = { kind: 'key', id: tenantId, requestId: newId(), from: '127.0.0.1' } as const
      await (kind === 'bare' ? opened.system(work) : opened.tenant({ tenantId, actor }, work))
      done++
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, n) => caller(n)))
  return (done / (performance.now() - began)) * 1000
}

async function transact(tx: Tx, kind: Kind, tenantId: string): Promise<void> {
  const table = tx(`lab.${kind}`)
  const id = newId()
  await tx`insert into ${table} (tenant_id, id, text) values (${tenantId}, ${id}, 'a row of two hundred octets or so')`
  await tx`select id, text, created_at from ${table} where tenant_id = ${tenantId} order by id desc limit 20`
  await tx`select id, text, created_at from ${table} where tenant_id = ${tenantId} and id = ${id}`
}

function report(rates: Record<Kind, number[]>): void {
  const { version, settings, embedded } = database
  say(`PostgreSQL ${version} (${embedded ? 'embedded' : 'given'}; ${settings}), ${availableParallelism()} cores`)
  say(`${CALLERS} callers, ${ROUNDS} rounds of ${MS} ms in turn; transactions a second, median (min-max)`)
  for (const kind of kinds) {
    const { median, min, max } = spread(rates[kind])
    say(`  ${titles[kind].padEnd(40)} ${median.toFixed(0)} (${min.toFixed(0)}-${max.toFixed(0)})`)
  }
  for (const [kind, goal] of Object.entries(GOALS) as ['signed' | 'unsigned', number][]) {
    const { median, min, max } = ratio(rates[kind], rates.bare)
    const reached = median >= goal ? 'reached' : 'MISSED'
    const measured = `${median.toFixed(2)}x (${min.toFixed(2)}-${max.toFixed(2)})`
    say(`  ${titles[kind].padEnd(40)} ${measured} of the same SQL without RLS; goal >= ${goal}x: ${reached}`)
  }
}
