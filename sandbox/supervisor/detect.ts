import type { IsolationOptions, SandboxClock } from '../types.ts'
import type { Image } from './image.ts'
import { furnishJail, type Jail } from './jail.ts'
import { bare, type Isolation, launch } from './launch.ts'
import { killCell } from './proc.ts'
import { findTool } from './tools.ts'

const NOBODY = 65_534
const PROBE_MS = 5000

export interface Detected {
  isolation: Isolation
  missing: { layer: string; reason: string }[]
}

/**
 * Finds the strongest isolation that this machine allows, by starting a real cell under it: first all layers at once,
 * and only where that fails layer by layer. A layer is never assumed to work.
 */
export async function detect(image: Image, wanted: IsolationOptions, clock: SandboxClock): Promise<Detected> {
  const missing: Detected['missing'] = []
  const asked = (layer: keyof IsolationOptions, tool: string): boolean => {
    if (wanted[layer] === false) missing.push({ layer, reason: 'switched off' })
    else if (process.platform !== 'linux') missing.push({ layer, reason: 'not Linux' })
    else if (!findTool(tool)) missing.push({ layer, reason: `no ${tool}` })
    else return true
    return false
  }
  const prlimit = asked('prlimit', 'prlimit')
  const setpriv = asked('setpriv', 'setpriv')
  const namespaces = asked('namespaces', 'unshare')
  const jail = asked('jail', 'pivot_root') && namespaces && setpriv ? buildJail(image, missing) : null
  const uid = setpriv && process.getuid?.() === 0 ? NOBODY : null
  const withPermission = (isolation: Isolation): Isolation => ({
    ...isolation,
    permission: wanted.permission !== false && isolation.jail === null
  })

  const full = withPermission({ ...bare, prlimit, setpriv, namespaces, jail, uid })
  if ((await probe(image, full, clock)) === undefined) return { isolation: full, missing }

  let best = withPermission(bare)
  const layers: [string, Partial<Isolation> | false][] = [
    ['prlimit', prlimit && { prlimit }],
    ['setpriv', setpriv && { setpriv }],
    ['uid', uid !== null && { uid }],
    ['namespaces', namespaces && { namespaces }],
    ['jail', jail !== null && { jail }]
  ]
  for (const [layer, change] of layers) {
    if (!change) continue
    const next = withPermission({ ...best, ...change })
    if (next.jail && !(next.namespaces && next.setpriv)) {
      missing.push({ layer, reason: 'needs namespaces and setpriv' })
      continue
    }
    const problem = await probe(image, next, clock)
    if (problem === undefined) best = next
    else missing.push({ layer, reason: problem })
  }
  return { isolation: best, missing }
}

function buildJail(image: Image, missing: Detected['missing']): Jail | null {
  try {
    return furnishJail(image.dir)
  } catch (error) {
    missing.push({ layer: 'jail', reason: error instanceof Error ? error.message : String(error) })
    return null
  }
}

/** Starts a cell and waits for its first frame. @returns why it did not come, or undefined */
function probe(image: Image, isolation: Isolation, clock: SandboxClock): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = launch(image, isolation, 'jitless')
    let stderr = ''
    let verdict: string | undefined = 'it did not start in time'
    const end = () => {
      if (child.pid !== undefined && child.exitCode === null) killCell(child.pid, isolation.namespaces)
    }
    const timer = clock.after(PROBE_MS, end)
    child.stderr?.on('data', (chunk: Buffer) => {
      if (stderr.length < 2000) stderr += chunk.toString('latin1')
    })
    child.stdio[3]?.once('data' as never, () => {
      verdict = undefined
      end()
    })
    child.stdio[3]?.on('error', () => undefined)
    child.once('error', (error) => {
      timer.cancel()
      resolve(error.message)
    })
    child.once('close', () => {
      timer.cancel()
      resolve(verdict === undefined ? undefined : (complaint(stderr) ?? verdict))
    })
  })
}

function complaint(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Warning:'))
  return lines[0]?.slice(0, 200)
}
