// Every route x every kind of user: each role of the tenant, members of another one, of both, of none, and tokens that are
// worth nothing any more. API keys are routes.test.ts.
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { ownKey } from '#core/auth/jwt/own.ts'
import { ROLES, type Role } from '#core/auth/roles.ts'
import { permits } from '#core/auth/scopes.ts'
import { createUser } from '#core/auth/users.ts'
import { newId } from '#core/ids.ts'
import { must } from '#core/must.ts'
import { Random } from '#test/chaos/random.ts'
import { cheapHash } from '#test/support/cheap-hash.ts'
import { argument, count } from './support/proof.ts'
import { routeRows, routesOf } from './support/route-rows.ts'
import { nowhere, type Params, type RouteRow } from './support/rows/row.ts'
import { type Citizen, world } from './support/world.ts'

// CI asks each route as each role and as one of each kind of stranger, another each time; `npm run test:tenancy` as all.
const seed = argument('whole') === undefined ? (argument('seed') ?? randomBytes(4).toString('hex')) : undefined
t.comment(seed === undefined ? 'whole' : `--seed=${seed}`)
const random = new Random(seed ?? '')
const some = <T>(all: readonly T[], n: number): readonly T[] =>
  seed === undefined ? all : random.shuffle(all).slice(0, n)

const server = await world(t)
const a = await server.citizen('a')
const b = await server.citizen('b')
const signing = ownKey(server.secrets.userTokenKey)
let requests = 0

interface User {
  id: string
  headers: { authorization: string }
}

/** A user with a login of ours. */
async function user(tenants: Readonly<Record<string, Role>>): Promise<User> {
  const email = `${newId()}@example.com`
  const { id } = await server.db.system((tx) => createUser(tx, { email, password: cheapHash('correct horse battery') }))
  for (const [tenantId, role] of Object.entries(tenants)) {
    await server.sql`insert into core.member (tenant_id, user_id, role) values (${tenantId}, ${id}, ${role})`
  }
  const { accessToken } = await server.auth.logins.logIn(email, 'correct horse battery', '127.0.0.1')
  return { id, headers: { authorization: `Bearer ${accessToken.reveal()}` } }
}

const roles = new Map<Role, User>()
for (const role of Object.keys(ROLES) as Role[]) roles.set(role, await user({ [a.tenantId]: role }))
const member = must(roles.get('member'), 'a member of a')

const ofB = await user({ [b.tenantId]: 'owner' })
const ofBoth = await user({ [a.tenantId]: 'member', [b.tenantId]: 'owner' })
const ofNone = await user({})
const owner = must(roles.get('owner'), 'the owner of a')

/** The owner's own token, ended an hour ago, and one of a login that nobody began. */
const [claims] = await server.sql<{ loginId: string; version: number }[]>`
  select l.id as "loginId", u.version from core.login l join core.app_user u on u.id = l.user_id where u.id = ${owner.id}`
const { loginId, version } = must(claims, "the owner's login")
const signed = async (login: string, at: number) => ({
  authorization: `Bearer ${(await signing.sign({ userId: owner.id, loginId: login, version }, at)).reveal()}`
})
const worthless: Readonly<Record<string, object>> = {
  'an expired token': await signed(loginId, Date.now() - 3_600_000),
  'a token of a login that is not there': await signed(newId(), Date.now()),
  'a token with another signature': { authorization: owner.headers.authorization.replace(/.{8}$/, 'AAAAAAAA') },
  'no token': {}
}

async function ask(route: string, params: Params, row: RouteRow, headers: object) {
  const [method = '', path = ''] = route.split(' ')
  const wanted = row.request?.(a)
  const url = path.replace(/:(\w+)/g, (_all, name) => encodeURIComponent(params[name] ?? 'missing'))
  const { statusCode, body } = await server.app.inject({
    method: method as 'GET',
    url: url + (wanted?.query ?? ''),
    headers: { ...wanted?.headers, ...headers },
    ...(wanted?.payload === undefined ? {} : { payload: wanted.payload })
  })
  requests++
  const code = /"code":"([A-Z_]+)"/.exec(body)?.[1]
  return { status: statusCode, code }
}

const own = async (row: RouteRow, who: Citizen) => (await row.own?.(server, who)) ?? {}

for (const route of routesOf(server.app).filter((one) => !one.startsWith('HEAD '))) {
  const row = routeRows[route]
  if (row && row.permission !== 'public') t.test(route, (t) => checkRoute(t, route, row))
}

async function checkRoute(t: Test, route: string, row: RouteRow): Promise<void> {
  const { permission } = row
  const may = (role: Role) =>
    permission === 'authenticated' || permits({ tenantId: a.tenantId, scopes: ROLES[role] }, permission)

  for (const [role, { headers }] of roles) {
    const { status, code } = await ask(route, await own(row, a), row, headers)
    const refused = status === 403 && code === 'AUTH_PERMISSION_MISSING'
    t.equal(refused, !may(role), `${role}: ${status} ${code ?? ''}`)
    t.ok(code !== 'AUTH_REQUIRED' && status < 500, `${role} is known`)
    if (row.had && row.absent && may(role)) {
      const [foreign, absent] = [
        await ask(route, row.had(b), row, headers),
        await ask(route, row.absent(), row, headers)
      ]
      t.ok(foreign.status >= 400, `${role} reaches nothing of another tenant: ${foreign.status}`)
      t.strictSame(foreign, absent, 'and is told what is told of what is not there')
    }
  }
  for (const [who, headers] of some(Object.entries(worthless), 1)) {
    const { status, code } = await ask(route, await own(row, a), row, headers)
    t.strictSame({ status, code }, { status: 401, code: 'AUTH_REQUIRED' }, who)
  }

  const naming = (who: User, tenant: string) =>
    own(row, a).then((params) => ask(route, params, row, { ...who.headers, 'agentos-tenant': tenant }))
  for (const who of some([ofB, ofNone, member], 1)) {
    const theirs = who === member ? [b.tenantId, b.slug] : [a.tenantId, a.slug]
    for (const tenant of [...some(theirs, 1), ...some([nowhere, 'nobody'], 1)]) {
      const { status, code } = await naming(who, tenant)
      t.strictSame({ status, code }, { status: 403, code: 'AUTH_TENANT_MISMATCH' }, 'of a tenant that is not theirs')
    }
  }
  const undecided = await ask(route, await own(row, a), row, ofBoth.headers)
  t.strictSame(undecided, { status: 400, code: 'AUTH_TENANT_REQUIRED' }, 'a member of two names one')
  const decided = await naming(ofBoth, a.slug)
  const alike = await ask(route, await own(row, a), row, member.headers)
  t.equal(decided.code === 'AUTH_PERMISSION_MISSING', !may('member'), `and is a member there: ${decided.status}`)
  t.equal(decided.code === 'AUTH_PERMISSION_MISSING', alike.code === 'AUTH_PERMISSION_MISSING')
  const nobody = await ask(route, await own(row, a), row, ofNone.headers)
  t.equal(nobody.status, 403, 'who is a member of nothing gets nothing')
}

t.test('the roles are told apart by the table of roles and nothing else', async (t) => {
  const denied = (role: Role) =>
    [...server.app.permissions.keys()].filter(
      (permission) => !permits({ tenantId: a.tenantId, scopes: ROLES[role] }, permission)
    ).length
  t.ok(denied('viewer') > denied('member'))
  t.ok(denied('member') > denied('admin'))
  t.ok(denied('admin') > denied('owner'))
  count(t, 'roles', { roles: roles.size, requests })
})
