#!/usr/bin/env node
// Starts the CLI, which is TypeScript that Node 22.18 and newer run as it is. Plain JavaScript, so that an older Node gets
// as far as handing over to the Node that `npm install` brought.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = new URL('./main.ts', import.meta.url)
const pinned = fileURLToPath(new URL('../../node_modules/node/bin/node', import.meta.url))
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isNewEnough = major > 22 || (major === 22 && minor >= 18)
// A replay compares bytes: it wants the engine that the server runs, and the sandbox is built for that one.
const wantsPinned = !isNewEnough || (process.argv.includes('replay') && process.execPath !== pinned)

if (wantsPinned && existsSync(pinned)) {
  const { status, signal } = spawnSync(pinned, [fileURLToPath(main), ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exitCode = status ?? (signal === 'SIGINT' ? 130 : 1)
} else if (isNewEnough) {
  await import(main.href)
} else {
  process.stderr.write(
    `agentos: needs Node 22.18 or newer, this is ${process.version}: run npm install, or update Node\n`
  )
  process.exitCode = 1
}
