import { defineError } from '#core/errors.ts'

export const SkillNotFound = defineError('SKILLS_NOT_FOUND', 404, (what: string) => `${what} is not in the registry`)
export const InstallNotFound = defineError('SKILLS_INSTALL_NOT_FOUND', 404, () => 'no such installed skill')
export const VersionTaken = defineError('SKILLS_VERSION_TAKEN', 409, (name: string, version: string) => ({
  message: `${name} ${version} was published with other bytes; versions are immutable, publish the next one`,
  details: { name, version }
}))
export const ScopeTaken = defineError(
  'SKILLS_SCOPE_TAKEN',
  403,
  (scope: string) => `the scope @${scope} belongs to another publisher`
)
export const ScopeReserved = defineError(
  'SKILLS_SCOPE_RESERVED',
  403,
  (scope: string) => `the scope @${scope} is reserved`
)
export const AuthorKeyUnknown = defineError('SKILLS_AUTHOR_KEY_UNKNOWN', 403, (scope: string, keyId: string) => ({
  message: `key ${keyId.slice(0, 16)}… does not speak for @${scope}: publish with the key of its first publication`,
  details: { keyId }
}))
export const DependenciesUnavailable = defineError(
  'SKILLS_DEPENDENCIES_UNAVAILABLE',
  422,
  (names: string[]) => `this registry does not resolve dependencies on other skills yet: ${names.join(', ')}`
)
export const GrantTooWide = defineError('SKILLS_GRANT_INVALID', 422, (pointer: string, detail: string) => ({
  message: `grant${pointer}: ${detail}`,
  details: { errors: [{ pointer: `/grant${pointer}`, detail }] }
}))
export const InstalledOtherwise = defineError(
  'SKILLS_INSTALLED_OTHERWISE',
  409,
  (name: string, version: string) => `${name} ${version} is installed with another grant: uninstall it first`
)
/** The registry's row and the signed bytes say different things: somebody changed the database or the object store. */
export const RegistryInconsistent = defineError(
  'SKILLS_REGISTRY_INCONSISTENT',
  409,
  (what: string) => `the registry's record of ${what} is not what was signed; it is not installed`
)
export const UploadInvalid = defineError('SKILLS_UPLOAD_INVALID', 400, (detail: string) => detail)
