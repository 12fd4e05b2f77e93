// The one table of roles. It names patterns, not permissions: a room that nobody knows yet gets its permissions into it
// by their form. `<family>:read` is everybody's, every other verb the owner's and the admin's; a room whose other verbs
// are work for members names them in the family of that work (`sessions:*`, `skills:*`, ...).

/** What a member is in one tenant; a user may be something else in each. */
export type Role = 'owner' | 'admin' | 'member' | 'viewer'

/** Scopes (scopes.ts) by role; `!pattern` takes away, whatever else gives. Nothing here reaches `platform:*`. */
export const ROLES: Readonly<Record<Role, readonly string[]>> = {
  owner: ['*'],
  // Everything but taking all data out, ending the tenant and saying who owns it.
  admin: ['*', '!tenant:export', '!tenant:delete', '!members:owners'],
  // The audit log says who did what from which address: not for everybody.
  member: ['sessions:*', 'agents:*', 'skills:*', 'registry:*', 'events:*', '*:read', '!audit:*'],
  viewer: ['*:read', '!audit:*']
}

export const roleNames = Object.keys(ROLES) as Role[]
