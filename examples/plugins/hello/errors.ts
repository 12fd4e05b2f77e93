import { defineError } from 'agentos/plugin'

export const GreetingNotFound = defineError('HELLO_NOT_FOUND', 404, (id: string) => `greeting ${id} does not exist`)

export const LanguageUnknown = defineError('HELLO_LANGUAGE_UNKNOWN', 422, (language: string, known: string[]) => ({
  message: `no greeting in ${JSON.stringify(language)}; there are ${known.join(', ')}`,
  details: { errors: [{ pointer: '/language', detail: `one of ${known.join(', ')}` }] }
}))

export const ReplyRefused = defineError('HELLO_REPLY_REFUSED', 409, (id: string, state: string) => ({
  message: `greeting ${id} is ${state}: it takes no reply now`,
  details: { state }
}))
