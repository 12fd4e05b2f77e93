// `npm start`: the server on its embedded default, or on what the environment names.
import { access, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { errorMessage } from '#core/errors.ts'
import { downOnSignals } from '#core/http/shutdown.ts'
import { createLog, scrubOutput } from '#core/log.ts'
import { type Env, loadEnv } from './env.ts'
import { runDemo } from './first-run/demo.ts'
import { ensureOwner, type OwnerKey } from './first-run/owner.ts'
import { type Server, startServer } from './server.ts'

// stdout is for people and for who waits for "agentos ready on"; the log, JSON lines, goes to stderr.
const say = (line: string): void => void process.stdout.write(`${line}\n`)
// The owner's key, at the first start; nothing else is printed without being scrubbed.
const tellOnce = process.stdout.write.bind(process.stdout)
scrubOutput(process.stdout, process.stderr)
// Node itself would print the error as it is.
process.once('uncaughtException', breakOff)

try {
  await main(loadEnv())
} catch (error) {
  refuse(error)
}

function refuse(error: unknown): void {
  process.stderr.write(`agentos cannot start: ${errorMessage(error)}\n`)
  process.exitCode = 1
}

function breakOff(error: unknown): never {
  refuse(error)
  process.exit()
}

async function main(env: Env): Promise<void> {
  // On a terminal both streams are one screen: whoever did not ask for the log sees what needs attention only.
  const quiet = process.stderr.isTTY && !env.logLevelIsSet
  const log = createLog({ level: quiet ? 'warn' : env.logLevel })
  let owner: OwnerKey = { status: 'elsewhere' }
  const server = await startServer(env, log, async ({ kernel, embedded }) => {
    owner = await ensureOwner(kernel, env.home, embedded)
  })
  process.off('uncaughtException', breakOff)
  downOnSignals(server.kernel.shutdown, log)
  say(`agentos ready on ${server.url}`)
  const port = Number(new URL(server.url).port)
  if (!env.portIsSet && env.port !== port) say(`  port ${env.port} is taken, so it is ${port}`)
  if (owner.status !== 'elsewhere') await welcome(env, server, owner)
}

/** The first boot shows what the server does, once; an interrupted one starts over at the next boot. */
async function welcome(env: Env, server: Server, owner: Exclude<OwnerKey, { status: 'elsewhere' }>): Promise<void> {
  const marker = join(env.home, 'first-run-done')
  const done = await access(marker).then(
    () => true,
    () => false
  )
  const file = shown(owner.file)
  say('')
  if (owner.status === 'created') {
    tellOnce(`  owner key   ${owner.key}\n`)
    say(`              shown this once; kept in ${file}, which only you can read`)
    say('')
  }
  if (done) return where(server.url, file)
  try {
    say('  The first start shows what a stranger could do with the API:')
    say('')
    await runDemo({ url: server.url, key: owner.key }, env.home, say)
    await writeFile(marker, '', { mode: 0o600 })
  } catch (error) {
    if (server.kernel.health.draining) return say('  stopped in the middle: the next start goes on with the example')
    say(`  the example did not finish (${errorMessage(error)}); the server serves, the next start tries it again`)
  }
  const key = `$(cat ${/^[\w@%+=:,./-]+$/.test(file) ? file : `'${file.replaceAll("'", `'\\''`)}'`})`
  say('')
  where(server.url, file)
  say('')
  say('  Type next:')
  say(`    curl -H "Authorization: Bearer ${key}" ${server.url}/v1/sessions`)
  say(`    curl -H "Authorization: Bearer ${key}" "${server.url}/v1/registry/skills?q=csv"`)
  say(`    AGENTOS_URL=${server.url} AGENTOS_TOKEN="${key}" npx node examples/clients/drive-a-session.ts`)
}

function where(url: string, keyFile: string): void {
  say(`  API         ${url}/docs`)
  say(`  owner key   ${keyFile}`)
}

/** A path as one would type it here: relative where that is shorter. */
function shown(path: string): string {
  const near = relative('.', path)
  return near.length < path.length && !near.startsWith('..') ? near : path
}
