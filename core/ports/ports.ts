import { defineError } from '#core/errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    ports: Ports
  }
}

/** What a room may ask of another room. Rooms add their ports by declaration merging: name -> interface. */
// biome-ignore lint/suspicious/noEmptyInterface: the rooms fill it
export interface PortMap {}

export const PortMissing = defineError('PORTS_MISSING', 503, (name: string) => `no room provides the port ${name}`)
export const PortTaken = defineError('PORTS_TAKEN', 500, (name: string) => `port ${name} is provided twice`)

/** The ports of one app: the owner provides, others ask. Asked at call time, so that boot order does not matter. */
export class Ports {
  private readonly provided = new Map<string, unknown>()

  /** @throws PORTS_TAKEN */
  provide<N extends keyof PortMap & string>(name: N, port: PortMap[N]): void {
    if (this.provided.has(name)) throw new PortTaken(name)
    this.provided.set(name, port)
  }

  /** @throws PORTS_MISSING */
  get<N extends keyof PortMap & string>(name: N): PortMap[N] {
    const port = this.provided.get(name)
    if (port === undefined) throw new PortMissing(name)
    return port as PortMap[N]
  }

  has(name: string): boolean {
    return this.provided.has(name)
  }
}
