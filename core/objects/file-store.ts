// {dir}/{scope}/{aa}/{hex}: {aa} are the first two digits, so that no folder grows beyond what tools can list.
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, type Dirent } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { isScope, parseDigest, parseScope } from './address.ts'
import { ObjectAddressInvalid, ObjectCorrupt, ObjectNotFound, ObjectTooLarge } from './errors.ts'
import type { ObjectStore, PutLimits, StoredObject } from './store.ts'

const oneGiB = 2 ** 30

/** Objects as files of one folder, modes 0700 and 0600. @see ObjectStore */
export class FileObjectStore implements ObjectStore {
  readonly #dir: string

  /** @param options `dir` is made when the first object comes */
  constructor(options: { dir: string }) {
    this.#dir = options.dir
  }

  async put(
    scope: string,
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    limits: PutLimits = {}
  ): Promise<StoredObject> {
    const folder = join(this.#dir, parseScope(scope))
    const maxBytes = limits.maxBytes ?? oneGiB
    if (bytes instanceof Uint8Array) {
      if (bytes.byteLength > maxBytes) throw new ObjectTooLarge(maxBytes)
      const hex = createHash('sha256').update(bytes).digest('hex')
      // Trusted only when whole: a damaged file is written anew and so mends itself.
      if (await holds(pathOf(folder, hex), hex, bytes.byteLength))
        return { digest: `sha256:${hex}`, size: bytes.byteLength }
    }
    // In the same folder as the goal: a rename is atomic only inside one file system.
    const temporary = join(folder, `tmp-${randomBytes(12).toString('hex')}`)
    await makeFolder(folder)
    const file = await open(temporary, 'wx', 0o600)
    try {
      const { hex, size } = await writeAll(file, bytes, maxBytes)
      await file.sync() // before the rename: else a power cut may leave the name with empty content
      await file.close()
      const path = pathOf(folder, hex)
      await makeFolder(dirname(path))
      await rename(temporary, path)
      await syncFolder(dirname(path))
      return { digest: `sha256:${hex}`, size }
    } catch (error) {
      await file.close().catch(() => {})
      await rm(temporary, { force: true })
      throw error
    }
  }

  async get(scope: string, digest: string): Promise<Uint8Array> {
    const path = this.#path(scope, digest)
    const bytes = await readFile(path).catch((error) => {
      throw isMissing(error) ? new ObjectNotFound(digest) : error
    })
    verify(digest, createHash('sha256').update(bytes).digest('hex'))
    return bytes
  }

  async open(scope: string, digest: string): Promise<Readable> {
    const path = this.#path(scope, digest)
    // Opened here and not by the stream: an absent object is a throw and not a late error event.
    const file = await open(path).catch((error) => {
      throw isMissing(error) ? new ObjectNotFound(digest) : error
    })
    const hash = createHash('sha256')
    const check = new Transform({
      transform(chunk, _encoding, done) {
        hash.update(chunk)
        done(null, chunk)
      },
      flush(done) {
        try {
          verify(digest, hash.digest('hex'))
          done()
        } catch (error) {
          done(error instanceof Error ? error : new Error(String(error)))
        }
      }
    })
    // Errors of the file arrive at `check` through pipeline, and a reader that leaves early closes the file.
    pipeline(createReadStream('', { fd: file }), check).catch(() => {})
    return check
  }

  async has(scope: string, digest: string): Promise<boolean> {
    return (await stat(this.#path(scope, digest)).catch(orMissing)) !== undefined
  }

  async scopes(): Promise<{ scopes: string[]; strays: string[] }> {
    const entries = (await readdir(this.#dir, { withFileTypes: true }).catch(orMissing)) ?? []
    const isScopeFolder = (entry: Dirent) => entry.isDirectory() && isScope(entry.name)
    const scopes = entries.filter(isScopeFolder).map(({ name }) => name)
    const strays = entries.filter((entry) => !isScopeFolder(entry)).map(({ name }) => name)
    for (const scope of scopes) {
      for (const entry of await readdir(join(this.#dir, scope), { withFileTypes: true })) {
        const ours = entry.isDirectory() ? /^[0-9a-f]{2}$/.test(entry.name) : /^tmp-[0-9a-f]{24}$/.test(entry.name)
        if (!ours || entry.isSymbolicLink()) strays.push(`${scope}/${entry.name}`)
      }
    }
    return { scopes, strays }
  }

  async *list(scope: string): AsyncGenerator<StoredObject> {
    const folder = join(this.#dir, parseScope(scope))
    for (const prefix of (await readdir(folder).catch(orMissing)) ?? []) {
      if (!/^[0-9a-f]{2}$/.test(prefix)) continue
      for (const hex of (await readdir(join(folder, prefix)).catch(orMissing)) ?? []) {
        const found = await stat(join(folder, prefix, hex)).catch(orMissing)
        if (found && /^[0-9a-f]{64}$/.test(hex)) yield { digest: `sha256:${hex}`, size: found.size }
      }
    }
  }

  async clear(tenantId: string): Promise<number> {
    if (tenantId === 'platform') throw new ObjectAddressInvalid('scope', tenantId)
    let count = 0
    for await (const _object of this.list(tenantId)) count += 1
    await rm(join(this.#dir, parseScope(tenantId)), { recursive: true, force: true, maxRetries: 3 })
    return count
  }

  async remove(scope: string, digest: string): Promise<boolean> {
    const path = this.#path(scope, digest)
    return (await rm(path).then(() => true, orMissing)) ?? false
  }

  #path(scope: string, digest: string): string {
    return pathOf(join(this.#dir, parseScope(scope)), parseDigest(digest))
  }
}

function pathOf(folder: string, hex: string): string {
  return join(folder, hex.slice(0, 2), hex)
}

function verify(digest: string, hex: string): void {
  if (digest !== `sha256:${hex}`) throw new ObjectCorrupt(digest, `sha256:${hex}`)
}

async function writeAll(
  file: FileHandle,
  bytes: Uint8Array | AsyncIterable<Uint8Array>,
  maxBytes: number
): Promise<{ hex: string; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of bytes instanceof Uint8Array ? [bytes] : bytes) {
    size += chunk.byteLength
    if (size > maxBytes) throw new ObjectTooLarge(maxBytes)
    hash.update(chunk)
    await file.writeFile(chunk) // on a handle: goes on at the current position, however often a write is cut short
  }
  return { hex: hash.digest('hex'), size }
}

async function holds(path: string, hex: string, size: number): Promise<boolean> {
  const found = await stat(path).catch(orMissing)
  if (found?.size !== size) return false
  const bytes = await readFile(path).catch(orMissing)
  return bytes !== undefined && createHash('sha256').update(bytes).digest('hex') === hex
}

async function makeFolder(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  // A new folder is an entry of its parent, which has to last as well.
  if (made) await syncFolder(dirname(made))
}

// Windows cannot open a folder; its file systems keep names by themselves.
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

function orMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error
}
