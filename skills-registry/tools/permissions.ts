import type { Permissions } from '#skills-registry/package/manifest.ts'
import type { Capability } from './capability.ts'

type FetchRule = NonNullable<Permissions['fetch']>[number]
type Verb = FetchRule['methods'][number]

const VERBS: readonly Verb[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/**
 * What a called skill may do: only what both it and its caller were granted. One rule for every part, so that neither can
 * be the other's deputy. A caller gains nothing by calling: no secret, host or event type of the called one that it was
 * not granted itself. The called one gains nothing by being called: its caller's rights are not lent to it either.
 *
 * A right is the smallest thing that can be named: a method at a host, the secret that goes with it, one event type, one
 * address of a tool. A secret is attached where both name the same one for that method and host; where they do not, the
 * request is sent without any. Storage and files are the weaker of the two, tokens the fewer.
 */
export function intersect(a: Permissions, b: Permissions): Permissions {
  return pruned({
    fetch: bothFetch(a.fetch ?? [], b.fetch ?? []),
    storage: weaker(a.storage, b.storage),
    files: weaker(a.files, b.files),
    secrets: common(a.secrets, b.secrets),
    events: common(a.events, b.events),
    model: a.model && b.model && { tokens: Math.min(a.model.tokens, b.model.tokens) },
    tools: common(a.tools, b.tools)
  })
}

/** Names of the host calls that a skill with these permissions finds in its ctx, beside log and progress. */
export function namesFor(permissions: Permissions, capabilities: readonly Capability[]): string[] {
  return capabilities.flatMap((capability) => capability.names(permissions))
}

/** The rule that holds for a method at a host: the first that names both. */
export function fetchRule(rules: readonly FetchRule[] | undefined, host: string, verb: string): FetchRule | undefined {
  return rules?.find((rule) => rule.host === host && (rule.methods as readonly string[]).includes(verb))
}

function bothFetch(a: readonly FetchRule[], b: readonly FetchRule[]): FetchRule[] {
  const hosts = [...new Set(a.map(({ host }) => host))]
  return hosts.flatMap((host) => {
    const bySecret = new Map<string | undefined, Verb[]>()
    for (const verb of VERBS) {
      const mine = fetchRule(a, host, verb)
      const theirs = fetchRule(b, host, verb)
      if (!mine || !theirs) continue
      const secret = mine.secret === theirs.secret ? mine.secret : undefined
      bySecret.set(secret, [...(bySecret.get(secret) ?? []), verb])
    }
    return [...bySecret].map(([secret, methods]) => ({ host, methods, ...(secret === undefined ? {} : { secret }) }))
  })
}

function weaker(a: 'read' | 'write' | undefined, b: 'read' | 'write' | undefined): 'read' | 'write' | undefined {
  if (a === undefined || b === undefined) return undefined
  return a === 'read' ? a : b
}

function common(a: readonly string[] = [], b: readonly string[] = []): string[] {
  const others = new Set(b)
  return [...new Set(a)].filter((name) => others.has(name))
}

/** Without the parts that give nothing: an absent one is refused as an empty one is. */
function pruned(permissions: Permissions): Permissions {
  const parts = Object.entries(permissions)
  return Object.fromEntries(
    parts.filter(([, part]) => part !== undefined && !(Array.isArray(part) && part.length === 0))
  )
}
