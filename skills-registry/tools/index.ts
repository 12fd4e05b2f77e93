import type { ObjectStore } from '#core/objects/index.ts'
import { definePlugin } from '#core/plugin.ts'
import type { Ports } from '#core/ports/ports.ts'
import { Sandbox } from '#sandbox/index.ts'
import { SkillLoader } from '#skills-registry/loader.ts'
import { createEventsCapability } from './capabilities/events.ts'
import { createFetchCapability } from './capabilities/fetch/index.ts'
import { createFilesCapability } from './capabilities/files.ts'
import { createModelCapability } from './capabilities/model.ts'
import { secretsCapability } from './capabilities/secrets.ts'
import { createStorageCapability } from './capabilities/storage.ts'
import { createToolsCapability } from './capabilities/tools.ts'
import type { Capability } from './capability.ts'
import { layerChecks, sandboxChecks } from './doctor.ts'
import { ToolQuarantined, ToolQuarantineLifted } from './events.ts'
import { ToolsOptions } from './options.ts'
import { createPort } from './port.ts'
import { probeChecks } from './probes.ts'
import { Quarantine, refuseQuarantined } from './quarantine/quarantine.ts'
import { quarantinePermissions, quarantineRoutes } from './quarantine/routes.ts'
import { createResolve } from './resolve.ts'
import { filePermissions, fileRoutes } from './routes/files.ts'
import { storagePermissions, storageRoutes } from './routes/storage.ts'
import { createRunner, type RunTool } from './run.ts'
import { takingTurns } from './turns.ts'

/** Runs the tools of installed skills: sandbox, capabilities, budgets, journal, quarantine. */
const tools = definePlugin<ToolsOptions>({
  name: 'tools',
  needs: ['db', 'bus', 'objects', 'ports', 'skills-registry'],
  options: ToolsOptions,
  provides: ['tools'],
  emits: [ToolQuarantined, ToolQuarantineLifted],
  permissions: { ...quarantinePermissions, ...storagePermissions, ...filePermissions },
  uses: ['secrets'],
  tables: [
    'tools.host_call',
    'tools.storage',
    'tools.storage_use',
    'tools.file',
    'tools.workspace',
    'tools.crash',
    'tools.quarantine'
  ],
  migrations: new URL('./sql/', import.meta.url),
  register(app, options) {
    const objects = app.getDecorator<ObjectStore>('objects')
    const ports = app.getDecorator<Ports>('ports')
    const sandbox = new Sandbox({ clock: app.clock, log: app.log, ...options.sandbox })
    app.addHook('onClose', () => sandbox.close())
    app.health.add('sandbox', () => describeSandbox(sandbox), { required: options.sandbox.require === 'strict' })
    for (const check of sandboxChecks(sandbox)) app.doctor.add('tenancy', check)
    const checks = [...layerChecks(sandbox), ...probeChecks({ sandbox, clock: app.clock })]
    for (const check of checks) app.doctor.add('sandbox', check)

    const loader = new SkillLoader(objects)
    const db = takingTurns(app.db)
    const capabilities: Capability[] = [
      secretsCapability,
      createFetchCapability({ clock: app.clock, db, secrets: () => ports.get('secrets'), ...options.fetch }),
      createStorageCapability(options.storage),
      createFilesCapability({ objects, limits: options.files }),
      createEventsCapability({ bus: app.bus }),
      createModelCapability({ port: () => (ports.has('model') ? ports.get('model') : undefined) }),
      createToolsCapability({ run: (...asked) => run(...asked) })
    ]
    const offered = new Set<string>(capabilities.map(({ name }) => name))
    const quarantine = new Quarantine({ db, bus: app.bus, clock: app.clock, log: app.log })
    quarantineRoutes(app, quarantine)
    storageRoutes(app, options.storage)
    fileRoutes(app, { objects, limits: options.files })
    const run: RunTool = createRunner({ db, log: app.log, sandbox, loader, objects, quarantine, capabilities })
    const resolve = createResolve({
      loader,
      offers: (permission) => offered.has(permission) && (permission !== 'model' || ports.has('model')),
      refuse: refuseQuarantined
    })
    ports.provide('tools', createPort({ loader, objects, sandbox, resolve, run }))
  }
})

/** Which walls this machine gives a cell: an operator looks for it at /readyz. @throws where `strict` cannot be had */
async function describeSandbox(sandbox: Sandbox) {
  await sandbox.ready()
  const { isolation, cells } = sandbox.status()
  const { jail, namespaces, noNewPrivs, missing } = isolation
  return { jail, namespaces, noNewPrivs, missing: missing.map(({ layer }) => layer), cells: cells.length }
}

export default tools
