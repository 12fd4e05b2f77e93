import type { SandboxOptions } from '../types.ts'

type Optional = 'log' | 'isolation' | 'imageDir'

export type Settings = Required<Omit<SandboxOptions, Optional>> & Pick<SandboxOptions, Optional>

export function settle(options: SandboxOptions, cores: number): Settings {
  return {
    require: 'best',
    maxCells: 16,
    spareCells: 1,
    callsPerCell: 16,
    queuePerTenant: 256,
    idleMs: 60_000,
    recycleAfter: 20_000,
    cellMemoryMb: 512,
    graceMs: 250,
    cores,
    ...options
  }
}
