import t from 'tap'
import { z } from 'zod'
import { AppError } from '#core/errors.ts'
import { bootOrder, definePlugin, type Room } from '#core/plugin.ts'
import { testApp } from '#test/support/app.ts'

const room = (name: string, more: Partial<Room> = {}) => ({ room: definePlugin({ name, register() {}, ...more }) })
const names = (seats: { room: Room }[]) => seats.map((seat) => seat.room.name)

async function problemsOf(work: () => unknown): Promise<string> {
  try {
    await work()
  } catch (error) {
    if (error instanceof AppError && error.code === 'BOOT_FAILED') return error.message
    throw error
  }
  return ''
}

t.test('rooms are registered after what they need, otherwise in the given order', async (t) => {
  const seats = [room('c', { needs: ['b', 'db'] }), room('x'), room('b', { needs: ['a'] }), room('a')]
  t.strictSame(names(bootOrder(seats, ['db'])), ['a', 'b', 'c', 'x'])
})

t.test('everything that is missing is named at once, with who needs it', async (t) => {
  const message = await problemsOf(() =>
    bootOrder([room('a', { needs: ['bus', 'nobody'] }), room('b', { uses: ['tools.call'] })], ['db'])
  )
  t.match(message, 'room "a" needs "bus"')
  t.match(message, 'room "a" needs "nobody"')
  t.match(message, 'room "b" uses the port "tools.call", which no listed room provides')
  t.equal(names(bootOrder([room('b', { uses: ['p'] }), room('c', { provides: ['p'] })])).length, 2)
  t.equal(names(bootOrder([room('b', { uses: ['p'] })], [], ['p'])).length, 1)
})

t.test('a circle of needs is named as a path', async (t) => {
  const seats = [room('start', { needs: ['a'] }), room('a', { needs: ['b'] }), room('b', { needs: ['a'] })]
  t.match(await problemsOf(() => bootOrder(seats)), 'a -> b -> a')
})

t.test('two owners of one name stop the boot: room, table, permission, machine, port, decorator', async (t) => {
  const both = {
    tables: ['x.t'],
    permissions: { 'x:read': 'Read.' },
    machines: [{ kind: 'm', table: 'x.t' }],
    provides: ['p'],
    decorators: ['d']
  }
  const message = await problemsOf(() => bootOrder([room('a', both), room('b', both), room('a'), room('db')], ['db']))
  for (const kind of [
    'room "a"',
    'room "db"',
    'table "x.t"',
    'permission "x:read"',
    'machine "m"',
    'port "p"',
    'decorator "d"'
  ]) {
    t.match(message, kind)
  }
})

t.test('the app of a broken room does not come up, and says which and why', async (t) => {
  const boot = (broken: Partial<Room>, options?: unknown) =>
    problemsOf(() => testApp(t, { rooms: [{ ...room('odd', broken), options }] }))
  const register: Room['register'] = (app) => void app.get('/v1/odd', async () => 1)
  t.match(await boot({ register }), 'route GET /v1/odd (room "odd") names no permission')
  t.match(
    await boot({ register: (app) => void app.get('/v1/odd', { config: { permission: 'odd:read' } }, async () => 1) }),
    'route GET /v1/odd (room "odd") names the permission "odd:read", which no room declares'
  )
  const permissions = { 'platform:odd': 'Look at what is odd.' }
  const config = { permission: 'platform:odd' }
  t.match(
    await boot({ permissions, register: (app) => void app.get('/v1/odd', { config }, async () => 1) }),
    'route GET /v1/odd (room "odd") names the permission "platform:odd", which is for /v1/platform only'
  )
  t.match(await boot({ decorators: ['nothing'] }), 'room "odd" names the decorator "nothing" and does not make it')
  const schema = z.strictObject({ size: z.number() })
  t.match(
    await boot({ options: schema }, { size: 'x', colour: 1 }),
    'option /colour of room "odd": unknown key "colour"'
  )
  t.match(await boot({}, { size: 1 }), 'room "odd" takes no options')
  t.match(await boot({ needs: ['bus'] }), 'room "odd" needs "bus"')
})

t.test('the manifest of every room is served with its routes, and the boot order is logged', async (t) => {
  const seat = room('shapes', {
    needs: ['db', 'auth'],
    permissions: { 'shapes:read': 'See shapes.' },
    tables: ['shapes.shape'],
    register: (app) => void app.get('/v1/shapes', { config: { permission: 'shapes:read' } }, async () => [])
  })
  const { app, lines } = await testApp(t, { rooms: [seat] })
  const shapes = app.rooms().find((info) => info.name === 'shapes')
  t.match(shapes, {
    needs: ['db', 'auth'],
    tables: ['shapes.shape'],
    routes: [{ method: 'GET', url: '/v1/shapes', permission: 'shapes:read' }],
    state: 'registered'
  })
  t.ok(lines.some((line) => /"rooms":\["tenants",.*"auth",.*"system",.*"shapes"\]/.test(line)))
})

t.test('a third party finds all it needs in agentos/plugin', async (t) => {
  const surface = await import('agentos/plugin')
  const { definePlugin, defineEvent, defineError, defineMachine, idempotent, page, z } = surface
  for (const given of [definePlugin, defineEvent, defineError, defineMachine, idempotent, page])
    t.type(given, 'function')
  t.equal(z.string().parse('x'), 'x')
})
