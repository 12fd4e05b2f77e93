import { defineMachine, pending } from 'agentos/plugin'
import { HelloGreeted, HelloWritten } from './events.ts'
import { type GreetingContext, greetingMachine } from './machine.ts'

/** The machine's context and the columns of the row that its effect and its events need. */
type Restored = GreetingContext & { readonly name: string; readonly language: string }

/** How a greeting lives on the actor host: it is limited by nobody's slots, so there is no `grants`. */
export const greetingKind = defineMachine<typeof greetingMachine>({
  kind: 'greeting',
  table: 'hello.greeting',
  columns: ['name', 'language'],
  machine: greetingMachine,
  // From the state alone: a greeting that was cut off in WRITING wants the same again, under the same key.
  wants: { WRITING: () => ({ effect: 'write', key: 'write' }) },
  finals: ['GREETED', 'DISMISSED'],
  interrupts: ['DISMISS'],
  persist: ({ text, reply }) => ({ text, reply }),
  restore: ({ context, columns }): Restored => ({
    ...(context as unknown as GreetingContext),
    name: String(columns.name),
    language: String(columns.language)
  }),
  announce({ ref, event, to, context }) {
    const { name, reply } = context as Restored
    const helloId = ref.id
    return [
      ...(event.type === 'WRITTEN' ? [pending(HelloWritten, helloId, { helloId, name, text: event.text })] : []),
      ...(to === 'GREETED' && reply !== null ? [pending(HelloGreeted, helloId, { helloId, name, reply })] : [])
    ]
  }
})

export type { Restored as RestoredGreeting }
