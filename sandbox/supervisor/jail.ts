// The jail: a mount namespace whose root is the cell image, read-only. After the pivot nothing of the host's file system
// has a name any more; node itself is the only file bound in.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { findTool } from './tools.ts'

export interface Jail {
  /** For `sh -c`; arguments: node's own. */
  script: string
}

const MAX_PROCESSES = 128

/**
 * Adds to the image what a process inside the jail needs beside the app: shared libraries, setpriv, mount points.
 * @throws Error naming what this machine lacks
 */
export function furnishJail(image: string): Jail {
  const [mount, umount, pivotRoot, setpriv, prlimit] = ['mount', 'umount', 'pivot_root', 'setpriv', 'prlimit'].map(need)
  for (const folder of ['bin', 'proc', 'old']) mkdirSync(join(image, folder), { recursive: true })
  writeFileSync(join(image, 'bin/node'), '')
  copyFileSync(`${setpriv}`, join(image, 'bin/setpriv'))
  for (const file of new Set([...nodeLibraries(), ...libraries(`${setpriv}`)])) {
    mkdirSync(join(image, dirname(file)), { recursive: true })
    copyFileSync(file, join(image, file))
  }
  // umount and mount are run from the old root once more, so their libraries are looked up there.
  const oldLibraries = [...new Set([`${mount}`, `${umount}`].flatMap(libraries).map((file) => `/old${dirname(file)}`))]
  const script = `set -e
${mount} --bind ${quote(image)} ${quote(image)}
${mount} --bind ${quote(process.execPath)} ${quote(join(image, 'bin/node'))}
${mount} -t proc -o nosuid,nodev,noexec proc ${quote(join(image, 'proc'))}
${prlimit} --nproc=${MAX_PROCESSES} --pid $$
cd ${quote(image)}
${pivotRoot} . old
cd /
export LD_LIBRARY_PATH=${oldLibraries.join(':')}
/old${mount} -o remount,bind,ro,nosuid,nodev /
echo 0 > /proc/sys/user/max_user_namespaces
/old${findTool('hostname') ?? '/bin/hostname'} cell 2>&- || :
/old${umount} -l /old
unset LD_LIBRARY_PATH PWD OLDPWD SHLVL _
exec /bin/setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- /bin/node "$@"`
  return { script }
}

function need(name: string): string {
  const path = findTool(name)
  if (!path) throw new Error(`no ${name}`)
  return path
}

function nodeLibraries(): string[] {
  const report = process.report?.getReport() as unknown as { sharedObjects: string[] }
  // Of the running node; an addon that is loaded into the engine is none of the cell's business.
  return report.sharedObjects.filter(
    (file) => file.startsWith('/') && !basename(file).endsWith('.node') && existsSync(file)
  )
}

function libraries(program: string): string[] {
  const listed = execFileSync(need('ldd'), [program], { encoding: 'utf8', env: {} })
  return [...listed.matchAll(/(?:=> |^\s+)(\/\S+)/gm)].map((found) => `${found[1]}`)
}

function quote(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`
}
