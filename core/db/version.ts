// Which servers keep what we rely on.
const oldest = 150000
/** First minor release of each major without CVE-2025-8713: planner statistics leak rows that row level security hides. */
const patched: Readonly<Record<number, number>> = { 15: 14, 16: 10, 17: 6 }

export interface Version {
  /** '17.4' */
  name: string
  /** What to update to, where it must be. */
  needs?: string
  why?: string
}

/** @param number server_version_num: 170004 */
export function judgeVersion(number: number): Version {
  const [major, minor] = [Math.floor(number / 10_000), number % 10_000]
  const name = `${major}.${minor}`
  if (number < oldest) return { name, needs: '15.14', why: 'it is too old' }
  const needed = patched[major]
  if (needed === undefined || minor >= needed) return { name }
  return { name, needs: `${major}.${needed}`, why: 'CVE-2025-8713: it leaks rows that row level security hides' }
}
