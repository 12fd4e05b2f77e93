import { z } from 'zod'
import type { Resolve } from './capabilities/fetch/resolve.ts'
import { FilesOptions } from './capabilities/files-options.ts'
import { StorageOptions } from './capabilities/storage-options.ts'

export const ToolsOptions = z.strictObject({
  sandbox: z
    .strictObject({
      /** `strict` refuses to run skills where the machine cannot give a cell its jail. */
      require: z.enum(['strict', 'best']).default('best'),
      maxCells: z.int().min(1).default(16)
    })
    .prefault({}),
  fetch: z
    .strictObject({
      /** CIDRs that skills may reach although they are not public: services of the operator's own. */
      allowAddresses: z.array(z.string()).default([]),
      /** Names, addresses and CIDRs of this platform, which no skill may ask. */
      ownHosts: z.array(z.string()).default([]),
      /** For tests: answers instead of the machine's DNS, and where the sockets go. */
      resolve: z.custom<Resolve>((value) => typeof value === 'function').optional(),
      connect: z.strictObject({ port: z.int().optional(), ca: z.string().optional() }).optional()
    })
    .prefault({}),
  storage: StorageOptions.prefault({}),
  files: FilesOptions.prefault({})
})
export type ToolsOptions = z.output<typeof ToolsOptions>
