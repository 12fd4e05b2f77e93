// `npm start`: the server on its embedded default, or on what the environment names.
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errorMessage } from '#core/errors.ts'
import { downOnSignals } from '#core/http/shutdown.ts'
import { createLog } from '#core/log.ts'
import { type Env, loadEnv } from './env.ts'
import { runDemo } from './first-run/demo.ts'
import { ensureOwner, type OwnerKey } from './first-run/owner.ts'
import { type Server, startServer } from './server.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

try {
  await main(loadEnv())
} catch (error) {
  process.stderr.write(`agentos cannot start: ${errorMessage(error)}\n`)
  process.exitCode = 1
}

async function main(env: Env): Promise<void> {
  const log = createLog({ level: env.logLevel })
  let owner: OwnerKey = { status: 'elsewhere' }
  const server = await startServer(env, log, async ({ kernel, embedded }) => {
    owner = await ensureOwner(kernel, env.home, embedded)
  })
  downOnSignals(server.kernel.shutdown, log)
  say(`agentos ready on ${server.url}`)
  if (env.port !== Number(new URL(server.url).port))
    say(`  port ${env.port} is taken, so it is ${new URL(server.url).port}`)
  if (owner.status !== 'elsewhere') await welcome(env, server, owner)
}

/** The first boot shows what the server does, once; an interrupted one starts over at the next boot. */
async function welcome(env: Env, server: Server, owner: Exclude<OwnerKey, { status: 'elsewhere' }>): Promise<void> {
  const marker = join(env.home, 'first-run-done')
  const done = await access(marker).then(
    () => true,
    () => false
  )
  if (owner.status === 'created') say(`  owner key   ${owner.key}  (shown once; kept in ${owner.file})`)
  if (done) return
  try {
    await runDemo({ url: server.url, key: owner.key }, env.home, say)
    await writeFile(marker, '', { mode: 0o600 })
  } catch (error) {
    say(`  the example did not finish (${errorMessage(error)}); the server serves, the next start tries it again`)
  }
  const key = `$(cat ${owner.file})`
  say('')
  say(`  API         ${server.url}/docs`)
  say(`  owner key   ${owner.file}`)
  say('  next:')
  say(`    curl -H "Authorization: Bearer ${key}" ${server.url}/v1/sessions`)
  say(`    curl -H "Authorization: Bearer ${key}" ${server.url}/v1/registry/skills`)
  say(`    AGENTOS_URL=${server.url} AGENTOS_TOKEN="${key}" npx node examples/clients/drive-a-session.ts`)
}
