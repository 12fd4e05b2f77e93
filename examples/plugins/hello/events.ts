import { defineEvent, z } from 'agentos/plugin'

/** Somebody was greeted and may reply now. */
export const HelloWritten = defineEvent('hello.written', {
  subject: 'hello',
  data: z.object({ helloId: z.uuid(), name: z.string(), text: z.string() })
})
/** Both sides said hello. */
export const HelloGreeted = defineEvent('hello.greeted', {
  subject: 'hello',
  data: z.object({ helloId: z.uuid(), name: z.string(), reply: z.string() })
})
