import type { Context } from 'agentos/skill'

export interface Release {
  tag: string
  title: string
  /** ISO, UTC. */
  publishedAt: string
  url: string
  prerelease: boolean
}

/** The part of https://docs.github.com/rest/releases/releases that is used. */
interface GitHubRelease {
  tag_name: string
  name: string | null
  published_at: string | null
  html_url: string
  prerelease: boolean
  draft: boolean
}

const PATIENCE_MS = 15_000

/** The last 20 releases, newest first. */
export async function fetchReleases(ctx: Context<'fetch'>, repository: string): Promise<Release[]> {
  const url = new URL(`https://api.github.com/repos/${repository}/releases`)
  url.searchParams.set('per_page', '20')
  const response = await ctx.fetch(url, {
    headers: { accept: 'application/vnd.github+json', 'user-agent': 'agentos-release-watch' },
    signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(PATIENCE_MS)])
  })
  if (response.status === 404) throw new Error(`GitHub knows no public repository ${repository}`)
  if (response.status === 403 || response.status === 429)
    throw new Error(`GitHub asks to wait${until(response.headers)}`)
  if (!response.ok) throw new Error(`GitHub answered ${response.status} for ${repository}`)
  const found = await response.json<GitHubRelease[]>()
  return found
    .filter(({ draft }) => !draft)
    .map(toRelease)
    .sort(newestFirst)
}

function toRelease({ tag_name, name, published_at, html_url, prerelease }: GitHubRelease): Release {
  return { tag: tag_name, title: name || tag_name, publishedAt: published_at ?? '', url: html_url, prerelease }
}

function newestFirst(a: Release, b: Release): number {
  return a.publishedAt < b.publishedAt ? 1 : a.publishedAt > b.publishedAt ? -1 : 0
}

/** GitHub says in epoch seconds when the next request is welcome. */
function until(headers: { get(name: string): string | null }): string {
  const reset = Number(headers.get('x-ratelimit-reset'))
  return reset > 0 ? ` until ${new Date(reset * 1000).toISOString()}` : ''
}
