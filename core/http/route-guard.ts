import type { AppError } from '#core/errors.ts'
import { MethodNotAllowed, RouteNotFound } from '#core/http/errors.ts'
import { type App, BootFailed } from '#core/plugin.ts'

export interface RouteInfo {
  method: string
  url: string
  permission: string
  /** The room that owns the route; null for the kernel's own. */
  room: string | null
}

/** Levels that need no declaration: anybody, and anybody with a valid key. */
const builtInPermissions = ['public', 'authenticated']
/** Older than the rule, and the path that its task named: docs/decisions/0006. */
const platformElsewhere = ['/v1/system/rooms']

interface SeenRoute {
  methods: string[]
  url: string
  room: string | null
  permission: () => string | undefined
}

/** Every route of the app, so that none is without a permission and a wrong method is told from a wrong path. */
export class RouteGuard {
  readonly #seen: SeenRoute[] = []
  /** The room that is registering just now. */
  room: string | null = null

  watch(app: App): void {
    app.addHook('onRoute', (route) => {
      const methods = [route.method].flat().filter((method) => method !== 'HEAD')
      // Read later: an inner hook of the same route may still set it.
      if (methods.length > 0) {
        this.#seen.push({ methods, url: route.url, room: this.room, permission: () => route.config?.permission })
      }
    })
  }

  /** @throws BootFailed naming each route whose permission is missing, declared by no room, or the platform's elsewhere */
  check(declared: ReadonlyMap<string, string>): void {
    const problems = this.#seen.flatMap((route) => {
      const name = `${route.methods.join('|')} ${route.url}${route.room ? ` (room "${route.room}")` : ''}`
      const permission = route.permission()
      if (permission === undefined) return [`route ${name} names no permission (config.permission)`]
      if (permission.startsWith('platform:') && !isPlatforms(route.url)) {
        return [`route ${name} names the permission "${permission}", which is for /v1/platform only`]
      }
      if (builtInPermissions.includes(permission) || declared.has(permission)) return []
      return [`route ${name} names the permission "${permission}", which no room declares`]
    })
    if (problems.length > 0) throw new BootFailed(problems)
  }

  routes(): RouteInfo[] {
    return this.#seen.flatMap(({ methods, url, room, permission }) =>
      methods.map((method) => ({ method, url, room, permission: permission() ?? '' }))
    )
  }

  /** 405 with the methods that this path has, or 404. */
  notFound(method: string, url: string): AppError {
    const path = url.split('?', 1)[0] ?? url
    const allowed = new Set(this.#seen.filter((route) => fits(route.url, path)).flatMap((route) => route.methods))
    return allowed.size > 0 ? new MethodNotAllowed(method, [...allowed].sort()) : new RouteNotFound(`${method} ${path}`)
  }
}

function isPlatforms(url: string): boolean {
  return url.startsWith('/v1/platform/') || platformElsewhere.includes(url)
}

function fits(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  const star = wanted.indexOf('*')
  if (star < 0 ? given.length !== wanted.length : given.length < star) return false
  return wanted.every(
    (part, i) => (star >= 0 && i >= star) || (part.startsWith(':') ? given[i] !== '' : part === given[i])
  )
}
