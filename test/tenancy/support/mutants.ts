import type { Policy, Table, Verb } from './catalogue.ts'
import { roles } from './catalogue.ts'

/** One way to break isolation. */
export interface Mutant {
  name: string
  /** The table whose matrix must turn red where the lint does not. */
  table: Table
  sql: string
}

const verbs: readonly Verb[] = ['select', 'insert', 'update', 'delete']
const powers = ['truncate', 'references', 'trigger']

/** Each policy dropped or weakened, each switch turned, each right given that was not declared: one at a time. */
export function mutantsOf(tables: readonly Table[], serverVersion: number): Mutant[] {
  const rights = serverVersion >= 170000 ? [...powers, 'maintain'] : powers
  return tables.flatMap((table) => [
    ...table.policies.flatMap((policy) => ofPolicy(table, policy)),
    ...(table.policies.length > 0
      ? ['disable row level security', 'no force row level security'].map((change) => ({
          name: `${table.name}: ${change}`,
          table,
          sql: `alter table ${table.name} ${change}`
        }))
      : []),
    ...roles.flatMap((role) =>
      [...verbs.filter((verb) => !table.declared[role].has(verb)), ...rights].map((right) => ({
        name: `${table.name}: grant ${right} to ${role}`,
        table,
        // The way to the table too: a role that may not enter the schema has no use of the right.
        sql: `grant usage on schema ${table.name.split('.')[0]} to ${role}; grant ${right} on ${table.name} to ${role}`
      }))
    )
  ])
}

const commands: Record<string, string> = { '*': 'all', r: 'select', a: 'insert', w: 'update', d: 'delete' }

function ofPolicy(table: Table, policy: Policy): Mutant[] {
  const { name, using, check, permissive, cmd } = policy
  const on = `policy ${name} on ${table.name}`
  const mutant = (what: string, sql: string): Mutant => ({ name: `${table.name}: ${what} ${name}`, table, sql })
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

/** What is wrong everywhere at once; seen on `table`. */
export function globalMutants(table: Table): Mutant[] {
  const tenant = (body: string) =>
    `create or replace function core.tenant() returns uuid language plpgsql stable parallel safe as $f$ begin ${body} end $f$`
  const setting = `pg_catalog.current_setting('agentos.tenant', true)`
  return [
    ['core.tenant() gives null without a tenant', tenant(`return nullif(${setting}, '')::uuid;`)],
    [
      'core.tenant() takes the first 36 characters',
      tenant(
        `if coalesce(${setting}, '') = '' then raise insufficient_privilege; end if; return left(${setting}, 36)::uuid;`
      )
    ],
    ['core.tenant() is always the same', tenant(`return '01900000-0000-7000-8000-00000000000b';`)],
    ['core.tenant() with the rights of its owner', 'alter function core.tenant() security definer'],
    ['agentos_app passes row level security', 'alter role agentos_app bypassrls'],
    ['agentos_system passes row level security', 'alter role agentos_system bypassrls'],
    ['agentos_app may become the owner', 'grant agentos_owner to agentos_app'],
    ['agentos_app may become agentos_system', 'grant agentos_system to agentos_app'],
    ['agentos_app may create in core', 'grant create on schema core to agentos_app'],
    ['future tables are open', 'alter default privileges for role agentos_owner grant select on tables to agentos_app']
  ].map(([name = '', sql = '']) => ({ name, table, sql }))
}
