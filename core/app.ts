import Fastify, { type FastifyBaseLogger, type FastifyRequest, LogController } from 'fastify'
import { serializerCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { auditRoom } from '#core/audit/index.ts'
import type { Auth, Identity } from '#core/auth/auth.ts'
import { guardRoutes, identityIn } from '#core/auth/guard.ts'
import { authRoom } from '#core/auth/index.ts'
import type { Clock } from '#core/clock.ts'
import { addTenancyChecks } from '#core/db/doctor.ts'
import type { Db, Tx } from '#core/db/types.ts'
import { Doctor } from '#core/doctor/doctor.ts'
import { doctorRoom } from '#core/doctor/index.ts'
import { addEdgeChecks, type EdgeOptions, edgeServer, guardEdge } from '#core/http/edge/index.ts'
import { Health } from '#core/http/health.ts'
import { acceptJson, acceptStorable, requestId, sendClientError, sendNotFound } from '#core/http/intake.ts'
import { limitRoutes, type RateLimits } from '#core/http/limits/index.ts'
import { describeApi, serveDocs } from '#core/http/openapi.ts'
import { notePlatformUse } from '#core/http/platform-use.ts'
import { probeRoutes } from '#core/http/probes.ts'
import { bodyLimit, sendProblem } from '#core/http/problem.ts'
import { RouteGuard } from '#core/http/route-guard.ts'
import { Shutdown } from '#core/http/shutdown.ts'
import { type RoomInfo, systemRoom } from '#core/http/system.ts'
import { fieldErrors, validatorCompiler } from '#core/http/validation.ts'
import type { Log } from '#core/log.ts'
import { coreMigrations } from '#core/migrations.ts'
import { type App, BootFailed, bootOrder, migrationsOf, type Seat } from '#core/plugin.ts'
import { tenantsRoom } from '#core/tenants/index.ts'
import type { PlanTable } from '#core/tenants/plans.ts'
import { vaultRoom } from '#core/vault/index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    clock: Clock
    auth: Auth
    health: Health
    shutdown: Shutdown
    /** Every permission that a room declared, with its sentence. */
    permissions: ReadonlyMap<string, string>
    /** The manifests, in boot order. */
    rooms(): RoomInfo[]
  }
  interface FastifyRequest {
    /** Who asks; reading it on a public route is a defect (500). */
    auth: Identity
    /** One transaction as the caller's tenant. */
    tenant<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  }
  interface FastifyContextConfig {
    /** A declared permission, `authenticated` or `public`. */
    permission?: string
    /** No access line in the log (probes). */
    quiet?: boolean
  }
}

/**
 * What rooms stand on. Optional parts are decorated under their name when given; each declares its own type on
 * FastifyInstance where it lives.
 */
export interface Kernel {
  log: Log
  clock: Clock
  db: Db
  auth: Auth
  health?: Health
  shutdown?: Shutdown
  doctor?: Doctor
  bus?: object
  actors?: object
  jobs?: object
  objects?: object
  ports?: object
  ws?: object
  /** What plans allow; without it nothing is limited by a plan. */
  plans?: PlanTable
  /** Without it nothing is limited. */
  limits?: RateLimits
  /** Without these there are no rooms `vault` and `audit`. */
  vault?: object
  audit?: object
}

export interface AppOptions {
  kernel: Kernel
  rooms: readonly Seat[]
  /** Ports that the kernel itself provides. */
  kernelPorts?: readonly string[]
  version?: string
  /** Proxies, other pages, load: what the operator's network looks like. */
  edge?: EdgeOptions
}

/** Rooms of the kernel itself; every app has them. */
const coreRooms: readonly Seat[] = [
  { room: tenantsRoom },
  { room: authRoom },
  { room: auditRoom },
  { room: vaultRoom },
  { room: systemRoom },
  { room: doctorRoom }
]

/**
 * The whole app without a listener: kernel parts decorated, rooms registered in the order of their needs, every route
 * held to a declared permission.
 * @throws BootFailed naming what is missing, doubled, cyclic or unguarded
 */
export async function buildApp(options: AppOptions): Promise<App> {
  const { kernel, version = '0.0.0', edge = {} } = options
  const { health = new Health(kernel), shutdown = new Shutdown(kernel), doctor = new Doctor(kernel), ...parts } = kernel
  const given = Object.entries({ ...parts, health, shutdown, doctor }).filter(([, part]) => part !== undefined)
  // A part of the same name as its room (auth, doctor) is needed as the room.
  const own = new Set(coreRooms.map(({ room }) => room.name))
  const kernelParts = given.map(([name]) => name).filter((name) => !own.has(name))
  const absent = new Set([...(kernel.vault ? [] : [vaultRoom]), ...(kernel.audit ? [] : [auditRoom])])
  const always = coreRooms.filter(({ room }) => !absent.has(room))
  const seats = bootOrder([...always, ...options.rooms], kernelParts, options.kernelPorts)
  const parsed = seats.map((seat) => ({ room: seat.room, options: parseOptions(seat) }))

  const app: App = newFastify(kernel.log, edge)
  const routes = new RouteGuard()
  const permissions = new Map(seats.flatMap(({ room }) => Object.entries(room.permissions ?? {})))
  const states = new Map<string, RoomInfo['state']>(seats.map(({ room }) => [room.name, 'waiting']))

  for (const [name, part] of given) if (name !== 'log') app.decorate(name, part)
  app.decorate('permissions', permissions)
  app.decorate('rooms', () => seats.map(({ room }) => describe(room, routes, states)))
  health.add('db', () => kernel.db.ping())
  shutdown.step('not-ready', 'health', () => {
    health.draining = true
  })
  shutdown.step('drain', 'http', (signal) => {
    // Whoever still holds a connection when the time is over loses it: the rest of the way down must happen.
    signal.addEventListener('abort', () => app.server.closeAllConnections(), { once: true })
    // A kept-alive connection becomes idle only after its request in flight: without this it would stay to the limit.
    const idle = kernel.clock.every(50, () => app.server.closeIdleConnections())
    return new Promise<void>((resolve) => app.server.close(() => resolve())).finally(() => idle.cancel())
  })
  // Only now: rooms' onClose hooks end what running steps still needed in the drain (the sandbox).
  shutdown.step('release-leases', 'rooms', () => app.close())
  app.addHook('onClose', () => kernel.auth.settle())

  acceptJson(app)
  acceptStorable(app)
  logAccess(app)
  addTenancyChecks(doctor, kernel.db, [...coreMigrations, ...migrationsOf(options.rooms)])
  addEdgeChecks(doctor, edge, await guardEdge(app, edge, kernel.clock), kernel.limits)
  routes.watch(app)
  app.setNotFoundHandler((request, reply) => sendNotFound(routes, request, reply))
  await describeApi(app, version)
  guardRoutes(app)
  notePlatformUse(app)
  if (kernel.limits) limitRoutes(app, kernel.limits)
  probeRoutes(app)
  serveDocs(app)

  kernel.log.info({ rooms: seats.map(({ room }) => room.name) }, 'boot order of the rooms')
  for (const { room, options } of parsed) {
    routes.room = room.name
    states.set(room.name, 'registering')
    await seatRoom(app, room, options)
    states.set(room.name, 'registered')
  }
  routes.room = null
  routes.check(permissions)
  await app.ready()
  return app
}

function newFastify(log: FastifyBaseLogger, edge: EdgeOptions): App {
  const app = Fastify({
    ...edgeServer(edge),
    loggerInstance: log,
    bodyLimit,
    logController: new LogController({ disableRequestLogging: true }), // logAccess writes one line instead of two
    genReqId: requestId,
    forceCloseConnections: 'idle',
    return503OnClosing: false, // requests in flight are answered; new connections are not taken any more
    routerOptions: { maxParamLength: 256 },
    frameworkErrors: (error, request, reply) => sendProblem(error, request as FastifyRequest, reply),
    clientErrorHandler: sendClientError
  }).withTypeProvider<ZodTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.setErrorHandler(sendProblem)
  return app
}

// In a scope of its own: hooks and undeclared decorators of a room stay inside; declared ones are lifted to the app.
async function seatRoom(app: App, room: Seat['room'], options: unknown): Promise<void> {
  let scope: App | undefined
  await app.register(async (inner) => {
    scope = inner.withTypeProvider<ZodTypeProvider>()
    await room.register(scope, options)
  })
  for (const name of room.decorators ?? []) {
    if (!scope?.hasDecorator(name)) {
      throw new BootFailed([`room "${room.name}" names the decorator "${name}" and does not make it`])
    }
    app.decorate(name, scope.getDecorator(name))
  }
}

function parseOptions({ room, options }: Seat): unknown {
  if (!room.options) {
    if (options === undefined) return undefined
    throw new BootFailed([`room "${room.name}" takes no options`])
  }
  const result = room.options.safeParse(options ?? {})
  if (result.success) return result.data
  throw new BootFailed(
    fieldErrors(result.error).map(({ pointer, detail }) => `option ${pointer || '/'} of room "${room.name}": ${detail}`)
  )
}

function logAccess(app: App): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
  })
  app.addHook('onResponse', async (request, reply) => {
    if (request.routeOptions.config?.quiet) return
    const ms = Math.round(reply.elapsedTime)
    const { tenantId, actor } = identityIn(request) ?? {}
    const who = { tenantId, actor: actor && `${actor.kind}:${actor.id}` }
    request.log.info({ req: request, res: reply, ms, ...who }, `${request.method} ${reply.statusCode}`)
  })
}

function describe(room: Seat['room'], routes: RouteGuard, states: ReadonlyMap<string, RoomInfo['state']>): RoomInfo {
  return {
    name: room.name,
    needs: [...(room.needs ?? [])],
    permissions: { ...room.permissions },
    tables: [...(room.tables ?? [])],
    emits: (room.emits ?? []).map((event) => event.type),
    consumes: (room.consumes ?? []).map((event) => event.type),
    machines: (room.machines ?? []).map((machine) => machine.kind),
    provides: [...(room.provides ?? [])],
    uses: [...(room.uses ?? [])],
    decorators: [...(room.decorators ?? [])],
    routes: routes
      .routes()
      .filter((route) => route.room === room.name)
      .map(({ method, url, permission }) => ({ method, url, permission })),
    state: states.get(room.name) ?? 'waiting'
  }
}
