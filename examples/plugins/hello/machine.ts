import { assign, setup } from 'agentos/plugin'

export interface GreetingContext {
  readonly text: string | null
  readonly reply: string | null
}

export type GreetingEvent = { type: 'WRITTEN'; text: string } | { type: 'REPLY'; text: string } | { type: 'DISMISS' }

export const NEW_GREETING: GreetingContext = { text: null, reply: null }

/** WRITING (our turn) -> WAITING (theirs) -> GREETED. Pure: every arrow is an event, and so a row of history. */
export const greetingMachine = setup({
  types: { context: {} as GreetingContext, events: {} as GreetingEvent }
}).createMachine({
  id: 'greeting',
  context: NEW_GREETING,
  initial: 'WRITING',
  states: {
    WRITING: {
      on: {
        WRITTEN: { target: 'WAITING', actions: assign({ text: ({ event }) => event.text }) },
        DISMISS: 'DISMISSED'
      }
    },
    WAITING: {
      on: {
        REPLY: { target: 'GREETED', actions: assign({ reply: ({ event }) => event.text }) },
        DISMISS: 'DISMISSED'
      }
    },
    GREETED: { type: 'final' },
    DISMISSED: { type: 'final' }
  }
})
