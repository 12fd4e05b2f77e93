import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const NAME = /^agentos-cell-([0-9a-f]{8})-(\d+)-(\d+)-/

/** Names the process that owns an image so exactly that a successor with the same pid is not taken for it. */
export function imagePrefix(): string {
  return `agentos-cell-${scope()}-${process.pid}-${startTime(process.pid) ?? 0}-`
}

/** Removes images whose engine was killed before it could. Only those of this boot and pid namespace: others may live. */
export function removeStaleImages(parent: string): void {
  const here = scope()
  for (const name of readdirSync(parent)) {
    const [, where, pid, started] = NAME.exec(name) ?? []
    if (where !== here || startTime(Number(pid)) === started) continue
    try {
      rmSync(join(parent, name), { recursive: true, force: true })
    } catch {
      // another user's
    }
  }
}

function scope(): string {
  const hash = createHash('sha256')
  try {
    hash.update(readFileSync('/proc/sys/kernel/random/boot_id')).update(readlinkSync('/proc/self/ns/pid'))
  } catch {
    hash.update(`${process.pid}`) // no /proc: nothing can be known about the others, so nothing is shared with them
  }
  return hash.digest('hex').slice(0, 8)
}

// Field 22 of stat, counted behind the command name, which may hold anything.
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
