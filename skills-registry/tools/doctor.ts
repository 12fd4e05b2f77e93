import type { DoctorCheck, Verdict } from '#core/doctor/doctor.ts'
import type { Sandbox, SandboxStatus } from '#sandbox/index.ts'

/** The first look starts cells. */
export const SANDBOX_LIMIT_MS = 30_000

type Look = Pick<Sandbox, 'ready' | 'status'>
type Isolation = SandboxStatus['isolation']

const LINUX = 'run on Linux (sandbox/README.md); SANDBOX_REQUIRE=strict refuses to start without its jail'

/** What `agentos doctor tenancy` asks of the processes in which skills run. */
export function sandboxChecks(sandbox: Look): DoctorCheck[] {
  return [
    {
      name: 'sandbox.isolation',
      title: 'skills run in a jail without network, host files, privileges or a share of memory',
      limitMs: SANDBOX_LIMIT_MS,
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
          fix: 'agentos doctor sandbox says what each of them needs; SANDBOX_REQUIRE=strict refuses to start without them'
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

/** What `agentos doctor sandbox` asks of each wall that a cell may have: detected by starting one, never assumed. */
export function layerChecks(sandbox: Look): DoctorCheck[] {
  const layer = (name: string, title: string, look: (isolation: Isolation) => Verdict): DoctorCheck => ({
    name,
    title,
    limitMs: SANDBOX_LIMIT_MS,
    async run() {
      await sandbox.ready()
      return look(sandbox.status().isolation)
    }
  })
  const wanted = (active: boolean, detail: string, isolation: Isolation, key: string, fix: string): Verdict =>
    active ? { ok: true, detail } : { ok: false, detail: reason(isolation, key), fix }
  return [
    layer(
      'sandbox.jail',
      'a cell sees a read-only root with node and itself in it, and no file of the host',
      (isolation) =>
        wanted(
          isolation.jail,
          'own root, its old one is gone',
          isolation,
          'jail',
          'needs mount, pivot_root (util-linux), setpriv and user namespaces: a container needs a seccomp profile that lets unshare and mount through'
        )
    ),
    layer('sandbox.namespaces', 'a cell has no network, and sees no process but its own', (isolation) =>
      wanted(
        isolation.namespaces.length > 0,
        isolation.namespaces.join(', '),
        isolation,
        'namespaces',
        'needs unshare (util-linux) and user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns'
      )
    ),
    layer('sandbox.no-new-privs', 'a cell cannot gain privileges, and dies with this server', (isolation) =>
      wanted(
        isolation.noNewPrivs,
        isolation.uid === null ? 'no-new-privs, the uid of this server' : `no-new-privs, uid ${isolation.uid}`,
        isolation,
        'setpriv',
        'needs setpriv (util-linux)'
      )
    ),
    layer('sandbox.limits', 'the system holds a cell to its files, cores, processes and data', (isolation) =>
      wanted(
        isolation.limits.length > 0,
        isolation.limits.join(', '),
        isolation,
        'prlimit',
        'needs prlimit (util-linux)'
      )
    ),
    layer(
      'sandbox.permission',
      'where there is no jail, node itself refuses files, processes and the network',
      (isolation) => {
        if (isolation.jail)
          return { ok: 'unknown', detail: 'the jail holds; the permission model is for where there is none' }
        return wanted(
          isolation.permission,
          'node --permission',
          isolation,
          'permission',
          'do not switch it off without a jail'
        )
      }
    ),
    layer('sandbox.rss-poll', 'a cell that takes too much memory is killed', (isolation) =>
      wanted(isolation.rssPoll, 'its resident memory is read every 50 ms', isolation, 'rssPoll', LINUX)
    )
  ]
}

function reason({ missing }: Isolation, key: string): string {
  const why = missing.find(({ layer }) => layer === key)?.reason
  return `not active: ${why ?? (process.platform === 'linux' ? 'what it stands on is missing' : 'not Linux')}`
}
