import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { systemClock } from '#core/clock.ts'
import { definePlugin } from '#core/plugin.ts'
import { type ToolCall, ToolError } from '#core/ports/tools.ts'
import { hostTools } from '#test/support/host-tools.ts'

/** One call of a tool as the outside world saw it: written before its answer is known to anybody. */
export interface WorldCall {
  /** The key that the outside world would dedupe by. */
  readonly key: string
  readonly attempt: number
  /** Epoch ms. */
  readonly at: number
  readonly pid: number
}

/** The room of the chaos host: tools that are functions of the process, and a file that outlives it. */
export function chaosTools(callsFile: string) {
  const file = openSync(callsFile, 'a')
  const seen = (call: ToolCall) => {
    const line: WorldCall = { key: call.effectKey, attempt: call.attempt, at: systemClock.now(), pid: process.pid }
    writeSync(file, `${JSON.stringify(line)}\n`)
    fsyncSync(file)
  }
  const count = async ({ n, ms }: { n: number; ms: number }, call: ToolCall) => {
    seen(call)
    await systemClock.sleep(ms, call.signal)
    return { n: n + 1 }
  }
  const tools = hostTools({
    count: { run: count },
    /** Fails at its first attempt, whoever makes it. */
    flaky: {
      run: async (input: { n: number; ms: number }, call) => {
        const output = await count(input, call)
        if (call.attempt === 1) throw new ToolError('SKILL_ERROR', 'the first attempt fails', { retryable: true })
        return output
      }
    },
    book: { effect: 'undo:unbook', run: count },
    unbook: {
      run: (_input: object, call) => {
        seen(call)
        return {}
      }
    },
    /** Waits until the file is there: the test decides when the step ends. */
    hold: {
      run: async ({ n, until }: { n: number; until: string }, call) => {
        seen(call)
        while (!existsSync(until)) await systemClock.sleep(5, call.signal)
        return { n: n + 1 }
      }
    }
  })
  return definePlugin({
    name: 'chaos-tools',
    needs: ['ports'],
    provides: ['tools'],
    register(app) {
      app.ports.provide('tools', tools)
      app.addHook('onClose', () => closeSync(file))
    }
  })
}

/** What the hosts wrote; a line that was cut by a kill is no call (it was not synced, so nobody saw it). */
export function readCalls(files: readonly string[]): WorldCall[] {
  return files.flatMap((file) =>
    existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line) as WorldCall)
      : []
  )
}
