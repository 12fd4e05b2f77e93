/** What the process ends with; scripts rely on it. */
export const Exit = { ok: 0, failed: 1, usage: 2, auth: 3, unreachable: 4, interrupted: 130 } as const
export type ExitCode = (typeof Exit)[keyof typeof Exit]

/** The end of a command: one line that says what is wrong and what to type next. */
export class Stop extends Error {
  readonly exit: ExitCode

  constructor(exit: ExitCode, message: string) {
    super(message)
    this.exit = exit
  }
}
