import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Image } from './image.ts'
import type { Jail } from './jail.ts'
import { findTool } from './tools.ts'

export type CellKind = 'jit' | 'jitless'

/** The layers that a launch uses; detect.ts finds out which ones this machine allows. */
export interface Isolation {
  jail: Jail | null
  namespaces: boolean
  setpriv: boolean
  prlimit: boolean
  permission: boolean
  /** Host uid of the cells; null: ours. */
  uid: number | null
}

export const bare: Isolation = {
  jail: null,
  namespaces: false,
  setpriv: false,
  prlimit: false,
  permission: false,
  uid: null
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
  const { jail, namespaces, setpriv, prlimit, uid } = isolation
  const inside = [...nodeFlags(image, isolation, kind), jail ? `/${main}` : join(image.dir, main)]
  const node = [process.execPath, ...inside]
  const drop = [tool('setpriv'), '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--']
  // env: {} is not enough: tools that hook spawn (test runners, tracers) put their NODE_OPTIONS into every child.
  const env = findTool('env')
  const line: string[] = env ? [env, '-i'] : []
  if (prlimit) {
    line.push(tool('prlimit'), '--core=0', `--nofile=${MAX_FILES}`)
    // Bytes without a suffix. With JIT every isolate counts its 512 MB code range: the RSS poll holds those cells.
    if (kind === 'jitless') line.push(`--data=${DATA_BYTES}`)
    line.push('--')
  }
  if (setpriv) {
    line.push(tool('setpriv'), '--pdeathsig', 'KILL')
    if (uid !== null) line.push('--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups')
    line.push('--')
  }
  if (!namespaces) return setpriv ? [...line, ...drop, ...node] : [...line, ...node]
  line.push(tool('unshare'), '--map-root-user', '--net', '--ipc', '--uts', '--pid', '--fork', '--kill-child')
  if (jail) return [...line, '--mount', '--', '/bin/sh', '-c', jail.script, 'cell', ...inside]
  return [...line, '--mount-proc', '--', ...(setpriv ? drop : []), ...node]
}

function tool(name: string): string {
  return findTool(name) ?? name
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
