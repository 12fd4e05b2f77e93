import type { Db } from '#core/db/types.ts'
import { deleteOld, streamsAfter } from './store/retention.ts'
import { PLATFORM_STREAM, type RetainOptions } from './types.ts'

const STREAMS_PER_PAGE = 500

/** @see Bus.retain */
export async function retain(db: Db, olderThanMs: number, options: RetainOptions = {}): Promise<number> {
  const { streamId, signal, batch = 5000 } = options
  const one = async (id: string) => {
    let gone = 0
    for (let last = batch; last >= batch && !signal?.aborted; gone += last)
      last = await db.system((tx) => deleteOld(tx, id, olderThanMs, batch))
    return gone
  }
  if (streamId !== undefined) return await one(streamId)
  let gone = await one(PLATFORM_STREAM) // the lowest id: the pages begin behind it
  let after = PLATFORM_STREAM
  while (!signal?.aborted) {
    const page = await db.system((tx) => streamsAfter(tx, after, STREAMS_PER_PAGE))
    for (const id of page) gone += await one(id)
    const last = page.at(-1)
    if (last === undefined) break
    after = last
  }
  return gone
}
