import { type App, definePlugin } from 'agentos/plugin'
import { greetingEffects } from './effects.ts'
import { HelloGreeted, HelloWritten } from './events.ts'
import { greetingKind } from './kind.ts'
import { helloRoutes } from './routes.ts'
import { HelloOptions } from './schema.ts'

/** A third party's room: greetings that wait for a reply. Read it as a template. */
export default definePlugin({
  name: 'hello',
  needs: ['db', 'bus', 'actors'],
  options: HelloOptions,
  emits: [HelloWritten, HelloGreeted],
  machines: [greetingKind],
  permissions: {
    'hello:read': 'See greetings and their replies.',
    'hello:write': 'Send greetings and reply to them.'
  },
  tables: ['hello.greeting'],
  migrations: new URL('./sql/', import.meta.url),
  register(app: App, options) {
    app.actors.register(greetingKind, { effects: greetingEffects({ clock: app.clock, options }) })
    helloRoutes(app, options)
  }
})
