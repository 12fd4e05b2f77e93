// One server of the chaos runs: the real one of config/server.ts, with rooms of its own.
//   node test/chaos/host.ts functions <file>   tools are functions of this process, each call is a line of the file
//   node test/chaos/host.ts skills             tools are published skills in the sandbox, as in config/plugins.ts
import { createInterface } from 'node:readline'
import { loadEnv } from '#config/env.ts'
import { planTable, seats } from '#config/plugins.ts'
import { startServer } from '#config/server.ts'
import { armCrashPoint, CRASH_POINTS } from '#core/crash-point.ts'
import { downOnSignals } from '#core/http/shutdown.ts'
import { createLog } from '#core/log.ts'
import { must } from '#core/must.ts'
import { gatewayRoom } from '#core/ws/index.ts'
import pulse from '#plugins/pulse/index.ts'
import { chaosTools } from './tools.ts'

const [mode, callsFile] = process.argv.slice(2)
const env = loadEnv()
const log = createLog({ level: env.logLevel })
const rooms =
  mode === 'skills'
    ? seats(env)
    : [
        { room: gatewayRoom },
        { room: chaosTools(must(callsFile, 'the file of calls')) },
        { room: pulse, options: { plans: planTable } }
      ]

// `arm <point> <n>`: from now on, the n-th time. AGENTOS_CRASH_AT does the same from the start on.
const orders = createInterface({ input: process.stdin })
orders.on('line', (line) => {
  const [, name, times] = line.split(' ')
  const point = must(
    CRASH_POINTS.find((known) => known === name),
    line
  )
  armCrashPoint(point, Number(times))
  process.stdout.write('armed\n')
})
// Whoever started us has gone: nobody would end us.
orders.on('close', () => process.kill(process.pid, 'SIGKILL'))

const server = await startServer(env, log, undefined, rooms)
downOnSignals(server.kernel.shutdown, log)
process.stdout.write(`agentos ready on ${server.url}\n`)
