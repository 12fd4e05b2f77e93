/** Shows a session's events to whoever watches the first boot. */
export interface Progress {
  event(name: string, data: { pct?: number; step?: string; gate?: string; error?: string }): void
  end(): void
}

const WIDTH = 30

/** A bar that moves on a terminal, a line per event elsewhere (logs, CI) and where NO_COLOR or a dumb terminal says so. */
export function progressBar(out: { isTTY?: boolean; write(text: string): unknown }): Progress {
  let pct = 0
  const label = (name: string, data: { step?: string; gate?: string }) =>
    [name, data.step ?? data.gate].filter(Boolean).join(' ')
  if (!out.isTTY) {
    return {
      event(name, data) {
        pct = data.pct ?? pct
        out.write(`  ${String(pct).padStart(3)} %       ${label(name, data)}\n`)
      },
      end() {}
    }
  }
  return {
    event(name, data) {
      pct = name === 'session.completed' ? 100 : (data.pct ?? pct)
      const full = Math.round((pct / 100) * WIDTH)
      const bar = `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)}`
      out.write(`\r  ${bar} ${String(pct).padStart(3)} %  ${label(name, data).padEnd(32)}`)
    },
    end() {
      out.write('\n')
    }
  }
}
