import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Image } from './image.ts'

export type CellKind = 'jit' | 'jitless'

/** The layers that a launch uses; detect.ts finds out which ones this machine allows. */
export interface Isolation {
  jail: boolean
  namespaces: boolean
  setpriv: boolean
  prlimit: boolean
  permission: boolean
  /** Host uid of the cells; null: ours. */
  uid: number | null
}

const DATA_BYTES = 512 * 1024 * 1024
const MAX_FILES = 128

/** Starts `main` (below the image) as a cell process. Its only descriptors: /dev/null, a stderr pipe, and the socket on 3. */
export function launch(image: Image, isolation: Isolation, kind: CellKind, main = image.main): ChildProcess {
  const [command, ...args] = commandLine(image, isolation, kind, main)
  return spawn(command ?? process.execPath, args, {
    cwd: '/',
    env: {},
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    // A process group of its own: a Ctrl-C at the engine's terminal must not end cells before the engine drained.
    detached: true
  })
}

function commandLine(image: Image, isolation: Isolation, kind: CellKind, main: string): string[] {
  const script = isolation.jail ? `/${main}` : join(image.dir, main)
  const node = [isolation.jail ? '/bin/node' : process.execPath, ...nodeFlags(image, isolation, kind), script]
  const line: string[] = []
  if (isolation.prlimit) {
    line.push('prlimit', '--core=0', `--nofile=${MAX_FILES}`)
    // Bytes without a suffix. With JIT every isolate counts its 512 MB code range: the RSS poll holds those cells.
    if (kind === 'jitless') line.push(`--data=${DATA_BYTES}`)
    line.push('--')
  }
  if (isolation.setpriv) {
    line.push('setpriv', '--pdeathsig', 'KILL')
    if (isolation.uid !== null)
      line.push('--reuid', `${isolation.uid}`, '--regid', `${isolation.uid}`, '--clear-groups')
    if (!isolation.namespaces) line.push('--no-new-privs', '--inh-caps=-all', '--bounding-set=-all')
    line.push('--')
  }
  if (isolation.namespaces) {
    line.push(
      'unshare',
      '--map-root-user',
      '--net',
      '--ipc',
      '--uts',
      '--pid',
      '--mount-proc',
      '--fork',
      '--kill-child',
      '--'
    )
    if (isolation.setpriv) line.push('setpriv', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--')
  }
  return [...line, ...node]
}

function nodeFlags(image: Image, isolation: Isolation, kind: CellKind): string[] {
  const flags = ['--no-node-snapshot', '--max-old-space-size=192', '--disable-warning=SecurityWarning']
  if (kind === 'jitless') flags.push('--jitless')
  if (isolation.permission)
    flags.push(
      '--permission',
      '--allow-addons',
      '--allow-worker',
      `--allow-fs-read=${isolation.jail ? '/app' : image.dir}`
    )
  return flags
}
