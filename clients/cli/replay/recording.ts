// What GET /v1/sessions/{id}/recording answers, as far as a replay needs it, and whether it is still what was recorded.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { plain } from '../print.ts'
import { Exit, Stop } from '../stop.ts'

export interface HostCall {
  n: number
  name: string
  /** JSON text of the argument array. */
  args: string
  ok: boolean
  /** JSON text: the value, or {code, message} where it failed. */
  answer: string
  landed: number
  digest: string
}

export interface Call {
  key: string
  step: string
  attempt: number
  digest: string
  skill: string
  version: string
  tool: string
  input: string
  session: { id: string; tenantId: string; step: string; attempt: number; effectKey: string }
  data?: Record<string, unknown>
  time: number
  seed: string
  limits: { cpuMs: number; wallMs: number; memoryMb: number; hostCalls: number }
  capabilities: string[]
  generation: number
  nth: number
  wakes: number[]
  hostDigest: string | null
  outcome: { output: string; bytes: number } | { code: string; message: string; limit: boolean }
  seal: string
  host: HostCall[]
}

export interface Skill {
  digest: string
  name: string
  version: string
  entry: string
  files: Record<string, string>
}

export interface Recording {
  format: 1
  sessionId: string
  complete: boolean
  skills: Skill[]
  calls: Call[]
}

/** @throws Stop (2) where the file is none that --save wrote */
export async function readRecording(path: string): Promise<Recording> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error
    throw new Stop(Exit.usage, `${path} cannot be read (${code}): name a file that agentos replay --save wrote`)
  }
  const value = parse(text)
  const missing = value === null ? 'is no JSON' : misfit(value)
  if (missing !== null) {
    throw new Stop(Exit.usage, `${path} ${plain(missing)}: name a file that agentos replay --save wrote`)
  }
  return value as Recording
}

/** Why this is no recording; null where it is one. Only the shape: what is in it is what the replay finds out. */
export function misfit(value: unknown): string | null {
  const { format, sessionId, skills, calls } = Object(value) as Partial<Recording>
  if (format !== 1) return 'is no recording of format 1'
  if (typeof sessionId !== 'string' || !Array.isArray(skills) || !Array.isArray(calls)) return 'is no whole recording'
  const badSkill = skills.findIndex((skill) => !isSkill(Object(skill)))
  if (badSkill >= 0) return `is broken at /skills/${badSkill}`
  const badCall = calls.findIndex((call) => !isCall(Object(call)))
  return badCall >= 0 ? `is broken at /calls/${badCall}` : null
}

function isSkill({ digest, entry, files }: Partial<Skill>): boolean {
  return areTexts(digest, entry) && areTexts(...Object.values(Object(files)))
}

function isCall(call: Partial<Call>): boolean {
  const { key, step, digest, skill, version, tool, input, seed, outcome, wakes, capabilities, host, limits } = call
  const { output, bytes, code, message } = Object(outcome)
  return (
    areTexts(key, step, digest, skill, version, tool, input, seed, call.seal) &&
    areNumbers(call.attempt, call.time, call.generation, call.nth, ...Object.values(Object(limits))) &&
    (areTexts(output) ? areNumbers(bytes) : areTexts(code, message)) &&
    Array.isArray(capabilities) &&
    areTexts(...capabilities) &&
    Array.isArray(wakes) &&
    areNumbers(...wakes) &&
    Array.isArray(host) &&
    host.every((entry) => isHostCall(Object(entry)))
  )
}

function isHostCall({ n, name, args, ok, answer, landed }: Partial<HostCall>): boolean {
  return areNumbers(n, landed) && areTexts(name, args, answer) && typeof ok === 'boolean'
}

const areTexts = (...values: unknown[]) => values.every((value) => typeof value === 'string')
const areNumbers = (...values: unknown[]) => values.every((value) => Number.isFinite(value))

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** `fetch#1`: step and attempt; `fetch#1/3` for the tool that its third host call called. */
export function labelOf({ key }: Pick<Call, 'key'>, sessionId: string): string {
  return key.startsWith(`${sessionId}/`) ? key.slice(sessionId.length + 1) : key
}

/**
 * The first thing about a call that is not as it was recorded: each host call has a digest of its own, the record of the
 * call, which was committed with its outcome, one over those that were answered, and a seal. Null where all of it fits.
 */
export function findChange(call: Call): string | null {
  const { host, wakes, hostDigest } = call
  for (const { n, name, args, ok, answer, landed, digest } of host) {
    if (sha256(JSON.stringify([n, name, args, ok, answer, landed])) !== digest) {
      return `host call ${n} (${name}) was changed after it was recorded`
    }
  }
  const digests = new Map(host.map(({ n, digest }) => [n, digest]))
  const heard = [...new Set(wakes)].sort((a, b) => a - b).flatMap((n) => digests.get(n) ?? [])
  const together = heard.length === 0 ? null : sha256(heard.join('\n'))
  if (together !== hostDigest) return 'its host calls are not those that were recorded with its outcome'
  return sealOf(call) === call.seal ? null : 'its input or its record was changed after it was recorded'
}

// As skills-registry/tools/seal.ts makes it.
function sealOf(call: Call): string {
  const { session, limits, outcome, data = {} } = call
  const { id, tenantId, step, attempt, effectKey } = Object(session) as Partial<Call['session']>
  const result = 'code' in outcome ? [outcome.code, outcome.limit] : [outcome.output, outcome.bytes]
  const parts = [
    [call.key, call.digest, call.tool, call.input, call.time, call.seed, call.capabilities],
    [id, tenantId, step, attempt, effectKey],
    [limits.cpuMs, limits.wallMs, limits.memoryMb, limits.hostCalls],
    [call.generation, call.nth, call.wakes, call.hostDigest, result],
    Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1))
  ]
  return sha256(JSON.stringify(parts))
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
