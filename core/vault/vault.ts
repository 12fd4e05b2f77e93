import { createHmac, type KeyObject } from 'node:crypto'
import { audit } from '#core/audit/audit.ts'
import type { Clock } from '#core/clock.ts'
import type { Db, Tx } from '#core/db/types.ts'
import { NotFound } from '#core/errors.ts'
import type { Position } from '#core/http/page.ts'
import { newId } from '#core/ids.ts'
import type { Log } from '#core/log.ts'
import { must } from '#core/must.ts'
import type { Secret } from '#core/secret.ts'
import { associated } from './crypto.ts'
import { openSealed, type SealParts, withIdleSealer, withSealer } from './envelope.ts'
import { NotGranted, VaultFull } from './errors.ts'
import type { KeyWrapper, VaultKeys } from './keys.ts'
import { KekRotation } from './rotation.ts'
import * as store from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    vault: Vault
  }
}

export interface VaultOptions {
  db: Db
  clock: Clock
  log: Log
  keys: VaultKeys
}

type Grantee = Pick<store.GrantRow, 'kind' | 'grantee'>

const MAX_SECRETS = 1000
const MAX_GRANTS = 100

/**
 * A tenant's secrets. Every method but those of `rotation` and `shred` works in the caller's tenant transaction and
 * writes its audit row there; only `reveal` gives a value back.
 */
export class Vault {
  readonly rotation: KekRotation
  readonly wrapper: KeyWrapper
  readonly #fingerprintKey: KeyObject
  readonly #parts: SealParts

  constructor({ keys, ...parts }: VaultOptions) {
    this.wrapper = keys.wrapper
    this.#fingerprintKey = keys.fingerprintKey
    this.#parts = { db: parts.db, wrapper: this.wrapper }
    this.rotation = new KekRotation({ ...parts, wrapper: this.wrapper })
  }

  /**
   * Makes the secret, or replaces its value at once: the old one is gone.
   * @throws VaultFull (409)
   */
  async put(tx: Tx, name: string, value: Secret): Promise<{ created: boolean; row: store.SecretRow }> {
    return await withSealer(tx, this.#parts, async (seal) => {
      const now = await store.lockSecret(tx, name)
      if (!now && (await store.countSecrets(tx)) >= MAX_SECRETS) throw new VaultFull('secrets', MAX_SECRETS)
      const version = (now?.version ?? 0) + 1
      const id = now?.id ?? newId()
      const sealed = { id, version, ...seal({ id, name, version }, value) }
      if (now) await store.replaceSecret(tx, sealed, false)
      else await store.insertSecret(tx, name, sealed)
      await this.#note(tx, now ? 'replaced' : 'created', name, now && { version: now.version }, { version })
      return { created: now === null, row: must(await store.findSecret(tx, name), 'the secret') }
    })
  }

  /**
   * A new value; the old one stays readable as the previous version until the next change.
   * @throws NotFound (404)
   */
  async rotate(tx: Tx, name: string, value: Secret): Promise<store.SecretRow> {
    return await withSealer(tx, this.#parts, async (seal) => {
      const now = await store.lockSecret(tx, name)
      if (!now) throw new NotFound('secret')
      const version = now.version + 1
      await store.replaceSecret(tx, { id: now.id, version, ...seal({ id: now.id, name, version }, value) }, true)
      await this.#note(tx, 'rotated', name, { version: now.version }, { version })
      return must(await store.findSecret(tx, name), 'the secret')
    })
  }

  /** Value, grants and history go. @throws NotFound (404) */
  async remove(tx: Tx, name: string): Promise<void> {
    const row = await store.deleteSecret(tx, name)
    if (!row) throw new NotFound('secret')
    await this.#note(tx, 'deleted', name, { version: row.version }, undefined)
  }

  /** Newest first, one more than `limit` where there is one; never a value. */
  async list(tx: Tx, limit: number, after: Position | null): Promise<store.SecretRow[]> {
    return await store.listSecrets(tx, limit, after)
  }

  /** @throws NotFound (404) */
  async find(tx: Tx, name: string): Promise<store.SecretRow> {
    const row = await store.findSecret(tx, name)
    if (!row) throw new NotFound('secret')
    return row
  }

  /**
   * Lets a skill or an agent use the secret, for these hosts only or (null) wherever it may send requests at all. A
   * grant that is there gets the new hosts.
   * @throws NotFound (404), VaultFull (409)
   */
  async grant(tx: Tx, name: string, who: Grantee, hosts: string[] | null): Promise<store.SecretRow> {
    const before = await this.#locked(tx, name)
    const had = before.grants.find((grant) => isFor(grant, who))
    if (!had && before.grants.length >= MAX_GRANTS) throw new VaultFull('grants of this secret', MAX_GRANTS)
    await store.upsertGrant(tx, before.id, { ...who, hosts })
    await this.#note(tx, 'granted', name, had && { hosts: had.hosts }, { hosts }, { [who.kind]: who.grantee })
    return must(await store.findSecret(tx, name), 'the secret')
  }

  /** @throws NotFound (404), also for a grant that is not there */
  async revoke(tx: Tx, name: string, who: Grantee): Promise<void> {
    const row = await this.#locked(tx, name)
    const had = row.grants.find((grant) => isFor(grant, who))
    if (!had) throw new NotFound('grant')
    await store.deleteGrant(tx, row.id, who)
    await this.#note(tx, 'grant_revoked', name, { hosts: had.hosts }, undefined, { [who.kind]: who.grantee })
  }

  /**
   * The value, for the process that attaches it to an outgoing request and lets go of it. Each of `skill` and `agent`
   * that is named must hold a grant that covers `host`; naming nobody is refused. Waits for no other transaction.
   * @param version `previous`: the value before the last rotation, while it is kept
   * @throws NotGranted (403) also when the secret is absent or another tenant's; Unreadable, KekMissing (500)
   */
  async reveal(tx: Tx, name: string, use: store.Use, version: 'current' | 'previous' = 'current'): Promise<Secret> {
    const row = await store.findGranted(tx, name, use, version)
    if (!row) throw new NotGranted(name, describe(use))
    const value = await openSealed(this.wrapper, name, row)
    await store.noteUse(tx, row.id)
    // A generation that sealed its share goes out of use as its values are read; the previous version goes by itself.
    if (!row.newest && version === 'current') {
      const { id, version: number } = row
      await withIdleSealer(tx, this.wrapper, async (seal) => {
        await store.resealSecret(tx, { id, version: number, ...seal({ id, name, version: number }, value) })
      })
    }
    return value
  }

  /** Stands for a body with a value where an Idempotency-Key is kept: keyed, so that the database tells nothing. */
  fingerprint(tenantId: string, name: string, value: Secret): Buffer {
    const sum = createHmac('sha256', this.#fingerprintKey)
    return sum.update(associated('fingerprint', tenantId, name, value.reveal())).digest()
  }

  /**
   * Deletes the tenant's data keys: from now on nothing of it opens, whoever kept a copy of the rows. (A backup that
   * holds the data keys too still needs the KEK: see README.)
   * @param tx of `db.system`
   * @returns how many data keys there were
   */
  async shred(tx: Tx, tenantId: string): Promise<number> {
    const { count } = await tx`delete from vault.data_key where tenant_id = ${tenantId}`
    return count
  }

  async #locked(tx: Tx, name: string): Promise<store.SecretRow> {
    await store.lockSecret(tx, name)
    return await this.find(tx, name)
  }

  // Digests of versions and hosts only: an unkeyed digest of a value would be a way to guess it.
  async #note(
    tx: Tx,
    what: string,
    name: string,
    before: object | null | undefined,
    after: object | undefined,
    details: Record<string, string> = {}
  ): Promise<void> {
    await audit(tx, {
      action: `secret.${what}`,
      subject: `secret:${name}`,
      ...(before ? { before } : {}),
      ...(after ? { after } : {}),
      details
    })
  }
}

function isFor(grant: Grantee, who: Grantee): boolean {
  return grant.kind === who.kind && grant.grantee === who.grantee
}

function describe({ skill, agent, host }: store.Use): string {
  const who = [skill && `skill ${skill}`, agent && `agent ${agent}`].filter(Boolean).join(' of ') || 'nobody'
  return host === undefined ? who : `${who} for ${host}`
}
