import { assign, setup } from 'agentos/plugin'

export interface GreetingContext {
  readonly text: string | null
  readonly reply: string | null
}

export type GreetingEvent = { type: 'WRITTEN'; text: string } | { type: 'REPLY'; text: string } | { type: 'DISMISS' }

export const NEW_GREETING: GreetingContext = { text: null, reply: null }

/**
 * WRITING (our turn) -> WAITING (theirs) -> GREETED. Pure: every arrow is an event, and so a row of history.
 * A reply may come while we still write: when a command is taken is the host's business, so it has to count in both.
 */
export const greetingMachine = setup({
  types: { context: {} as GreetingContext, events: {} as GreetingEvent },
  guards: {
    replied: ({ context }) => context.reply !== null,
    unreplied: ({ context }) => context.reply === null
  },
  actions: {
    written: assign({ text: ({ context, event }) => (event.type === 'WRITTEN' ? event.text : context.text) }),
    replied: assign({ reply: ({ context, event }) => (event.type === 'REPLY' ? event.text : context.reply) })
  }
}).createMachine({
  id: 'greeting',
  context: NEW_GREETING,
  initial: 'WRITING',
  states: {
    WRITING: {
      on: {
        WRITTEN: [
          { guard: 'replied', target: 'GREETED', actions: 'written' },
          { target: 'WAITING', actions: 'written' }
        ],
        REPLY: { guard: 'unreplied', actions: 'replied' },
        DISMISS: 'DISMISSED'
      }
    },
    WAITING: {
      on: {
        REPLY: { target: 'GREETED', actions: 'replied' },
        DISMISS: 'DISMISSED'
      }
    },
    GREETED: { type: 'final' },
    DISMISSED: { type: 'final' }
  }
})
