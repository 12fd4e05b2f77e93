// What people use instead, each warm and each with what a new isolate costs there.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ivm from 'isolated-vm'
import { Pool } from 'undici'
import { systemClock } from '#core/clock.ts'
import { peer, peerFile } from '../peer.ts'
import { HANDLER, INPUT, SCRIPT, verify } from './handler.ts'

export interface Peer {
  once(): unknown
  end(): unknown
}

/** isolated-vm in our own process: no socket, no second process, and an abort of V8 takes everybody along. */
export async function isolatedVm(): Promise<Peer> {
  const isolate = new ivm.Isolate({ memoryLimit: 32 })
  const context = await isolate.createContext()
  await context.eval(SCRIPT)
  const plain = await context.global.get('plain', { reference: true })
  const once = () => `${plain.applySync(undefined, [INPUT], { timeout: 1000 })}`
  verify(once())
  return { once, end: () => isolate.dispose() }
}

export async function freshIsolatedVm(): Promise<void> {
  const { end } = await isolatedVm()
  end()
}

interface Handle {
  dispose(): void
}
interface QuickJs {
  newContext(): {
    readonly global: Handle
    readonly undefined: Handle
    evalCode(code: string): { value?: Handle }
    getProp(of: Handle, name: string): Handle
    newString(text: string): Handle
    callFunction(run: Handle, self: Handle, ...args: Handle[]): { value?: Handle }
    getString(of: Handle): string
    dispose(): void
  }
}

export async function quickJs(): Promise<Peer> {
  const { getQuickJS } = await peer<{ getQuickJS(): Promise<QuickJs> }>('quickjs-emscripten')
  const context = (await getQuickJS()).newContext()
  context.evalCode(SCRIPT).value?.dispose()
  const plain = context.getProp(context.global, 'plain')
  const once = () => {
    const input = context.newString(INPUT)
    const { value } = context.callFunction(plain, context.undefined, input)
    if (!value) throw new Error('quickjs failed')
    const output = context.getString(value)
    value.dispose()
    input.dispose()
    return output
  }
  verify(once())
  return {
    once,
    end: () => {
      plain.dispose()
      context.dispose()
    }
  }
}

const FETCH = `${HANDLER.replace('export ', '')}
export default { async fetch(request) { return Response.json(run(await request.json())) } }`

const LOADER = `const code = ${JSON.stringify(FETCH)}
let n = 0
export default { fetch(request, env) {
  const worker = env.LOADER.get('w' + n++, () => ({
    compatibilityDate: '2026-01-28', mainModule: 'w.js', modules: { 'w.js': code }, env: {}, globalOutbound: null
  }))
  return worker.getEntrypoint().fetch(request)
} }`

/** workerd over HTTP keep-alive: one warm worker, or a new isolate per request by the Worker Loader. */
export async function workerd(kind: 'warm' | 'loader'): Promise<Peer> {
  const dir = await mkdtemp(join(tmpdir(), 'agentos-bench-workerd-'))
  const port = await freePort()
  const more =
    kind === 'loader'
      ? ', compatibilityFlags = ["experimental"], bindings = [(name = "LOADER", workerLoader = ())]'
      : ''
  await writeFile(join(dir, 'worker.js'), kind === 'loader' ? LOADER : FETCH)
  await writeFile(
    join(dir, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2026-01-28"${more}
);`
  )
  const child = spawn(workerdBinary(), ['serve', '--experimental', join(dir, 'config.capnp')], {
    stdio: ['ignore', 'ignore', 'inherit']
  })
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 16 })
  const once = async () => {
    const { body } = await pool.request({ path: '/', method: 'POST', body: INPUT })
    return body.text()
  }
  await answered(once, child)
  return {
    once,
    async end() {
      await pool.close()
      child.kill('SIGKILL')
      await rm(dir, { recursive: true })
    }
  }
}

// The package's own bin is a node script that starts this file.
function workerdBinary(): string {
  return peerFile(`@cloudflare/workerd-${process.platform}-${process.arch === 'x64' ? '64' : process.arch}/bin/workerd`)
}

async function answered(once: () => Promise<string>, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error('workerd ended before it answered')
    const output = await once().catch(() => undefined)
    if (output !== undefined) return verify(output)
    await systemClock.sleep(5)
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

/** A process per call. */
export async function forks(): Promise<Peer> {
  const dir = await mkdtemp(join(tmpdir(), 'agentos-bench-fork-'))
  const file = join(dir, 'child.cjs')
  await writeFile(
    file,
    `${SCRIPT}\nprocess.once('message', (text) => process.send(plain(text), () => process.disconnect()))`
  )
  const once = () =>
    new Promise<void>((resolve, reject) => {
      const child = fork(file, { execArgv: [] })
      child.once('error', reject).once('message', (output) => verify(`${output}`))
      child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`the child ended with ${code}`))))
      child.send(INPUT)
    })
  return { once, end: () => rm(dir, { recursive: true }) }
}
