import { z } from 'zod'

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
      /** Addresses (CIDR) that skills may reach although they are not public: the operator's own services. */
      allow: z.array(z.string()).default([]),
      /** Names of this platform, which no skill may ask. */
      ownHosts: z.array(z.string()).default([])
    })
    .prefault({})
})
export type ToolsOptions = z.output<typeof ToolsOptions>
