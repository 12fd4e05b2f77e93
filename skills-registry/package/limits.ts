const MIB = 1024 * 1024

/** Limits of one package; each has a refusal of its own. Source: docs/threats, supply chain. */
export const PACKAGE_LIMITS = {
  packedBytes: 5 * MIB,
  unpackedBytes: 20 * MIB,
  /** Unpacked bytes per packed byte: above it, it is a bomb and no skill. */
  ratio: 100,
  entries: 500,
  manifestBytes: 512 * 1024,
  frontmatterBytes: 16 * 1024
} as const

/** What a tool may use when its manifest says nothing, and the most that a manifest may ask. */
export const TOOL_LIMITS = {
  defaults: { cpuMs: 5_000, wallMs: 10_000, memoryMb: 64, hostCalls: 100 },
  maxima: { cpuMs: 60_000, wallMs: 300_000, memoryMb: 256, hostCalls: 10_000 }
} as const
