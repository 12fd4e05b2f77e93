import type { Tx } from '#core/db/index.ts'
import type { Secret } from '#core/secret.ts'

declare module '#core/ports/ports.ts' {
  interface PortMap {
    secrets: SecretsPort
  }
}

/** What a room that sends requests for a skill or an agent asks of the vault. Its provider is core/vault. */
export interface SecretsPort {
  /**
   * The value, for the process that attaches it to an outgoing request: it is never given to a skill, stored or logged.
   * @param use who asks (each that is named needs a grant) and the host, in lower case, that the request goes to
   * @param version `previous`: the value before the last rotation, while it is kept
   * @throws VAULT_NOT_GRANTED (403) also when the secret is absent or another tenant's
   */
  reveal(
    tx: Tx,
    name: string,
    use: { skill?: string; agent?: string; host?: string },
    version?: 'current' | 'previous'
  ): Promise<Secret>
}
