import type { ObjectStore } from '#core/objects/index.ts'
import { definePlugin } from '#core/plugin.ts'
import type { Ports } from '#core/ports/ports.ts'
import { Sandbox } from '#sandbox/index.ts'
import { sandboxChecks } from './doctor.ts'
import { SkillInstalled, SkillPublished, SkillUninstalled } from './events.ts'
import { installRoutes } from './install-routes.ts'
import { SkillLoader } from './loader.ts'
import { RegistryOptions } from './options.ts'
import { registryRoutes } from './routes.ts'
import { loadOrCreateKeyFile } from './signing/keys.ts'
import { createTools } from './tools.ts'
import { acceptUploads } from './upload.ts'

/** Signed skills: publish, find, install, run. */
const skillsRegistry = definePlugin<RegistryOptions>({
  name: 'skills-registry',
  needs: ['db', 'bus', 'objects', 'ports'],
  options: RegistryOptions,
  emits: [SkillPublished, SkillInstalled, SkillUninstalled],
  permissions: {
    'registry:read': 'Search the registry and fetch published skills.',
    'skills:publish': 'Publish skills under the scopes of the tenant.',
    'skills:read': 'See what the tenant installed.',
    'skills:install': 'Install and uninstall skills for the tenant.'
  },
  provides: ['tools'],
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
    const sandbox = new Sandbox({ clock: app.clock, log: app.log, ...options.sandbox })
    app.addHook('onClose', () => sandbox.close())
    app.health.add('sandbox', () => describeSandbox(sandbox), { required: options.sandbox.require === 'strict' })
    for (const check of sandboxChecks(sandbox)) app.doctor.add('tenancy', check)
    app.getDecorator<Ports>('ports').provide('tools', createTools({ loader: new SkillLoader(objects), sandbox }))

    await acceptUploads(app)
    registryRoutes(app, { bus: app.bus, objects, registryKey, reservedScopes: options.reservedScopes })
    installRoutes(app, { bus: app.bus, objects, roots: [registryKey.spki, ...options.trustedRoots] })
  }
})

/** Which walls this machine gives a cell: an operator looks for it at /readyz. @throws where `strict` cannot be had */
async function describeSandbox(sandbox: Sandbox) {
  await sandbox.ready()
  const { isolation, cells } = sandbox.status()
  const { jail, namespaces, noNewPrivs, missing } = isolation
  return { jail, namespaces, noNewPrivs, missing: missing.map(({ layer }) => layer), cells: cells.length }
}

export default skillsRegistry
