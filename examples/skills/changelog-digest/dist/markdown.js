/** Plain text of one line of Markdown: links keep their text, emphasis and code marks go. */
export function plainText(markdown) {
  return markdown
    .replace(/!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])/g, '$1')
    .replace(/(\*\*|__|~~)([^*_~]+)\1/g, '$2')
    .replace(/`([^`]*)`/g, '$1')
    .replace(/\s+/g, ' ')
    .trim()
}

const VERSION = /^##\s+\[?([^\]\s]+)\]?(?:\(http[^)]*\))?\s*(?:[-–—]\s*)?\(?(\d{4}-\d{2}-\d{2})?\)?\s*(\[YANKED\])?/i

/**
 * Reads the headings and list entries of a changelog; code blocks are skipped, a wrapped entry is one entry.
 * @param {string} markdown
 * @returns {{ title: string, releases: { version: string, date: string | null, yanked: boolean, sections: Map<string, string[]> }[] }}
 */
export function readChangelog(markdown) {
  const releases = []
  let title = ''
  let section = null
  let fenced = false
  let entries = null
  for (const line of markdown.split(/\r?\n/)) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced
    if (fenced) continue
    if (/^#\s/.test(line) && title === '') title = plainText(line.slice(1))
    else if (/^##\s/.test(line)) {
      const [, version = '', date = null, yanked] = VERSION.exec(line) ?? []
      releases.push({ version, date, yanked: yanked !== undefined, sections: new Map() })
      section = 'Other'
      entries = null
    } else if (/^###\s/.test(line) && releases.length > 0) {
      section = plainText(line.slice(3)) || 'Other'
      entries = null
    } else if (/^[-*+]\s/.test(line) && releases.length > 0) {
      const { sections } = releases[releases.length - 1]
      entries = sections.get(section) ?? []
      sections.set(section, entries)
      entries.push(line.slice(2).trim())
    } else if (/^\s+\S/.test(line) && entries && !/^\s+[-*+]\s/.test(line)) {
      entries[entries.length - 1] += ` ${line.trim()}`
    } else if (line.trim() === '') continue
    else entries = null
  }
  return { title, releases }
}
