/** Shows a session's events to whoever watches the first boot. */
export interface Progress {
  event(name: string, data: { pct?: number; step?: string; gate?: string }): void
  end(): void
}

const WIDTH = 30
/** Everything on the bar's line but the label: margins, bar, percentage. */
const BESIDE_LABEL = WIDTH + 11

/** A bar that moves on a terminal, a line per event elsewhere (pipes, logs, CI). */
export function progressBar(out: { isTTY?: boolean; columns?: number; write(text: string): unknown }): Progress {
  let pct = 0
  const advance = (name: string, data: { pct?: number }) => {
    pct = name === 'session.completed' ? 100 : Math.max(pct, data.pct ?? 0)
    return `${String(pct).padStart(3)} %`
  }
  const label = (name: string, data: { step?: string; gate?: string }) =>
    [name, data.step ?? data.gate].filter(Boolean).join(' ')
  if (!out.isTTY) {
    return {
      event(name, data) {
        out.write(`  ${advance(name, data).padEnd(11)} ${label(name, data)}\n`)
      },
      end() {}
    }
  }
  return {
    event(name, data) {
      const shown = advance(name, data)
      const full = Math.round((pct / 100) * WIDTH)
      const bar = `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)}`
      // A line that wraps could not be drawn over (some pseudo-terminals say they are 0 wide); \x1b[K clears the rest.
      const text = label(name, data).slice(0, Math.max(0, (out.columns || 80) - BESIDE_LABEL))
      out.write(`\r  ${bar} ${shown}  ${text}\x1b[K`)
    },
    end() {
      out.write('\n')
    }
  }
}
