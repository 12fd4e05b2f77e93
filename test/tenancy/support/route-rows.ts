import { auditRows } from './rows/audit.ts'
import { authRows } from './rows/auth.ts'
import { httpRows } from './rows/http.ts'
import { pulseRows } from './rows/pulse.ts'
import { registryRows } from './rows/registry.ts'
import type { RouteRow } from './rows/row.ts'
import { tenantRows } from './rows/tenants.ts'
import { toolsRows } from './rows/tools.ts'
import { toolsDataRows } from './rows/tools-data.ts'
import { vaultRows } from './rows/vault.ts'

/** What the suite must know of each route; one file a room. A route without a row is red. */
export const routeRows: Readonly<Record<string, RouteRow>> = {
  ...httpRows,
  ...authRows,
  ...tenantRows,
  ...auditRows,
  ...vaultRows,
  ...pulseRows,
  ...registryRows,
  ...toolsRows,
  ...toolsDataRows
}

/** Every route of the router itself, `METHOD /path`: from its printed tree, not from what the app says of itself. */
export function routesOf(app: { printRoutes(options: { commonPrefix: boolean }): string }): string[] {
  const path: string[] = []
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', part = '', methods = ''] =
        /^((?:[│ ] {3})*)[├└]── (.*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
      if (part === '') return []
      path.length = indent.length / 4
      path.push(part)
      return methods.split(', ').flatMap((method) => (method === '' ? [] : `${method} ${path.join('')}`))
    })
}

/** Routes that nobody wrote a row for; HEAD goes with GET. */
export function withoutRow(routes: readonly string[], rows: Readonly<Record<string, unknown>>): string[] {
  return routes.filter((route) => !(route.replace(/^HEAD /, 'GET ') in rows))
}
