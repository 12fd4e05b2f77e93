import { capabilities } from './capabilities.ts'
import { cpu } from './cpu.ts'
import { escapes } from './escape.ts'
import { memory } from './memory.ts'
import { outside } from './outside.ts'
import { pollution } from './pollution.ts'
import type { AttackClass } from './types.ts'

/** The 66 classes of ../shared/threats.md 1.6, in their order. */
export const corpus: readonly AttackClass[] = [
  ...escapes,
  ...pollution,
  ...cpu,
  ...memory,
  ...outside,
  ...capabilities
].sort((a, b) => a.id - b.id)

/** Those that need a real app around the sandbox. */
export const throughPort = corpus.filter(({ permissions }) => permissions !== undefined)
export const inSandbox = corpus.filter(({ permissions }) => permissions === undefined)
