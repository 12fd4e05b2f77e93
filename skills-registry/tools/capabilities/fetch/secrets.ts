import type { Db } from '#core/db/index.ts'
import { must } from '#core/must.ts'
import type { SecretsPort } from '#core/ports/secrets.ts'
import type { Secret } from '#core/secret.ts'
import { CapabilityError, type HostCall } from '../../capability.ts'
import type { FetchRule } from './guard.ts'
import { type HeaderList, headerOf } from './headers.ts'

const PLACEHOLDER = /\{\{secret\.([A-Z][A-Z0-9_]{0,63})\}\}/g
/** A shorter value could not be told from ordinary text where the host says it back; a longer one no host takes. */
const SHORTEST = 4
const LONGEST = 8192

/** Headers with the placeholders that this hop fills, and the name in them. */
export interface SecretPlan {
  headers: HeaderList
  secret: string | undefined
}

/**
 * Where the secret of this hop's rule goes: where the headers say `{{secret.NAME}}`, else into Authorization as a bearer
 * token. The rule of another host or method has another secret, or none.
 * @param redirected a header that asks for more than this hop may have is left out, not refused
 * @throws CapabilityError ARGUMENTS_INVALID, CAPABILITY_DENIED
 */
export function planSecret(headers: HeaderList, rule: FetchRule, redirected: boolean): SecretPlan {
  const { host, secret } = rule
  const kept = headers.filter(([name, value]) => {
    const other = namesIn(name, value).find((named) => named !== secret)
    if (other !== undefined && !redirected) throw notGranted(other, host)
    return other === undefined
  })
  if (secret === undefined) return { headers: kept, secret }
  if (kept.some(([name, value]) => namesIn(name, value).length > 0)) return { headers: kept, secret }
  if (headerOf(kept, 'authorization') === undefined) {
    return { headers: [...kept, ['authorization', `Bearer {{secret.${secret}}}`]], secret }
  }
  if (redirected) return { headers: kept, secret: undefined }
  throw new CapabilityError(
    'ARGUMENTS_INVALID',
    `ctx.fetch: the rule of ${host} sends ${secret} as Authorization: leave the header out, or write {{secret.${secret}}} where it belongs`
  )
}

function namesIn(header: string, value: string): string[] {
  const names = [...value.matchAll(PLACEHOLDER)].map(([, name]) => name as string)
  if (value.split('{{secret.').length - 1 === names.length) return names
  throw new CapabilityError('ARGUMENTS_INVALID', `ctx.fetch: header ${header}: write a secret as {{secret.NAME}}`)
}

/**
 * The last thing before a request is sent: the value leaves the vault, for this skill, those that called it, and this host.
 * @returns the headers as they leave, and what must not come back
 * @throws CapabilityError CAPABILITY_DENIED also for a secret that is absent, FETCH_FAILED for a value that no header can hold
 */
export async function fillSecret(
  { headers, secret: name }: SecretPlan,
  call: HostCall,
  host: string,
  deps: { db: Db; secrets: () => SecretsPort }
): Promise<{ headers: HeaderList; secret: Secret | null }> {
  if (name === undefined) return { headers, secret: null }
  const secrets = await deps.db.tenant(call.context, async (tx) => {
    const all: Secret[] = []
    // The grant of one skill is not lent to another that calls it.
    for (const skill of new Set([...call.callers, call.skill.name])) {
      all.push(await revealed(deps.secrets().reveal(tx, name, { skill, host }), name, host))
    }
    return all
  })
  const secret = must(secrets.at(-1), 'a secret')
  const text = secret.reveal()
  checkValue(name, text)
  const filled = headers.map(([header, value]) => [header, value.replaceAll(PLACEHOLDER, () => text)] as const)
  return { headers: filled, secret }
}

async function revealed(asked: Promise<Secret>, name: string, host: string): Promise<Secret> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'VAULT_NOT_GRANTED') throw notGranted(name, host)
    throw error
  }
}

/** One text for a name that the rule has not, that no grant covers and that is not there. */
function notGranted(name: string, host: string): CapabilityError {
  return new CapabilityError(
    'CAPABILITY_DENIED',
    `secret ${name} may not be sent to ${host}: the skill's fetch rule of this host must name it, and the tenant must have put it and granted it to the skill and to the skills that call it (PUT /v1/secrets/${name}/grants)`
  )
}

function checkValue(name: string, value: string): void {
  const why = !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)
    ? 'no header can hold it: a space or line break at an end, or a character outside ASCII'
    : value.length < SHORTEST || value.length > LONGEST
      ? `it has fewer than ${SHORTEST} or more than ${LONGEST} characters`
      : null
  if (why) throw new CapabilityError('FETCH_FAILED', `secret ${name} is not sent, ${why}; put its value again`)
}
