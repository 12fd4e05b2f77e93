import type { App } from '#core/plugin.ts'
import type { EdgeOptions } from './types.ts'

/** Fastify's own hop count believes nobody (it cannot check who connects); a function may say what ours means. */
export function trusted(trustProxy: EdgeOptions['trustProxy'] = false) {
  if (trustProxy === false) return false
  if (typeof trustProxy === 'number') return (_address: string, hop: number) => hop < trustProxy
  return [...trustProxy]
}

/** Whether a proxy stands in front that nobody told us of: every limit by address is then the proxy's. */
export class ForwardedWatch {
  /** X-Forwarded-For came while nobody's is believed. */
  ignored = false

  watch(app: App): void {
    app.addHook('onRequest', async (request) => {
      if (this.ignored || request.headers['x-forwarded-for'] === undefined) return
      this.ignored = true
      app.log.warn(
        { from: request.ip },
        'X-Forwarded-For is not believed: behind a proxy set TRUST_PROXY to its address, else all clients count as one'
      )
    })
  }
}
