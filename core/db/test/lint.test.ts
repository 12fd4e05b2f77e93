import t from 'tap'
import { lint } from '#core/db/lint.ts'
import { readAllowances } from '#core/db/migration-files.ts'
import { adminConnection, coreDbRoom, testDb } from '#test/support/db.ts'
import { asOwner, makeNotes } from './notes.ts'

const { sql, url } = await testDb(t)
await makeNotes(sql)
await asOwner(
  sql,
  `create table lab.task (like lab.note including all); call core.isolate('lab.task', 'select, insert, update')`
)
const core = await readAllowances(coreDbRoom)
const session = adminConnection(url)
await session`set search_path to pg_catalog`
t.teardown(() => session.end())

t.test('what the procedures make has no finding', async (t) => {
  t.strictSame(await lint(session, core), [])
})

const anyone = 'agentos_app'
/** Each defect alone: [what, the SQL that plants it, the findings it must give]. */
const defects: [string, string, string[]][] = [
  ['a table without RLS', 'alter table lab.note disable row level security', ['rls_off lab.note']],
  ['a table whose owner is not bound', 'alter table lab.note no force row level security', ['rls_not_forced lab.note']],
  ['a table of no tenant', 'create table lab.free (id int)', ['no_tenant_id lab.free', 'rls_off lab.free']],
  [
    'a nullable tenant',
    'alter table lab.task drop constraint task_pkey, alter tenant_id drop not null',
    ['tenant_id_nullable lab.task']
  ],
  [
    'a dropped tenant policy',
    'drop policy own_tenant on lab.note',
    [
      ...['delete', 'insert', 'select', 'update'].map((verb) => `no_tenant_policy lab.note ${verb}`),
      ...['app_delete', 'app_insert', 'app_select', 'app_update'].map((policy) => `policy_true lab.note ${policy}`)
    ]
  ],
  [
    'a tenant policy that says true',
    'alter policy own_tenant on lab.note using (true) with check (true)',
    ['delete', 'insert', 'select', 'update'].map((verb) => `no_tenant_policy lab.note ${verb}`)
  ],
  [
    'a tenant policy that does not check what is written',
    'alter policy own_tenant on lab.task with check (true)',
    ['no_tenant_policy lab.task insert', 'no_tenant_policy lab.task update']
  ],
  [
    'a policy for everybody',
    'create policy open on lab.note for select using (true)',
    ['policy_for_public lab.note open', 'policy_true lab.note open']
  ],
  [
    'a unique index across tenants',
    'create unique index text_once on lab.note (text)',
    ['unique_without_tenant lab.text_once']
  ],
  [
    'a unique index that only carries the tenant along',
    'alter table lab.note add constraint text_once unique (text) include (tenant_id)',
    ['unique_without_tenant lab.text_once']
  ],
  [
    'an exclusion across tenants',
    'alter table lab.note add constraint text_once exclude using hash (text with =)',
    ['unique_without_tenant lab.text_once']
  ],
  [
    'a foreign key across tenants',
    `create unique index i on lab.note (id); alter table lab.task add constraint points foreign key (id) references lab.note (id)`,
    ['fk_without_tenant lab.task points', 'unique_without_tenant lab.i']
  ],
  [
    'a foreign key that crosses the columns',
    'alter table lab.task add constraint crossed foreign key (id, tenant_id) references lab.note (tenant_id, id)',
    ['fk_tenant_mismatch lab.task crossed']
  ],
  [
    'a view with the rights of its owner',
    'create view lab.all_notes as select * from lab.note',
    ['view_not_invoker lab.all_notes']
  ],
  [
    'a readable materialized view',
    `create materialized view lab.sums as select 1 as x; grant select on lab.sums to ${anyone}`,
    ['matview_readable lab.sums agentos_app']
  ],
  ['a right to truncate', `grant truncate on lab.note to ${anyone}`, ['priv_truncate lab.note agentos_app']],
  ['a right to refer', 'grant references on lab.note to agentos_system', ['priv_references lab.note agentos_system']],
  [
    'a right to make triggers',
    'grant trigger on lab.note to public',
    ['agentos_app', 'agentos_system', 'authenticated'].map((role) => `priv_trigger lab.note ${role}`)
  ],
  [
    'a readable sequence',
    `create sequence lab.counter; grant select on sequence lab.counter to ${anyone}`,
    ['seq_readable lab.counter agentos_app']
  ],
  ['a schema to create in', `grant create on schema lab to ${anyone}`, ['schema_create lab agentos_app']],
  [
    'a function with the rights of its owner',
    'create function lab.peek() returns bigint language sql security definer as $$ select count(*) from lab.note $$',
    ['agentos_app', 'agentos_system', 'authenticated'].map((role) => `secdef_callable lab.peek() ${role}`)
  ],
  [
    'a trigger function with the rights of its owner, which nobody needs to be allowed to call',
    `create function lab.spread() returns trigger language plpgsql security definer as $$ begin return new; end $$;
     revoke execute on function lab.spread() from public;
     create trigger spread before insert on lab.note for each row execute function lab.spread()`,
    ['secdef_trigger lab.note lab.spread()']
  ]
]

/** And what is none. */
const sound: typeof defects = [
  [
    'an exclusion within a tenant',
    'alter table lab.note add exclude using btree (text with =, tenant_id with =), add unique (text, tenant_id) include (id)',
    []
  ]
]

for (const [what, plant, expected] of [...defects, ...sound]) {
  t.test(`${what} is ${expected.length > 0 ? 'found' : 'let be'}`, async (t) => {
    const undo = new Error('undo')
    let found: string[] = []
    const planted = session.begin(async (tx) => {
      await tx.unsafe('set local role agentos_owner')
      await tx.unsafe(plant)
      await tx.unsafe('reset role')
      found = (await lint(tx, core)).map(({ rule, object }) => `${rule} ${object}`)
      throw undo
    })
    await t.rejects(planted, undo)
    t.strictSame(found, [...expected].sort())
  })
}

t.test('a login role that could become the owner, or passes RLS, is found', async (t) => {
  const undo = new Error('undo')
  let found: string[] = []
  const planted = session.begin(async (tx) => {
    await tx.unsafe('grant agentos_owner to agentos_app')
    await tx.unsafe('alter role agentos_system bypassrls')
    found = (await lint(tx, core)).map(({ rule, object }) => `${rule} ${object}`)
    throw undo
  })
  await t.rejects(planted, undo)
  t.ok(found.includes('role_can_become agentos_app agentos_owner'))
  t.ok(found.includes('role_bypass agentos_system'))
})

t.test('an allowance covers its rule and its object only', async (t) => {
  const undo = new Error('undo')
  const planted = session.begin(async (tx) => {
    await tx.unsafe('create table lab.free (id int); create table lab.freer (id int)')
    const allowed = [...core, { rule: 'rls_off', object: 'lab.free', reason: 'for the sake of the test' }]
    t.strictSame(await lint(tx, allowed), [
      { rule: 'no_tenant_id', object: 'lab.free' },
      { rule: 'no_tenant_id', object: 'lab.freer' },
      { rule: 'rls_off', object: 'lab.freer' }
    ])
    throw undo
  })
  await t.rejects(planted, undo)
})
