import type { CapabilityError, Context, Tool } from 'agentos/skill'
import { fetchReleases, type Release } from './github.ts'

type Ctx = Context<'fetch' | 'storage'>

interface CheckOutput {
  repository: string
  firstLook: boolean
  latest: string | null
  new: Release[]
}

/** What is kept of a repository, by its name in lower case. */
interface Seen {
  /** When the newest release came out; '' where there is none. ISO times in UTC compare as text. */
  until: string
  /** The step that noted this, and what was known before it: a second attempt of that step tells the same again. */
  step: string
  since: string | null
}

export const check: Tool<{ repository: string; prereleases?: boolean }, CheckOutput, 'fetch' | 'storage'> = async (
  { repository, prereleases = false },
  ctx
) => {
  ctx.progress(0.1, `asking GitHub for ${repository}`)
  const releases = (await fetchReleases(ctx, repository)).filter((release) => prereleases || !release.prerelease)
  ctx.progress(0.7, `${releases.length} releases`)
  const since = await remember(ctx, repository.toLowerCase(), releases[0]?.publishedAt ?? '')
  return {
    repository,
    firstLook: since === null,
    latest: releases[0]?.tag ?? null,
    new: since === null ? [] : releases.filter(({ publishedAt }) => publishedAt > since)
  }
}

export const forget: Tool<{ repository: string }, { forgotten: boolean }, 'storage'> = async ({ repository }, ctx) => ({
  forgotten: await ctx.storage.delete(repository.toLowerCase())
})

/** Notes what was seen. @returns until when releases were known before, null at the first look */
async function remember(ctx: Ctx, key: string, newest: string): Promise<string | null> {
  for (;;) {
    const found = await ctx.storage.get<Seen>(key)
    const seen = found?.value
    const step = ctx.session.effectKey
    const since = seen === undefined ? null : seen.step === step ? seen.since : seen.until
    const until = seen !== undefined && seen.until > newest ? seen.until : newest
    try {
      await ctx.storage.set(key, { until, since, step } satisfies Seen, { ifVersion: found?.version ?? 0 })
      return since
    } catch (error) {
      // Another session looked at the same moment: what it has told is not new any more.
      if ((error as CapabilityError).code !== 'STORAGE_CONFLICT') throw error
      ctx.log.info(`${key} was checked by somebody else meanwhile`)
    }
  }
}
