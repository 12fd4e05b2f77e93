import { randomBytes } from 'node:crypto'

/** What pg_attribute does not tell of a table. Values are SQL. */
export interface Override {
  /** The tenant of a row; default: the column tenant_id. null: rows belong to no tenant. */
  tenant?: string | null
  /** Rows that other tenants read too (core.isolate_shared), as in the migration. */
  readable?: string
  /** Values of columns; `n` counts a tenant's rows from 0. */
  values?: (n: number) => Record<string, string>
  /** Tenant column written by expression, where `tenant` is no column. */
  give?: (tenantId: string) => Record<string, string>
  /** The table whose rows these are (a partition). */
  same?: string
  /** What an update sets; default: the first column that is no key to itself. `t` is the table. */
  set?: string
  /** An update that would hand the row to another tenant; default: tenant_id. */
  handOver?: (tenantId: string) => string
  /** Columns that agentos_app may update, where not all. */
  updates?: string[]
  /** Columns that members (authenticated) may select, where not all. */
  members?: string[]
  /** What must be there before it can hold a row. */
  prepare?: string
  /** One row per tenant at most, or in all. */
  single?: boolean
  /** Statements that agentos_app must not get through besides the usual ones: [name, columns of an insert | SET of an update | all of it]. */
  refused?: { name: string; insert?: Record<string, string>; update?: string; sql?: string }[]
  /** Rows (by SQL condition) that agentos_app sees and an update passes by. */
  untouchable?: string
}

const hex = (bytes: number) => randomBytes(bytes).toString('hex')
const bytea = (bytes: number) => `'\\x${hex(bytes)}'::bytea`
let counter = 0
const number = () => String(1000 + counter++)

/** Only what checks and foreign shapes force; a plain table needs no entry. */
export const overrides: Readonly<Record<string, Override>> = {
  'core.tenants': {
    values: () => ({ slug: `'s-${hex(8)}'`, plan: `'pro'` }),
    single: true,
    updates: ['name', 'settings'],
    members: ['tenant_id', 'name', 'slug', 'plan', 'created_at', 'updated_at']
  },
  'core.member': {
    values: () => ({ role: `'member'` }),
    members: ['tenant_id', 'user_id', 'role', 'created_at']
  },
  'core.ws_ticket': { values: () => ({ hash: bytea(32) }) },
  'core.invitation': {
    values: () => ({ role: `'member'`, token_hash: bytea(32) }),
    set: 'revoked_at = now()',
    updates: ['revoked_at']
  },
  'core.api_key': { values: () => ({ hash: bytea(32), scopes: `'{*}'`, prefix: `'${hex(4)}'` }) },
  'core.transition': { values: () => ({ n: number(), cause: `'command'` }) },
  'core.idempotency': { values: () => ({ fingerprint: bytea(32), status: '200' }) },
  'core.event': {
    refused: [{ name: 'insert numbered', insert: { seq: '77' } }]
  },
  'audit.entry': { values: () => ({ action: `'note.written'` }) },
  // A transaction writes its own count only, of rows that are there, and finds its row again where it had one.
  'audit.tally': {
    values: () => ({ xid: 'pg_current_xact_id()' }),
    give: (tenantId) => ({
      entry_ids: `array(select e.id from audit.entry e where e.tenant_id = '${tenantId}' limit 1)`
    }),
    untouchable: 'xid <> pg_current_xact_id()',
    refused: [
      { name: 'insert of another transaction', insert: { xid: `'3'` } },
      {
        name: 'give to another transaction',
        sql: `insert into audit.entry (action, subject) values ('a.b', 'c'); update audit.tally set xid = '3'`
      },
      { name: 'count what is not there', insert: { entry_ids: 'array[gen_random_uuid()]' } }
    ]
  },
  'audit.chain': { single: true },
  'audit.seal': { values: () => ({ seq: number(), hash: bytea(32), entry_id: 'gen_random_uuid()' }) },
  'vault.data_key': {
    values: () => ({ generation: number(), kek_version: '1', wrapped: bytea(61) }),
    set: 'used = 0',
    updates: ['used']
  },
  'vault.secret': {
    values: () => ({ name: `'S${hex(8).toUpperCase()}'`, version: '1', sealed: bytea(40) }),
    set: 'last_used_at = null'
  },
  'vault.secret_grant': { values: () => ({ kind: `'skill'`, grantee: `'@x/${hex(8)}'` }), set: 'hosts = null' },
  'pulse.log': { values: () => ({ n: number(), level: `'info'` }) },
  'core.stream': { tenant: null },
  'core.consumer_kind': { tenant: null, values: () => ({ types: `'{}'` }) },
  'core.migration': { tenant: null },
  'core.installation': { tenant: null, single: true },
  'core.tenant_key': { tenant: null, single: true },
  'registry.scope': {
    readable: 'true',
    values: () => ({ scope: `'x-${hex(8)}'` }),
    refused: [{ name: 'insert verified', insert: { verified: 'true' } }]
  },
  'registry.author_key': { readable: 'true', values: () => ({ key_id: `'${hex(32)}'` }) },
  'registry.skill': {
    readable: `visibility = 'public'`,
    values: (n) => ({ visibility: visibility(n) }),
    set: 'description = t.description',
    updates: ['latest', 'description', 'updated_at']
  },
  'registry.version': {
    readable: `visibility = 'public'`,
    values: (n) => ({ visibility: visibility(n), digest: `'sha256:${hex(32)}'`, size_bytes: '1' })
  },
  'registry.log': { readable: 'true', values: () => ({ log_index: number(), leaf_hash: bytea(32) }) },
  'tools.quarantine': { values: () => ({ crashes: `'[]'` }) },
  // The tables of pg-boss have no tenant_id; only a job has a tenant, in its data.
  'pgboss.job_common': {
    tenant: `(data ->> 'tenantId')::uuid`,
    give: (tenantId) => ({
      data: `'{"tenantId": "${tenantId}"}'`,
      singleton_key: `'${tenantId}:${hex(8)}'`
    }),
    values: (n) => ({ state: n === 1 ? `'completed'` : `'created'` }),
    set: `state = 'cancelled'`,
    updates: ['state', 'completed_on'],
    handOver: toTenant,
    untouchable: `state >= 'completed'`,
    refused: [
      { name: 'insert active', insert: { state: `'active'` } },
      {
        name: "insert for another one under one's own key",
        insert: {
          data: `'{"tenantId": "01900000-0000-7000-8000-00000000000f"}'`,
          singleton_key: `current_setting('agentos.tenant', true) || ':${hex(8)}'`
        }
      },
      { name: 'insert of no key', insert: { singleton_key: 'null' } },
      { name: "insert of another one's key", insert: { singleton_key: `'01900000-0000-7000-8000-00000000000f:x'` } },
      { name: 'update to retry', update: `state = 'retry'` }
    ]
  },
  'pgboss.job': {
    tenant: `(data ->> 'tenantId')::uuid`,
    same: 'pgboss.job_common',
    set: `state = 'cancelled'`,
    handOver: toTenant
  },
  'pgboss.queue': { tenant: null, readable: 'true' },
  'pgboss.queue_stats': {
    tenant: null,
    // We keep no statistics of queues, so it has no partition.
    prepare: `create table pgboss.queue_stats_all partition of pgboss.queue_stats default;
      alter table pgboss.queue_stats_all enable row level security; alter table pgboss.queue_stats_all force row level security`
  },
  ...Object.fromEntries(
    ['bam', 'instance', 'job_dependency', 'schedule', 'subscription', 'version', 'warning'].map((name) => [
      `pgboss.${name}`,
      { tenant: null }
    ])
  )
}

function visibility(n: number): string {
  return n % 2 === 0 ? `'public'` : `'private'`
}

function toTenant(tenantId: string): string {
  return `data = '{"tenantId": "${tenantId}"}'`
}
