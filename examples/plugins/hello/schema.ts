import { z } from 'agentos/plugin'

/** What config may set. `{name}` stands for whom it greets. */
export const HelloOptions = z.strictObject({
  greetings: z
    .record(z.string().regex(/^[a-z]{2}$/), z.string().min(1).max(200))
    .default({ en: 'Hello, {name}!', fr: 'Bonjour, {name} !', el: 'Γεια σου, {name}!' })
    .describe('text by language'),
  thinkMs: z.int().min(0).max(60_000).default(0).describe('how long one takes to write: stands for a slow service')
})
export type HelloOptions = z.output<typeof HelloOptions>

export const GreetingState = z.enum(['WRITING', 'WAITING', 'GREETED', 'DISMISSED'])

export const NewGreeting = z.strictObject({
  name: z.string().trim().min(1).max(100),
  language: z.string().default('en')
})

export const Reply = z.strictObject({ text: z.string().trim().min(1).max(500) })

export const GreetingView = z.object({
  id: z.uuid(),
  name: z.string(),
  language: z.string(),
  state: GreetingState,
  text: z.string().nullable(),
  reply: z.string().nullable(),
  createdAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable()
})
