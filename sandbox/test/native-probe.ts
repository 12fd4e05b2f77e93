// A plain script in the cell's place, through the same spawn path: what native code in a cell would find.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { detect } from '../supervisor/detect.ts'
import { buildImage } from '../supervisor/image.ts'
import { type CellKind, launch } from '../supervisor/launch.ts'
import { cellPid, killCell } from '../supervisor/proc.ts'
import type { IsolationOptions } from '../types.ts'
import { clock } from './support.ts'

export interface Found {
  env: string[]
  strayFds: string[]
  connected: boolean
  read: string[]
  wrote: string[]
  /** Another process than those of the cell shows in /proc. */
  foreign: boolean
  status: Record<string, string>
  limits: Record<string, string>
}

function script(port: number): string {
  return `
import { readdirSync, readFileSync, readlinkSync, writeFileSync, rmSync } from 'node:fs'
import { connect, Socket } from 'node:net'
const quiet = (run, or) => { try { return run() } catch { return or } }
const lines = (file) => quiet(() => readFileSync(file, 'utf8').split('\\n'), [])
const found = { env: Object.keys(process.env) }
const own = /^(\\/dev\\/null|socket:.*|pipe:.*|anon_inode:.*|\\/proc\\/.*|)$/
found.strayFds = quiet(() => readdirSync('/proc/self/fd'), []).map((fd) => quiet(() => readlinkSync('/proc/self/fd/' + fd), '')).filter((target) => !own.test(target))
found.read = ['/etc/passwd', '/etc/hostname', ${JSON.stringify(import.meta.filename)}].filter((file) => quiet(() => readFileSync(file).length >= 0, false))
found.wrote = ['/tmp/agentos-native-probe', '/dev/shm/agentos-native-probe', '/app/x'].filter((file) => quiet(() => { writeFileSync(file, ''); rmSync(file); return true }, false))
found.foreign = quiet(() => readdirSync('/proc'), []).some((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
found.status = process.permission ? {} : Object.fromEntries(lines('/proc/self/status').map((line) => line.split(/:\\s*/)))
found.limits = process.permission ? {} : Object.fromEntries(lines('/proc/self/limits').map((line) => [line.slice(0, 26).trim(), line.slice(26, 46).trim()]))
found.connected = await new Promise((resolve) => quiet(() => connect(${port}, '127.0.0.1').on('connect', () => resolve(true)).on('error', () => resolve(false)), resolve(false)))
new Socket({ fd: 3 }).end(JSON.stringify(found))
setInterval(() => {}, 1000)
`
}

/** Runs the script under these layers; what /proc hides from it under the permission model is read from outside. */
export async function native(wanted: IsolationOptions, kind: CellKind): Promise<Found> {
  const server = createServer((socket) => socket.on('error', () => undefined).end())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const image = buildImage()
  try {
    const { isolation } = await detect(image, wanted, clock)
    writeFileSync(join(image.dir, 'app/probe.js'), script(typeof address === 'object' ? (address?.port ?? 0) : 0))
    const child = launch(image, isolation, kind, 'app/probe.js')
    let stderr = ''
    child.stderr?.on('data', (chunk) => {
      stderr += chunk
    })
    let text = ''
    for await (const chunk of child.stdio[3] as NodeJS.ReadableStream) text += chunk
    if (text === '') throw new Error(stderr)
    const found: Found = JSON.parse(text)
    if (child.pid !== undefined) {
      if (Object.keys(found.limits).length === 0)
        Object.assign(found, fromOutside(cellPid(child.pid, isolation.namespaces) ?? child.pid))
      killCell(child.pid, isolation.namespaces)
    }
    return found
  } finally {
    image.remove()
    server.close()
  }
}

export function fromOutside(pid: number): Pick<Found, 'status' | 'limits'> {
  const lines = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'latin1').split('\n')
  return {
    status: Object.fromEntries(lines('status').map((line) => line.split(/:\s*/))),
    limits: Object.fromEntries(lines('limits').map((line) => [line.slice(0, 26).trim(), line.slice(26, 46).trim()]))
  }
}
