import type { Policy, Role, Table, Verb } from './catalogue.ts'
import { roles } from './catalogue.ts'
import { overrideOf } from './seed.ts'

/** One way to break isolation. */
export interface Mutant {
  name: string
  /** The table whose matrix must turn red where the lint does not. */
  table: Table
  sql: string
  /** Whom it is about. */
  role?: Role
}

const verbs: readonly Verb[] = ['select', 'insert', 'update', 'delete']
const powers = ['truncate', 'references', 'trigger']

/** Each policy dropped or weakened, each switch turned, each right given that was not declared: one at a time. */
export function mutantsOf(tables: readonly Table[], serverVersion: number): Mutant[] {
  const rights = serverVersion >= 170000 ? [...powers, 'maintain'] : powers
  return tables.flatMap((table) => [
    // Where every row is kept (core.erase_keeps), nothing is erased whatever erase_delete says.
    ...table.policies
      .filter(({ name }) => name !== 'erase_delete' || overrideOf(table).readable !== 'true')
      .flatMap((policy) => ofPolicy(table, policy)),
    ...(table.policies.length > 0
      ? ['disable row level security', 'no force row level security'].map((change) => ({
          name: `${table.name}: ${change}`,
          table,
          sql: `alter table ${table.name} ${change}`
        }))
      : []),
    ...(overrideOf(table).updates === undefined
      ? []
      : [{ name: `${table.name}: update every column`, table, sql: `grant update on ${table.name} to agentos_app` }]),
    ...table.columns
      .filter(({ name }) => overrideOf(table).members?.includes(name) === false)
      .map(({ name }) => ({
        name: `${table.name}: members select ${name}`,
        table,
        role: 'authenticated' as const,
        sql: `grant select (${name}) on ${table.name} to authenticated`
      })),
    ...roles.flatMap((role) =>
      [...verbs.filter((verb) => !granted(table, role, verb)), ...rights].map((right) => ({
        name: `${table.name}: grant ${right} to ${role}`,
        table,
        role,
        // The way to the table too: a role that may not enter the schema has no use of the right.
        sql: `grant usage on schema ${table.name.split('.')[0]} to ${role}; grant ${right} on ${table.name} to ${role}`
      }))
    )
  ])
}

function granted(table: Table, role: Role, verb: Verb): boolean {
  // Of what is erased, agentos_system may delete the row and select nothing but tenant_id.
  return table.declared[role].has(verb) || (role === 'agentos_system' && verb === 'delete' && table.erases.has(verb))
}

const commands: Record<string, string> = { '*': 'all', r: 'select', a: 'insert', w: 'update', d: 'delete' }

function ofPolicy(table: Table, policy: Policy): Mutant[] {
  const { name, using, check, permissive, cmd } = policy
  const role = roles.find((one) => policy.roles.includes(one))
  const on = `policy ${name} on ${table.name}`
  const mutant = (what: string, sql: string): Mutant => ({
    name: `${table.name}: ${what} ${name}`,
    table,
    sql,
    ...(role ? { role } : {})
  })
  const parts = { using, 'with check': check }
  const said = Object.entries(parts).filter((part): part is [string, string] => part[1] !== null && part[1] !== 'true')
  const clauses = (change: (text: string) => string) =>
    Object.entries(parts)
      .flatMap(([part, text]) => (text === null ? [] : [`${part} (${change(text)})`]))
      .join(' ')
  const mutants = [mutant('drop', `drop ${on}`), mutant('open to everybody', `alter ${on} to public`)]
  for (const [part, text] of said) {
    mutants.push(mutant(`${part} true in`, `alter ${on} ${part} (true)`))
    mutants.push(mutant(`${part} ... or true in`, `alter ${on} ${part} (${text} or true)`))
  }
  if (said.length > 1) mutants.push(mutant('all true in', `alter ${on} ${clauses(() => 'true')}`))
  if (!permissive) {
    const made = `create ${on} as permissive for ${commands[cmd]} to ${policy.roles.join(', ')} ${clauses((text) => text)}`
    mutants.push(mutant('permissive instead of restrictive', `drop ${on}; ${made}`))
  }
  return mutants
}

/**
 * What is wrong everywhere at once; seen on `table`, of which agentos_app has every verb and members read.
 * @param source of functions as they are, by name: what is weakened is the real one
 */
export function globalMutants(table: Table, source: ReadonlyMap<string, string>): Mutant[] {
  const changed = (name: string, from: string, to: string) => {
    const text = source.get(name)
    if (!text?.includes(from)) throw new Error(`${name} has no "${from}" to weaken`)
    return text.replace(from, to)
  }
  const tenant = (from: string, to: string) => changed('core.tenant', from, to)
  const signed = 'and signature operator'
  return [
    ['core.tenant() takes what is not signed', tenant(signed, 'and true or signature operator')],
    ['core.tenant() takes any signature', tenant(signed, `and signature <> '' or signature operator`)],
    [
      'core.tenant() gives null without a signature',
      tenant("raise insufficient_privilege using message = 'the", `return null; raise using message = 'the`)
    ],
    [
      'core.tenant() does not check the claims',
      tenant(signed, `and member = '' and length(signature) = 64 or signature operator`)
    ],
    ['core.tenant() is always the same', tenant('return tenant', `return '01900000-0000-7000-8000-00000000000b'`)],
    ['core.tenant() with the rights of its caller', 'alter function core.tenant() security invoker'],
    [
      'policies ask for what is not signed',
      `alter policy own_tenant on ${table.name} using (tenant_id = (select core.tenant_setting()))`
    ],
    ['agentos_app reads the key', 'grant select (inner_pad) on core.tenant_key to agentos_app'],
    [
      'everybody is a member everywhere',
      changed(
        'core.my_tenants',
        'begin',
        `begin return array['01900000-0000-7000-8000-00000000000a', '01900000-0000-7000-8000-00000000000b']::uuid[];`
      )
    ],
    [
      'tenants are erased in their grace time',
      changed('core.erasable', 'erase_at <= pg_catalog.now()', 'erase_at is not null')
    ],
    ['every tenant is erased', changed('core.erasable', 'where t.erase_at <= pg_catalog.now()', '')],
    ['agentos_app passes row level security', 'alter role agentos_app bypassrls'],
    ['agentos_system passes row level security', 'alter role agentos_system bypassrls'],
    ['agentos_app may become the owner', 'grant agentos_owner to agentos_app'],
    ['agentos_app may become agentos_system', 'grant agentos_system to agentos_app'],
    ['agentos_app may become authenticated', 'grant authenticated to agentos_app'],
    ['agentos_app may create in core', 'grant create on schema core to agentos_app'],
    ['future tables are open', 'alter default privileges for role agentos_owner grant select on tables to agentos_app']
  ].map(([name = '', sql = '']) => ({ name, table, sql }))
}
