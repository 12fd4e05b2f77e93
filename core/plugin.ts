import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { ZodType } from 'zod'
import { defineError } from '#core/errors.ts'
import type { EventType } from '#core/events.ts'

/** The app as rooms see it: Fastify whose route schemas are zod. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>

/** What the manifest says of a machine; the whole kind (core/actors) is the room's business. */
export interface NamedMachine {
  readonly kind: string
  readonly table: string
}

/**
 * The manifest of a room: reading it is reading the subsystem. `needs` names kernel parts (db, bus, actors, jobs,
 * objects, ports) or rooms; they are there, and registered, before `register` runs.
 */
export interface Room<O = unknown> {
  name: string
  needs?: readonly string[]
  /** Strict schema of the room's options; parsed once, before `register`. */
  options?: ZodType<O>
  consumes?: readonly EventType[]
  emits?: readonly EventType[]
  machines?: readonly NamedMachine[]
  /** Permission -> one sentence that says what its holder may do. */
  permissions?: Readonly<Record<string, string>>
  /** Ports that the room provides to others, and ports of others that it cannot do without. */
  provides?: readonly string[]
  uses?: readonly string[]
  /** Schema-qualified, `billing.ledger`. */
  tables?: readonly string[]
  /** Folder of NNNN_what.sql. */
  migrations?: URL
  /** What the room adds to the app for others. Whatever else it decorates stays inside the room. */
  decorators?: readonly string[]
  register(app: App, options: O): Promise<void> | void
}

/** A room and the options that config gives it. */
export interface Seat {
  room: Room
  options?: unknown
}

export const BootFailed = defineError('BOOT_FAILED', 500, (problems: string[]) => ({
  message: `the boot stops: ${problems.join('; ')}`,
  details: { problems }
}))

/** Marks a manifest; types of `register` follow from `options`. */
export function definePlugin<O = unknown>(room: Room<O>): Room<O> {
  return room
}

/**
 * The rooms in the order in which they are registered: whoever is needed stands before who needs it, otherwise the
 * given order is kept.
 * @param kernelParts names that `needs` may hold besides rooms
 * @param kernelPorts ports that the kernel itself provides
 * @throws BootFailed naming every missing need, cycle, missing port and doubled name at once
 */
export function bootOrder(
  seats: readonly Seat[],
  kernelParts: readonly string[] = [],
  kernelPorts: readonly string[] = []
): Seat[] {
  const problems = [...doubledNames(seats, kernelParts), ...missing(seats, kernelParts, kernelPorts)]
  if (problems.length > 0) throw new BootFailed(problems)

  const byName = new Map(seats.map((seat) => [seat.room.name, seat]))
  const ordered = new Set<Seat>()
  const visit = (seat: Seat, path: string[]) => {
    if (ordered.has(seat)) return
    const { name, needs = [] } = seat.room
    if (path.includes(name)) {
      const cycle = [...path.slice(path.indexOf(name)), name].join(' -> ')
      throw new BootFailed([`rooms need each other in a circle: ${cycle}`])
    }
    for (const need of needs) {
      const needed = byName.get(need)
      if (needed) visit(needed, [...path, name])
    }
    ordered.add(seat)
  }
  for (const seat of seats) visit(seat, [])
  return [...ordered]
}

function missing(seats: readonly Seat[], kernelParts: readonly string[], kernelPorts: readonly string[]): string[] {
  const rooms = new Set(seats.map(({ room }) => room.name))
  const ports = new Set([...kernelPorts, ...seats.flatMap(({ room }) => room.provides ?? [])])
  return seats.flatMap(({ room }) => [
    ...(room.needs ?? [])
      .filter((need) => !rooms.has(need) && !kernelParts.includes(need))
      .map((need) => `room "${room.name}" needs "${need}", which is neither a kernel part nor a listed room`),
    ...(room.uses ?? [])
      .filter((port) => !ports.has(port))
      .map((port) => `room "${room.name}" uses the port "${port}", which no listed room provides`)
  ])
}

// Two owners of one name would overwrite each other silently: the later table, permission or port would win.
function doubledNames(seats: readonly Seat[], kernelParts: readonly string[]): string[] {
  const kinds: [string, (room: Seat['room']) => readonly string[]][] = [
    ['room', (room) => [room.name]],
    ['table', (room) => room.tables ?? []],
    ['permission', (room) => Object.keys(room.permissions ?? {})],
    ['machine', (room) => (room.machines ?? []).map((machine) => machine.kind)],
    ['port', (room) => room.provides ?? []],
    ['decorator', (room) => room.decorators ?? []]
  ]
  const problems: string[] = []
  for (const [kind, namesOf] of kinds) {
    const owners = new Map<string, string>()
    if (kind === 'room' || kind === 'decorator') for (const part of kernelParts) owners.set(part, 'the kernel')
    for (const { room } of seats) {
      for (const name of namesOf(room)) {
        const owner = owners.get(name)
        if (owner !== undefined) problems.push(`${kind} "${name}" of room "${room.name}" is already taken by ${owner}`)
        owners.set(name, `room "${room.name}"`)
      }
    }
  }
  return problems
}

/** Name and SQL folder of each room that brings tables, in boot order: what core/db's migrate wants. */
export function migrationsOf(seats: readonly Seat[]): { name: string; dir: URL }[] {
  return seats.flatMap(({ room }) => (room.migrations ? [{ name: room.name, dir: room.migrations }] : []))
}
