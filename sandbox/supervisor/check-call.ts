import { SandboxError } from '../errors.ts'
import type { SandboxCall } from '../types.ts'
import { MAX_TEXT, MAX_TIMERS } from '../wire/frames.ts'
import { cancelled } from './job.ts'

const CAPABILITY = /^[a-z][a-zA-Z0-9]{0,40}(\.[a-z][a-zA-Z0-9]{0,40})?$/
const DATA = /^[a-z][a-zA-Z0-9]{0,40}$/
const RESERVED = new Set(['session', 'signal'])

/** @throws SandboxError for what a tenant may get wrong, TypeError for what only the caller can */
export function checkCall(call: SandboxCall): void {
  if (Buffer.byteLength(call.input) > MAX_TEXT)
    throw new SandboxError('SANDBOX_INPUT_TOO_LARGE', 'the input is larger than 1 MiB', { details: { max: MAX_TEXT } })
  if (call.signal?.aborted) throw cancelled()
  for (const name of call.capabilities)
    if (!CAPABILITY.test(name) || RESERVED.has(name))
      throw new SandboxError('CAPABILITY_DENIED', `no such capability: ${name}`)
  for (const name of Object.keys(call.data ?? {}))
    if (!DATA.test(name) || RESERVED.has(name) || call.capabilities.some((one) => one.split('.')[0] === name))
      throw new TypeError(`ctx.${name} cannot be data`)
  const { replay, limits } = call
  if (replay && (replay.wakes.length > limits.hostCalls + MAX_TIMERS || !replay.wakes.every(isWake)))
    throw new TypeError('replay.wakes are the usage.wakes of an earlier run')
  for (const limit of Object.values(limits))
    if (!(limit >= 0) || !Number.isFinite(limit)) throw new TypeError('limits are finite numbers, 0 or more')
}

function isWake(wake: unknown): boolean {
  return Number.isSafeInteger(wake) && wake !== 0
}
