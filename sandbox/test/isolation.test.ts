// A plain script in the cell's place, through the same spawn path, lists what native code in a cell would see.
import { randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { detect } from '../supervisor/detect.ts'
import { buildImage } from '../supervisor/image.ts'
import { bare, launch } from '../supervisor/launch.ts'
import { killCell } from '../supervisor/proc.ts'
import { findTool } from '../supervisor/tools.ts'
import type { IsolationOptions } from '../types.ts'
import { call, clock, outcome, sandbox } from './support.ts'

const root = process.getuid?.() === 0
const tools = ['unshare', 'setpriv', 'prlimit', 'pivot_root', 'ldd'].every((name) => findTool(name))

interface Seen {
  env: string[]
  fds: Record<string, string>
  interfaces: string[]
  connected: boolean
  read: string[]
  listed: string[]
  wrote: string[]
  processes: string[]
  spawned: boolean
  status: Record<string, string>
  limits: Record<string, string>
  hostname: string
}

const server = createServer((socket) => socket.on('error', () => undefined).end('secret'))
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const address = server.address()
const port = typeof address === 'object' && address ? address.port : 0
t.teardown(() => server.close())

const PROBE = `
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { connect, Socket } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
const quiet = (run, or) => { try { return run() } catch { return or } }
const lines = (file) => quiet(() => readFileSync(file, 'utf8').split('\\n'), [])
const seen = { env: Object.keys(process.env), fds: {}, interfaces: quiet(() => Object.keys(networkInterfaces()), []), hostname: hostname() }
for (const fd of quiet(() => readdirSync('/proc/self/fd'), [])) seen.fds[fd] = quiet(() => readlinkSync('/proc/self/fd/' + fd), '')
seen.read = ['/etc/passwd', '/etc/hostname', '/proc/1/environ', ${JSON.stringify(import.meta.filename)}].filter((f) => quiet(() => readFileSync(f).length >= 0 && f !== '/proc/1/environ' || readFileSync(f, 'latin1').includes('=')))
seen.listed = quiet(() => readdirSync('/'), [])
seen.wrote = ['/x', '/app/x', '/tmp/x', '/dev/shm/agentos-probe'].filter((f) => quiet(() => { writeFileSync(f, '') ; return true }))
seen.processes = quiet(() => readdirSync('/proc'), []).filter((n) => /^[0-9]+$/.test(n))
seen.spawned = quiet(() => { execFileSync(process.execPath, ['-v']); return true }, false)
seen.status = Object.fromEntries(lines('/proc/self/status').map((l) => l.split(/:\\s*/)))
seen.limits = Object.fromEntries(lines('/proc/self/limits').map((l) => [l.slice(0, 26).trim(), l.slice(26, 46).trim()]))
seen.connected = await new Promise((resolve) => quiet(() => connect(${port}, '127.0.0.1').on('connect', () => resolve(true)).on('error', () => resolve(false)), resolve(false)))
new Socket({ fd: 3 }).end(JSON.stringify(seen))
`

async function look(wanted: IsolationOptions): Promise<Seen> {
  const image = buildImage()
  const { isolation } = await detect(image, wanted, clock)
  writeFileSync(join(image.dir, 'app/probe.js'), PROBE)
  const child = launch(image, isolation, 'jitless', 'app/probe.js')
  let stderr = ''
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  let text = ''
  const socket = child.stdio[3] as NodeJS.ReadableStream
  for await (const chunk of socket) text += chunk
  if (child.pid !== undefined) killCell(child.pid, isolation.namespaces)
  image.remove()
  if (text === '') throw new Error(stderr)
  return JSON.parse(text)
}

t.test(
  'all layers: no environment, no network, no host file, no foreign process, no descriptor but the socket',
  { skip: !(tools && root) && 'needs root and util-linux' },
  async (t) => {
    const seen = await look({})
    t.strictSame(seen.env, [])
    t.strictSame(
      seen.interfaces.filter((name) => name !== 'lo'),
      []
    )
    t.equal(seen.connected, false)
    t.strictSame(seen.read, [])
    t.strictSame(seen.wrote, [])
    t.strictSame(seen.processes, ['1'])
    t.not(seen.hostname, (await import('node:os')).hostname())
    const folders = ['app', 'bin', 'lib', 'lib64', 'old', 'proc', 'usr', 'lib32']
    t.strictSame(
      seen.listed.filter((name) => !folders.includes(name)),
      []
    )
    for (const [fd, target] of Object.entries(seen.fds))
      t.match(target, /^(\/dev\/null|socket:.*|pipe:.*|anon_inode:.*|)$/, `descriptor ${fd}`)
    t.equal(
      Object.values(seen.fds).filter((target) => target.startsWith('socket:')).length <= 2,
      true,
      'the frame socket, and the refused connection'
    )
    t.equal(seen.status.NoNewPrivs, '1')
    for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb']) t.match(seen.status[set], /^0+$/, set)
    t.equal(seen.limits['Max core file size'], '0')
    t.equal(seen.limits['Max open files'], '128')
    t.equal(seen.limits['Max data size'], `${512 * 1024 * 1024}`)
    t.equal(seen.limits['Max processes'], '128')
  }
)

t.test('without a jail the permission model is the seat belt: no host file, no child process', async (t) => {
  const seen = await look({ jail: false })
  t.strictSame(seen.env, [])
  t.strictSame(seen.read, [])
  t.strictSame(seen.wrote, [])
  t.equal(seen.spawned, false)
  t.equal(seen.connected, false)
})

t.test('with every layer off the cell still has no environment and no descriptor of the host', async (t) => {
  const image = buildImage()
  t.teardown(() => image.remove())
  const off = { jail: false, namespaces: false, setpriv: false, prlimit: false, permission: false }
  const found = await detect(image, off, clock)
  t.strictSame(found.isolation, bare)
  t.strictSame(found.missing.map((one) => `${one.layer}: ${one.reason}`).sort(), [
    'jail: switched off',
    'namespaces: switched off',
    'prlimit: switched off',
    'setpriv: switched off'
  ])
  const seen = await look(off)
  t.strictSame(seen.env, [])
  for (const [fd, target] of Object.entries(seen.fds))
    t.match(target, /^(\/dev\/null|socket:.*|pipe:.*|anon_inode:.*|\/proc\/.*|)$/, `descriptor ${fd}`)
})

// CI takes all layers, no namespaces, none, and one of the others, another each time; `npm run test:whole` all.
const modes: [string, IsolationOptions][] = [
  ['all layers', {}],
  ['no jail', { jail: false }],
  ['no namespaces', { namespaces: false }],
  ['no setpriv', { setpriv: false }],
  ['no prlimit', { prlimit: false }],
  ['no permission model', { jail: false, permission: false }],
  ['nothing', { jail: false, namespaces: false, setpriv: false, prlimit: false, permission: false }]
]
const always = ['all layers', 'no namespaces', 'nothing']
const others = modes.map(([name]) => name).filter((name) => !always.includes(name))
const one = others[randomInt(others.length)]
t.comment(`mode by chance: ${one}; all with --whole=1`)
const whole = process.argv.includes('--whole=1')
for (const [name, isolation] of modes) {
  if (!whole && name !== one && !always.includes(name)) continue
  t.test(`${name}: calls run, and every limit is kept`, async (t) => {
    const box = sandbox({ isolation })
    const run = (text: string, verified: boolean) =>
      outcome(
        box,
        call(`export async function run(input, ctx) { ${text} }`, { verified, limit: { cpuMs: 250, wallMs: 600 } })
      )
    const all = async (verified: boolean) => {
      t.equal((await run('return 1', verified)).output, 1)
      t.equal((await run('while (true);', verified)).code, 'SANDBOX_TIMEOUT')
      t.equal((await run('await new Promise(() => {})', verified)).code, 'SANDBOX_TIMEOUT')
      t.equal((await run('return "a".repeat(2 ** 28).split("").length', verified)).code, 'SANDBOX_KILLED')
      t.equal((await run('return [].indexOf.call({ length: 2 ** 53 - 1 }, 1)', verified)).code, 'SANDBOX_KILLED')
      t.match(
        (await run('const a = []; for (;;) a.push(new Array(1e5).fill(1.5))', verified)).code,
        /SANDBOX_(MEMORY|TIMEOUT|KILLED)/
      )
      t.equal((await run('return 2', verified)).output, 2)
    }
    await Promise.all([all(true), all(false)])
    await box.close()
    t.strictSame(box.status().cells, [])
  })
}

t.test('strict: a machine that cannot build the jail is refused', async (t) => {
  const box = sandbox({ require: 'strict', isolation: { jail: false } })
  t.equal((await outcome(box, call('export const run = () => 1'))).code, 'SANDBOX_ISOLATION_REQUIRED')
  await t.rejects(box.ready(), { code: 'SANDBOX_ISOLATION_REQUIRED' })
  await box.close()
})

t.test('status says what is active', async (t) => {
  const box = sandbox({ isolation: { prlimit: false } })
  t.equal(box.status().detected, false)
  await box.ready()
  const { isolation, detected } = box.status()
  t.equal(detected, true)
  t.strictSame(isolation.limits, [])
  t.match(isolation.missing, [{ layer: 'prlimit', reason: 'switched off' }])
  await box.close()
})
