import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { z } from 'zod'
import { MigrationChanged, MigrationMisnamed, MigrationVanished } from './errors.ts'

/** A room's forward-only SQL. */
export interface MigrationRoom {
  /** 'core/db', 'pulse': part of the record, never renamed */
  name: string
  /** folder with NNNN_what.sql and, where needed, lint-allow.json */
  dir: URL
}

export interface MigrationFile {
  room: string
  file: string
  text: string
  /** sha256, hex; line ends do not count: git may have changed them */
  checksum: string
}

/** A finding of the lint that a room accepts, and why. `object` may end in `*`. */
const Allowance = z.strictObject({ rule: z.string().min(1), object: z.string().min(1), reason: z.string().min(10) })
export type Allowance = z.output<typeof Allowance>

/**
 * The files of one room in order.
 * @throws MigrationMisnamed when a name is not NNNN_what.sql or a number is used twice
 */
export async function readMigrations(room: MigrationRoom): Promise<MigrationFile[]> {
  const names = (await readdir(room.dir)).filter((name) => name.endsWith('.sql')).sort()
  const taken = new Map<string, string>()
  return Promise.all(
    names.map(async (file) => {
      const number = /^(\d{4})_[a-z0-9_]+\.sql$/.exec(file)?.[1]
      if (!number) throw new MigrationMisnamed(`${room.name}/${file}`, 'the name must be NNNN_what.sql')
      const other = taken.get(number)
      if (other) throw new MigrationMisnamed(`${room.name}/${file}`, `the number ${number} is already that of ${other}`)
      taken.set(number, file)
      const text = (await readFile(new URL(file, folder(room.dir)), 'utf8')).replaceAll('\r\n', '\n')
      return { room: room.name, file, text, checksum: createHash('sha256').update(text).digest('hex') }
    })
  )
}

/** What the room's lint-allow.json accepts; [] when there is none. @throws ZodError when it is malformed */
export async function readAllowances(room: MigrationRoom): Promise<Allowance[]> {
  const text = await readFile(new URL('lint-allow.json', folder(room.dir)), 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '[]'
    throw error
  })
  return z.array(Allowance).parse(JSON.parse(text))
}

/**
 * The files that are still to be applied, in order.
 * @param applied checksum by file name, of this room
 * @throws MigrationChanged, MigrationVanished, MigrationMisnamed (a new file before an applied one)
 */
export function pendingMigrations(room: string, files: MigrationFile[], applied: Map<string, string>): MigrationFile[] {
  for (const name of applied.keys()) {
    if (!files.some((f) => f.file === name)) throw new MigrationVanished(`${room}/${name}`)
  }
  const last = [...applied.keys()].sort().at(-1) ?? ''
  return files.filter((f) => {
    const checksum = applied.get(f.file)
    if (checksum === undefined) {
      // Databases that were set up before and after would differ in the order.
      if (f.file < last)
        throw new MigrationMisnamed(`${room}/${f.file}`, `it is new and stands before the applied ${last}`)
      return true
    }
    if (checksum !== f.checksum) throw new MigrationChanged(`${room}/${f.file}`)
    return false
  })
}

// new URL('x', dir) replaces the last part of a URL that does not end in a slash.
function folder(dir: URL): URL {
  return dir.pathname.endsWith('/') ? dir : new URL(`${dir.href}/`)
}
