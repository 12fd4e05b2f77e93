import type { Clock, Effect } from 'agentos/plugin'
import type { RestoredGreeting } from './kind.ts'
import type { GreetingContext, GreetingEvent } from './machine.ts'
import type { HelloOptions } from './schema.ts'

/** The only file that does I/O for the machine. What it once wrote is in the journal and is never written again. */
export function greetingEffects(deps: {
  clock: Clock
  options: HelloOptions
}): Record<string, Effect<GreetingContext, GreetingEvent>> {
  const { clock, options } = deps
  return {
    write: {
      async run({ context, signal }) {
        const { name, language } = context as RestoredGreeting
        if (options.thinkMs > 0) await clock.sleep(options.thinkMs, signal)
        const at = new Date(clock.now()).toISOString().slice(0, 16)
        const text = `${(options.greetings[language] ?? '{name}').replaceAll('{name}', name)} (${at}Z)`
        return { event: { type: 'WRITTEN', text }, record: text }
      },
      replay: (record) => ({ type: 'WRITTEN', text: String(record) })
    }
  }
}
