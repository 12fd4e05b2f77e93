import type { SandboxErrorCode } from '#sandbox/index.ts'

export type Outcome = 'OK' | SandboxErrorCode

export interface Variant {
  name: string
  /** The package's files; the entry is dist/index.js, the tool is called `run`. */
  files: Record<string, string>
  /** Outcomes of which one must come. */
  expect: readonly Outcome[]
  /** With OK: what the tool must have returned. */
  output?: unknown
  /** The same skill is called with each of these in turn, in one session; the last outcome counts. Default: once with {}. */
  inputs?: readonly unknown[]
  /** Its export `prepare` is called first, by another tenant and in another session of this one, with a secret to keep. */
  prepare?: true
  /** Beginnings of the actions of audit rows that it must have left. */
  audited?: readonly string[]
  limits?: Partial<{ cpuMs: number; wallMs: number; memoryMb: number; hostCalls: number }>
}

export interface AttackClass {
  /** Number in ../shared/threats.md 1.6. */
  id: number
  title: string
  variants: readonly Variant[]
  /** It goes through capabilities: of a real app, with this grant; `$self` is the skill's short name. */
  permissions?: object
}

export const OK = ['OK'] as const
export const ERR = ['SKILL_ERROR'] as const
export const TO = ['SANDBOX_TIMEOUT'] as const
export const KILL = ['SANDBOX_KILLED'] as const
/** A built-in that cannot be interrupted: killed, or over so soon that its time limit is met first. */
export const HANG = ['SANDBOX_KILLED', 'SANDBOX_TIMEOUT'] as const
/** Grows until something ends it: which limit is met first depends on the machine. */
export const GROW = ['SANDBOX_MEMORY', 'SANDBOX_KILLED', 'SANDBOX_TIMEOUT'] as const
export const GROW_OR_ERR = [...GROW, ...ERR] as const

/** A variant whose tool is an async function of this body, with `input` and `ctx`. */
export function body(name: string, text: string, expect: readonly Outcome[], output?: unknown): Variant {
  return source(name, `export async function run(input, ctx) { ${text} }`, expect, output)
}

export function source(name: string, text: string, expect: readonly Outcome[], output?: unknown): Variant {
  return { name, files: { 'dist/index.js': text }, expect, ...(output === undefined ? {} : { output }) }
}
