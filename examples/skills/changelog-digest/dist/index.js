import { plainText, readChangelog } from './markdown.js'

const MAX_VERSIONS = 500
// What a reader asks first: is something broken or unsafe, then what is new.
const ORDER = ['Security', 'Removed', 'Changed', 'Added', 'Fixed', 'Deprecated']

/**
 * Digest of a changelog; see SKILL.md.
 * @param {{ markdown: string, highlights?: number }} input
 */
export async function digest(input, ctx) {
  const { title, releases } = readChangelog(input.markdown)
  ctx?.log?.info?.(`${releases.length} versions`)
  const versions = releases.slice(0, MAX_VERSIONS).map((release) => describe(release, input.highlights ?? 3))
  const totals = {}
  for (const { sections } of versions) {
    for (const [name, count] of Object.entries(sections)) totals[name] = (totals[name] ?? 0) + count
  }
  const isUnreleased = ({ version }) => /^unreleased$/i.test(version)
  const newest = versions.find((version) => !isUnreleased(version) && !version.yanked)
  const unreleased = versions.filter(isUnreleased).reduce((sum, version) => sum + version.entries, 0)
  const latest = newest?.version ?? null
  return { title, latest, unreleased, versions, totals, summary: summarise(newest, unreleased, versions.length) }
}

function describe({ version, date, yanked, sections }, highlights) {
  const names = [...sections.keys()].sort((a, b) => rank(a) - rank(b))
  const all = names.flatMap((name) => sections.get(name))
  return {
    version,
    date,
    yanked,
    entries: all.length,
    breaking: all.filter((entry) => /\bbreaking\b/i.test(entry)).length,
    sections: Object.fromEntries([...sections].map(([name, entries]) => [name, entries.length])),
    highlights: all.slice(0, highlights).map((entry) => plainText(entry).slice(0, 300))
  }
}

function rank(section) {
  const place = ORDER.indexOf(section)
  return place === -1 ? ORDER.length : place
}

function summarise(newest, unreleased, count) {
  const waiting =
    unreleased > 0 ? `, ${unreleased} ${unreleased === 1 ? 'entry waits' : 'entries wait'} for a release` : ''
  if (!newest) return `No release yet${waiting}.`
  const parts = Object.entries(newest.sections).map(([name, entries]) => `${entries} ${name.toLowerCase()}`)
  const breaking = newest.breaking > 0 ? `, ${newest.breaking} breaking` : ''
  const date = newest.date ? ` of ${newest.date}` : ''
  return `${newest.version}${date}: ${parts.join(', ') || 'no entries'}${breaking}; ${count} versions in all${waiting}.`
}
