import type { Command } from 'commander'
import type { Api } from '../api.ts'
import { json, line, plain, type Screen } from '../print.ts'

interface WhoAmI {
  tenantId: string
  tenant: { name: string; slug: string; plan: string }
  keyId: string | null
  userId: string | null
  role: string | null
  scopes: string[]
  expiresAt: string | null
  user: { email: string | null } | null
}

const HELP = `
Examples:
  agentos whoami
  AGENTOS_URL=https://agents.example AGENTOS_TOKEN="$KEY" agentos whoami --json`

export function addWhoami(program: Command, start: () => { api: Api; screen: Screen }): void {
  program
    .command('whoami')
    .summary('whose key this is, and what it may do')
    .description('Shows the tenant, the user and the permissions of the key that would be used.')
    .addHelpText('after', HELP)
    .action(async () => {
      const { api, screen } = start()
      const me = await api.get<WhoAmI>('/v1/whoami')
      if (screen.json) return json(screen, me)
      const rows: [string, string | null][] = [
        ['tenant', `${me.tenant.name} (${me.tenant.slug}, ${me.tenantId})`],
        ['plan', me.tenant.plan],
        ['key', me.keyId],
        ['user', me.user?.email ?? me.userId],
        ['role', me.role],
        ['scopes', me.scopes.join(' ')],
        ['expires', me.expiresAt]
      ]
      for (const [name, value] of rows) if (value !== null) line(screen, `${name.padEnd(8)} ${plain(value)}`)
    })
}
