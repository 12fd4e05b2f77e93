import t from 'tap'
import { ROLES, roleNames } from '#core/auth/roles.ts'
import { covers } from '#core/auth/scopes.ts'
import { testApp } from '#test/support/app.ts'

t.test('each role by what it may and may not do', async (t) => {
  const table: [permission: string, owner: boolean, admin: boolean, member: boolean, viewer: boolean][] = [
    ['tenant:delete', true, false, false, false],
    ['members:owners', true, false, false, false],
    ['members:write', true, true, false, false],
    ['keys:write', true, true, false, false],
    ['audit:read', true, true, false, false],
    ['secrets:write', true, true, false, false],
    ['sessions:write', true, true, true, false],
    ['skills:publish', true, true, true, false],
    ['sessions:read', true, true, true, true],
    ['events:read', true, true, true, true],
    // a stranger's room
    ['greetings:read', true, true, true, true],
    ['greetings:write', true, true, false, false],
    ['platform:rooms', false, false, false, false],
    ['platform:read', false, false, false, false]
  ]
  for (const [permission, ...wanted] of table) {
    t.strictSame(
      roleNames.map((role) => covers(ROLES[role], permission)),
      wanted,
      permission
    )
  }
})

t.test('what a role takes away cannot be had as a wider scope either', async (t) => {
  for (const scope of ['*', 'tenant:*', '*:delete', 'members:*', 'members:owners'])
    t.notOk(covers(ROLES.admin, scope), scope)
  for (const scope of ['sessions:*', 'keys:*', '*:read', 'tenant:write']) t.ok(covers(ROLES.admin, scope), scope)
  t.notOk(covers(ROLES.viewer, '*:read') || covers(ROLES.member, '*:read'), 'the audit log would be in it')
})

t.test('every pattern of the table names a permission that some room declares', async (t) => {
  const { app } = await testApp(t)
  // Rooms that the kernel alone does not have.
  const known = [
    ...app.permissions.keys(),
    'sessions:read',
    'agents:read',
    'skills:read',
    'registry:read',
    'events:read'
  ]
  for (const pattern of new Set(Object.values(ROLES).flat())) {
    const scope = pattern.replace(/^!/, '')
    t.ok(
      known.some((permission) => covers([scope], permission)),
      pattern
    )
  }
})
