import type { Permissions } from '#skills-registry/package/manifest.ts'

// What permissions mean, written a second time and otherwise: as a set of single rights, each a line of text. Nothing of the
// room is used here, so that a mistake of one is not repeated by the other.

export type Right = string

const known = new WeakMap<Permissions, ReadonlySet<Right>>()

/** Every right that permissions give, spelled out. Of rules that name the same method and host, the first holds. */
export function rightsOf(permissions: Permissions): ReadonlySet<Right> {
  const rights = known.get(permissions) ?? spelledOut(permissions)
  known.set(permissions, rights)
  return rights
}

function spelledOut(permissions: Permissions): Set<Right> {
  const rights = new Set<Right>()
  for (const { host, methods, secret } of permissions.fetch ?? []) {
    for (const verb of methods) {
      if (rights.has(`fetch ${verb} ${host}`)) continue
      rights.add(`fetch ${verb} ${host}`)
      if (secret !== undefined) rights.add(`attach ${secret} ${verb} ${host}`)
    }
  }
  for (const part of ['storage', 'files'] as const) {
    if (permissions[part] === 'read' || permissions[part] === 'write') rights.add(`${part} read`)
    if (permissions[part] === 'write') rights.add(`${part} write`)
  }
  for (const name of permissions.secrets ?? []) rights.add(`name ${name}`)
  for (const type of permissions.events ?? []) rights.add(`publish ${type}`)
  for (const address of permissions.tools ?? []) rights.add(`call ${address}`)
  return rights
}

/** Of a chain of skills, one above the other: everybody must have it. */
export function allHave(chain: readonly Permissions[], right: Right): boolean {
  for (const permissions of chain) if (!rightsOf(permissions).has(right)) return false
  return true
}

/** Rights of all of them, sorted: to be compared with `rightsOf` of what is said to be their intersection. */
export function commonRights(chain: readonly Permissions[]): Right[] {
  const [first, ...others] = chain.map(rightsOf)
  return [...(first ?? [])].filter((right) => others.every((rights) => rights.has(right))).sort()
}

/** 0 where one of them may not ask a model at all. */
export function fewestTokens(chain: readonly Permissions[]): number {
  return Math.min(...chain.map(({ model }) => model?.tokens ?? 0))
}

/** The host calls that ctx must have, no more and no fewer. */
export function expectedNames(chain: readonly Permissions[]): string[] {
  const common = commonRights(chain)
  const names: [string, (right: Right) => boolean][] = [
    ['fetch', (right) => right.startsWith('fetch ')],
    ['storage.get', (right) => right === 'storage read'],
    ['storage.list', (right) => right === 'storage read'],
    ['storage.set', (right) => right === 'storage write'],
    ['storage.delete', (right) => right === 'storage write'],
    ['files.read', (right) => right === 'files read'],
    ['files.list', (right) => right === 'files read'],
    ['files.stat', (right) => right === 'files read'],
    ['files.write', (right) => right === 'files write'],
    ['files.append', (right) => right === 'files write'],
    ['files.delete', (right) => right === 'files write'],
    ['events.publish', (right) => right.startsWith('publish ')],
    ['tools.call', (right) => right.startsWith('call ')]
  ]
  const found = names.filter(([, gives]) => common.some(gives)).map(([name]) => name)
  return (fewestTokens(chain) > 0 ? [...found, 'model.run'] : found).sort()
}
