import type { DoctorCheck } from '#core/doctor/doctor.ts'
import type { Sandbox } from '#sandbox/index.ts'

/** What `agentos doctor tenancy` asks of the processes in which skills run. */
export function sandboxChecks(sandbox: Sandbox): DoctorCheck[] {
  return [
    {
      name: 'sandbox.isolation',
      title: 'skills run in a jail without network, host files, privileges or a share of memory',
      limitMs: 30_000, // the first look starts cells
      async run() {
        await sandbox.ready()
        const { jail, namespaces, noNewPrivs, limits, rssPoll, missing } = sandbox.status().isolation
        const layers = { jail, namespaces: namespaces.length > 0, noNewPrivs, limits: limits.length > 0, rssPoll }
        const absent = Object.entries(layers).flatMap(([layer, active]) => (active ? [] : [layer]))
        if (absent.length === 0) return { ok: true, detail: Object.keys(layers).join(', ') }
        const reasons = missing.map(({ layer, reason }) => `${layer}: ${reason}`).join('; ')
        return {
          ok: false,
          detail: `not active: ${absent.join(', ')} (${reasons || 'not available here'})`,
          fix: 'run on Linux with user namespaces, setpriv and prlimit (sandbox/README.md); SANDBOX_REQUIRE=strict refuses to start without them'
        }
      }
    },
    {
      name: 'sandbox.cells',
      title: 'no process of the sandbox ever ran code for two tenants',
      run() {
        const { cells, counts } = sandbox.status()
        const detail = `${counts.spawned} processes since the start, ${cells.length} alive, ${counts.shared} shared`
        if (counts.shared === 0) return { ok: true, detail }
        return { ok: false, detail, fix: 'stop this server and report this: it is a defect of the sandbox' }
      }
    }
  ]
}
