import { z } from 'zod'

const MiB = 1024 * 1024
const GiB = 1024 * MiB

/** How much a session's workspace holds. */
export const FilesOptions = z.strictObject({
  files: z.int().min(1).default(1000),
  fileBytes: z
    .int()
    .min(1)
    .max(1024 * MiB)
    .default(8 * MiB)
    .describe('of one file'),
  totalBytes: z
    .int()
    .min(1)
    .default(64 * MiB)
    .describe('of all files'),
  storedBytes: z
    .int()
    .min(1)
    .default(1024 * MiB)
    .describe('put into the object store in the life of the session, what was overwritten or deleted since included'),
  tenantStoredBytes: z
    .record(z.string(), z.int().min(1))
    .default({ free: 4 * GiB, pro: 256 * GiB, enterprise: 4096 * GiB })
    .describe('the same of all sessions of a tenant together, by plan; a plan that is not named has what free has')
})
export type FilesOptions = z.output<typeof FilesOptions>
