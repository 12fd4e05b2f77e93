/**
 * Named places where a crash would hurt most; test/chaos kills the process at each. Add a name here, call it there.
 * - admitted: after the commit that admitted a session
 * - claimed: after the commit of a claim, before anything was run
 * - before-effect / effect-done: around an effect, before its outcome is committed
 * - before-commit / after-commit: around the commit of an outcome
 * - relay-sequenced: after events got their seq, before anybody was told
 */
export const CRASH_POINTS = [
  'admitted',
  'claimed',
  'before-effect',
  'effect-done',
  'before-commit',
  'after-commit',
  'relay-sequenced'
] as const

export type CrashPoint = (typeof CRASH_POINTS)[number]

let armed: { point: CrashPoint; after: number } | null = null

/** Arms one crash point: the process kills itself at the `after`-th time it is reached. Only tests arm it. */
export function armCrashPoint(point: CrashPoint, after: number): void {
  armed = { point, after }
}

/** Dies here, without any farewell, when armed. */
export function crashPoint(point: CrashPoint): void {
  if (armed?.point !== point) return
  armed.after -= 1
  if (armed.after <= 0) process.kill(process.pid, 'SIGKILL')
}
