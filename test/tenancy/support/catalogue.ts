import type { Session } from './full-db.ts'

export const roles = ['agentos_app', 'agentos_system', 'authenticated'] as const
export type Role = (typeof roles)[number]
export type Verb = 'select' | 'insert' | 'update' | 'delete'

export interface Column {
  name: string
  /** format_type: 'uuid', 'text[]', 'timestamp with time zone' */
  type: string
  required: boolean
  generated: boolean
}

export interface ForeignKey {
  columns: string[]
  table: string
  referenced: string[]
}

export interface Policy {
  name: string
  table: string
  permissive: boolean
  /** '*' or one of r a w d */
  cmd: string
  roles: string[]
  using: string | null
  check: string | null
}

export interface Table {
  /** 'core.event' */
  name: string
  columns: Column[]
  key: string[]
  foreignKeys: ForeignKey[]
  policies: Policy[]
  /** What each role may do: its permissive policies. A grant without one, or one without a grant, is a fault. */
  declared: Record<Role, ReadonlySet<Verb>>
  /** What agentos_system may do besides, with rows of tenants that are to be erased: policies erase_select, erase_delete. */
  erases: ReadonlySet<Verb>
}

const verbOf: Record<string, Verb> = { r: 'select', a: 'insert', w: 'update', d: 'delete' }

/** Every table of every schema but the server's own, from pg_catalog. */
export async function readCatalogue(sql: Session): Promise<Table[]> {
  const tables = await sql.unsafe<{ name: string; columns: Column[]; key: string[]; foreignKeys: ForeignKey[] }[]>(`
    select format('%I.%I', n.nspname, c.relname) as name,
      (select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
          'required', a.attnotnull and not a.atthasdef and a.attidentity = '', 'generated', a.attgenerated <> '') order by a.attnum)
       from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      coalesce((select json_agg(a.attname order by array_position(i.indkey::int2[], a.attnum))
       from pg_index i join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
       where i.indrelid = c.oid and i.indisprimary), '[]') as key,
      coalesce((select json_agg(json_build_object('table', format('%I.%I', m.nspname, r.relname),
          'columns', (select json_agg(a.attname order by o) from unnest(f.conkey) with ordinality u (k, o)
                      join pg_attribute a on a.attrelid = c.oid and a.attnum = u.k),
          'referenced', (select json_agg(a.attname order by o) from unnest(f.confkey) with ordinality u (k, o)
                      join pg_attribute a on a.attrelid = f.confrelid and a.attnum = u.k)))
       from pg_constraint f join pg_class r on r.oid = f.confrelid join pg_namespace m on m.oid = r.relnamespace
       where f.conrelid = c.oid and f.contype = 'f'), '[]') as "foreignKeys"
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1`)
  const policies = await readPolicies(sql)
  return tables.map((table) => {
    const own = policies.filter((policy) => policy.table === table.name)
    const verbs = (policies: Policy[]) =>
      new Set(policies.flatMap(({ cmd }) => (cmd === '*' ? Object.values(verbOf) : (verbOf[cmd] ?? []))))
    const erasing = own.filter(({ name, permissive }) => permissive && name.startsWith('erase_'))
    const declared = (role: Role) =>
      verbs(own.filter((policy) => policy.permissive && policy.roles.includes(role) && !erasing.includes(policy)))
    return {
      ...table,
      policies: own,
      declared: {
        agentos_app: declared('agentos_app'),
        agentos_system: declared('agentos_system'),
        authenticated: declared('authenticated')
      },
      erases: verbs(erasing)
    }
  })
}

async function readPolicies(sql: Session): Promise<Policy[]> {
  return await sql.unsafe<Policy[]>(`
    select p.polname as name, p.polrelid::regclass::text as table, p.polpermissive as permissive, p.polcmd::text as cmd,
      array(select case r when 0 then 'public' else r::regrole::text end from unnest(p.polroles) r) as roles,
      pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check
    from pg_policy p order by 2, 1`)
}

/** Parents before children. @throws Error on a circle of required keys */
export function inOrder(tables: readonly Table[]): Table[] {
  const byName = new Map(tables.map((table) => [table.name, table]))
  const ordered = new Set<Table>()
  const visit = (table: Table, path: string[]) => {
    if (ordered.has(table)) return
    if (path.includes(table.name)) throw new Error(`foreign keys in a circle: ${[...path, table.name].join(' -> ')}`)
    for (const key of table.foreignKeys) {
      const parent = byName.get(key.table)
      if (parent && parent !== table) visit(parent, [...path, table.name])
    }
    ordered.add(table)
  }
  for (const table of tables) visit(table, [])
  return [...ordered]
}
