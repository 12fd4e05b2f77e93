import { hkdfSync } from 'node:crypto'
import { Secret } from '#core/secret.ts'
import { MigrationLogin } from './errors.ts'

export interface DerivedSecrets {
  appPassword: Secret
  systemPassword: Secret
  apiKeyPepper: Secret
  /** what users' access and refresh tokens are made with */
  userTokenKey: Secret
  tenantHmacKey: Secret
  /** base64url of 32 bytes: the first key encryption key of the vault */
  kek: Secret
  /** base64url of 32 bytes: what the registry's signing key is made of */
  registryKeySeed: Secret
  /** base64url of 32 bytes: what the key that signs audit chains is made of */
  auditKeySeed: Secret
  /** Says whether a database was made with this secret, without telling the secret. */
  check: string
}

/** Everything that is derived from AGENTOS_SECRET (HKDF-SHA-256, one label each), base64url of 32 bytes. */
export function deriveSecrets(secret: Secret): DerivedSecrets {
  const derive = (label: string) =>
    Buffer.from(hkdfSync('sha256', secret.reveal(), 'agentos', `agentos/${label}`, 32)).toString('base64url')
  return {
    appPassword: new Secret(derive('database-app')),
    systemPassword: new Secret(derive('database-system')),
    apiKeyPepper: new Secret(derive('api-key-pepper')),
    userTokenKey: new Secret(derive('user-token')),
    tenantHmacKey: new Secret(derive('tenant-hmac')),
    kek: new Secret(derive('kek-1')),
    registryKeySeed: new Secret(derive('registry-key')),
    auditKeySeed: new Secret(derive('audit-key')),
    check: derive('installation-check')
  }
}

/** The admin URL with the login of agentos_app or agentos_system in its place. @throws MigrationLogin without a host */
export function loginUrl(adminUrl: string, user: 'agentos_app' | 'agentos_system', password: Secret): string {
  const url = new URL(adminUrl)
  url.username = user
  url.password = encodeURIComponent(password.reveal())
  // A URL without a host (a socket folder in its query) cannot hold a login: it would silently stay the admin's.
  if (url.username !== user) throw new MigrationLogin('the URL must name a host, for instance 127.0.0.1')
  return url.href
}
