import { styleText } from 'node:util'

/** Where a command prints: stdout for what was asked for, so that it can be piped; stderr for what went wrong. */
export interface Screen {
  stdout: NodeJS.WriteStream
  json: boolean
}

/** One line of text of a server or a tenant: nothing in it may move the cursor, ring, or turn the writing around. */
export function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim()
}

export function line(screen: Screen, text = ''): void {
  screen.stdout.write(`${text}\n`)
}

export function json(screen: Screen, value: unknown): void {
  line(screen, JSON.stringify(value, null, screen.stdout.isTTY ? 2 : undefined))
}

type Colour = 'green' | 'red' | 'yellow' | 'dim' | 'bold'

/** Coloured on a terminal that has not asked for none (NO_COLOR). */
export function paint(screen: Screen, colour: Colour, text: string): string {
  return styleText(colour, text, { stream: screen.stdout })
}

/** Rows under headings, each column as wide as its widest cell; cells are made plain. */
export function table(screen: Screen, headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const cells = rows.map((row) => row.map(plain))
  const widths = headings.map((heading, i) => Math.max(heading.length, ...cells.map((row) => row[i]?.length ?? 0)))
  const text = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  line(screen, paint(screen, 'dim', text(headings)))
  for (const row of cells) line(screen, text(row))
}
