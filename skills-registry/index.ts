import type { ObjectStore } from '#core/objects/index.ts'
import { definePlugin } from '#core/plugin.ts'
import { SkillInstalled, SkillPublished, SkillUninstalled } from './events.ts'
import { installRoutes } from './install-routes.ts'
import { RegistryOptions } from './options.ts'
import { registryRoutes } from './routes.ts'
import { loadOrCreateKeyFile } from './signing/keys.ts'
import { acceptUploads } from './upload.ts'

/** Signed skills: publish, find, install. The room beside it, tools/, runs them. */
const skillsRegistry = definePlugin<RegistryOptions>({
  name: 'skills-registry',
  needs: ['db', 'bus', 'objects'],
  options: RegistryOptions,
  emits: [SkillPublished, SkillInstalled, SkillUninstalled],
  permissions: {
    'registry:read': 'Search the registry and fetch published skills.',
    'skills:publish': 'Publish skills under the scopes of the tenant.',
    'skills:read': 'See what the tenant installed.',
    'skills:install': 'Install and uninstall skills for the tenant.'
  },
  tables: [
    'registry.scope',
    'registry.author_key',
    'registry.skill',
    'registry.version',
    'registry.log',
    'registry.install'
  ],
  migrations: new URL('./sql/', import.meta.url),
  async register(app, options) {
    const objects = app.getDecorator<ObjectStore>('objects')
    const seed = options.keySeed && Buffer.from(options.keySeed.reveal(), 'base64url')
    const registryKey = await loadOrCreateKeyFile(options.keyFile, seed)
    await acceptUploads(app)
    registryRoutes(app, { bus: app.bus, objects, registryKey, reservedScopes: options.reservedScopes })
    installRoutes(app, { bus: app.bus, objects, roots: [registryKey.spki, ...options.trustedRoots] })
  }
})

export default skillsRegistry
