import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Redis as Connection } from 'ioredis'
import type { Test } from 'tap'

/** A real Redis of the test's own: empty, nothing kept, gone at the end of `t`. */
export interface RedisServer {
  readonly port: number
  /** A connection of the test itself. */
  connect(login?: { username: string; password: string }): Connection
  /** Ends it as a crash would. */
  kill(): Promise<void>
  /** Starts it again, empty, on the same port. */
  restart(): Promise<void>
}

/** Why the tests against a real Redis cannot run here; false where they can. */
export function withoutRedis(): string | false {
  const found = spawnSync('redis-server', ['--version']).status === 0
  return found ? false : 'there is no redis-server in the PATH (Debian: apt-get install redis-server)'
}

/** @param acl text of a users.acl; without it everybody may do everything */
export async function redisServer(t: Pick<Test, 'teardown' | 'testdir'>, acl?: string): Promise<RedisServer> {
  const dir = t.testdir()
  const port = await freePort()
  const more = acl === undefined ? [] : ['--aclfile', join(dir, 'users.acl')]
  if (acl !== undefined) await writeFile(join(dir, 'users.acl'), acl)
  const args = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--dir',
    dir,
    ...more
  ]
  let child = await start(args)
  const connections: Connection[] = []
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  t.teardown(async () => {
    for (const connection of connections) connection.disconnect()
    await kill()
  })
  return {
    port,
    connect(login) {
      const connection = new Connection({
        port,
        host: '127.0.0.1',
        ...login,
        enableReadyCheck: false,
        disableClientInfo: true,
        retryStrategy: () => null
      })
      connection.on('error', () => {}) // the command that it breaks says so
      connections.push(connection)
      return connection
    },
    kill,
    async restart() {
      await kill()
      child = await start(args)
    }
  }
}

async function start(args: readonly string[]) {
  const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8')
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (text: string) => {
      said = `${said}${text}`.slice(-4000)
      if (said.includes('Ready to accept connections')) resolve()
    })
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}: ${said}`)))
  })
  return child
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
