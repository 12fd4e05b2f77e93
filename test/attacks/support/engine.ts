// The server's place in the attack suite: one process with a Sandbox. What happens to it is watched from outside.

import { systemClock } from '#core/clock.ts'
import { errorMessage } from '#core/errors.ts'
import { Sandbox, type SandboxCall, SandboxError } from '#sandbox/index.ts'
import { corpus } from '../corpus/index.ts'
import type { Answer, Ask } from './messages.ts'

export const SECRET = 's3cret-of-the-host'
const box = new Sandbox({ clock: systemClock, maxCells: 32, ...JSON.parse(process.argv[2] ?? '{}') })
await box.ready()

const HONEST = 'let n = 0; export const run = (input) => ({ n: ++n, sum: input.reduce((a, b) => a + b, 0) })'

function call(tenantId: string, sessionId: string, more: Partial<SandboxCall>): SandboxCall {
  return {
    tenantId,
    sessionId,
    skill: { digest: 'honest', entry: 'dist/index.js', files: new Map([['dist/index.js', HONEST]]), verified: true },
    export: 'run',
    input: '[1,2,3]',
    limits: { cpuMs: 2000, wallMs: 10_000, memoryMb: 64, hostCalls: 0 },
    session: { id: sessionId, tenantId, step: 'attack', attempt: 1, effectKey: `${sessionId}:attack` },
    time: 1_700_000_000_000,
    seed: 'attack',
    capabilities: ['log'],
    ...more
  }
}

async function onHostCall(name: string, args: string): Promise<string> {
  if (name === 'fail') throw new Error(`${SECRET} in ${import.meta.filename}`)
  return name === 'hang' ? new Promise(() => undefined) : args
}

async function attack(ask: Ask & { do: 'attack' }): Promise<Omit<Answer, 'id' | 'ms'>> {
  const variant = corpus.find(({ id }) => id === ask.attack)?.variants[ask.variant]
  if (!variant) throw new Error(`no such attack: ${ask.attack}.${ask.variant}`)
  const digest = `${ask.attack}.${ask.variant}.${ask.warmed}`
  // By the input, not by counting: an attack whose cell died may run again, in an isolate that begins anew.
  const warm = `export const run = (input, ctx) => input === "warm" ? null : real(input, ctx)`
  const files = ask.warmed
    ? { ...variant.files, 'dist/warm.js': `import { run as real } from './index.js'; ${warm}` }
    : variant.files
  const inputs = [...(ask.warmed ? ['warm', 'warm', 'warm'] : []), ...(variant.inputs ?? [{}])]
  const logs: string[] = []
  let last = { outcome: '', shown: '', retryable: false } as Pick<Answer, 'outcome' | 'shown' | 'retryable' | 'output'>
  for (const input of inputs)
    last = await settle(
      call(ask.tenantId, ask.sessionId, {
        skill: {
          digest,
          entry: ask.warmed ? 'dist/warm.js' : 'dist/index.js',
          files: new Map(Object.entries(files)),
          verified: ask.verified
        },
        input: JSON.stringify(input),
        limits: { cpuMs: 300, wallMs: 900, memoryMb: 64, hostCalls: 20, ...variant.limits },
        capabilities: ['log', 'progress', 'echo', 'fail', 'hang'],
        onHostCall,
        onLog: ({ level, message }) => logs.push(`${level} ${message}`)
      })
    )
  const logged = logs.join('\n')
  return { ...last, shown: `${last.shown}\n${logged}`, logLines: logs.length, logBytes: Buffer.byteLength(logged) }
}

async function settle(what: SandboxCall): Promise<Omit<Answer, 'id' | 'ms' | 'logLines' | 'logBytes'>> {
  try {
    const { output, cpuMs } = await box.run(what)
    return { outcome: 'OK', output: JSON.parse(output), cpuMs, shown: '', retryable: false }
  } catch (error) {
    if (!(error instanceof SandboxError)) return { outcome: errorMessage(error), shown: '', retryable: false }
    const { code, message, details, retryable } = error
    const used = error.usage ? { cpuMs: error.usage.cpuMs, killed: error.usage.killed } : {}
    return { outcome: code, shown: `${message}\n${JSON.stringify(details)}`, retryable, ...used }
  }
}

async function answer(ask: Ask): Promise<Omit<Answer, 'id' | 'ms'>> {
  const quiet = { shown: '', logLines: 0, logBytes: 0, retryable: false }
  if (ask.do === 'attack') return attack(ask)
  if (ask.do === 'call') return { ...quiet, ...(await settle(call(ask.tenantId, 'honest', {}))) }
  await box.close()
  return { ...quiet, outcome: 'OK' }
}

process.on('message', async (ask: Ask) => {
  const started = performance.now()
  const found = await answer(ask)
  process.send?.({ id: ask.id, ms: performance.now() - started, ...found } satisfies Answer)
  if (ask.do === 'close') process.disconnect?.()
})
process.send?.({ id: 0, outcome: JSON.stringify(box.status().isolation) })
