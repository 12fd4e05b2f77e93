import { z } from 'zod'

const MAX_CHARS = 512
const MAX_SEGMENT_BYTES = 255
/** Postgres indexes it. */
const MAX_FOLDED_BYTES = 2048
/** Of Windows, with any ending: `con.txt` opens the console. */
const DEVICES = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])\s*(\.|$)/i

/**
 * What is wrong with the path of a file in a workspace; null for nothing. It never reaches a file system of ours: the rules
 * are those of the systems that it may be downloaded to, and none of them takes it for a path outside of a folder.
 */
export function wrongWithPath(path: string): string | null {
  if (path === '') return 'is empty'
  if (path.length > MAX_CHARS) return `has ${path.length} characters, ${MAX_CHARS} at most`
  if (!path.isWellFormed()) return 'contains a lone surrogate'
  if (path !== path.normalize('NFC')) return "is not in Unicode's normal form NFC: use path.normalize()"
  const wrong = wrongAsWritten(path)
  if (wrong) return wrong
  // What systems read that fold compatible characters and skip invisible ones: '．．' is '..' there, '／' is '/'.
  const seen = seenAs(path)
  if (seen !== path && (count(seen, '/') !== count(path, '/') || wrongAsWritten(seen))) {
    return `is read as ${JSON.stringify(seen)} by some systems, which is no allowed path`
  }
  return Buffer.byteLength(foldPath(path)) > MAX_FOLDED_BYTES ? 'is too long' : null
}

function wrongAsWritten(path: string): string | null {
  if (/\p{Cc}/u.test(path)) return 'contains a control character'
  if (/\p{Bidi_Control}/u.test(path)) return 'contains a mark that turns the direction of text'
  const [odd] = /[\\:*?"<>|]/.exec(path) ?? []
  if (odd !== undefined) return `contains ${odd}, which some systems do not take in a name`
  if (path.startsWith('/')) return 'begins with /: paths start in the workspace'
  for (const segment of path.split('/')) {
    if (segment === '') return 'has an empty segment'
    if (segment === '.' || segment === '..') return `has the segment ${segment}`
    if (/[. ]$/.test(segment)) return 'has a segment that ends with a dot or a space'
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES) return `has a segment of more than ${MAX_SEGMENT_BYTES} bytes`
    if (DEVICES.test(segment)) return `has the segment ${segment}, a device on some systems`
  }
  return null
}

/** Equal for two paths that are one file on some system: without case, width, ligatures and what nobody sees. */
export function foldPath(path: string): string {
  return seenAs(path).toUpperCase().normalize('NFKC')
}

/** Folders above a folded path, outermost first. */
export function foldersOf(folded: string): string[] {
  const segments = folded.split('/')
  return segments.slice(1).map((_segment, i) => segments.slice(0, i + 1).join('/'))
}

function seenAs(path: string): string {
  return path.normalize('NFKC').replace(/\p{Default_Ignorable_Code_Point}/gu, '')
}

function count(text: string, what: string): number {
  return text.split(what).length - 1
}

export const FilePath = z.string().superRefine((path, ctx) => {
  const wrong = wrongWithPath(path)
  if (wrong) ctx.addIssue({ code: 'custom', message: wrong })
})

/** The beginning of paths, `reports/`. */
export const PathPrefix = z
  .string()
  .max(MAX_CHARS)
  .refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), 'contains what no path has')
