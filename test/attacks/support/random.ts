/** Numbers of a seed in [0, 1): mulberry32. The same seed picks the same attacks. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** The seed of this run: `--seed=N` (tap: `--test-arg=--seed=N`), else a new one. */
export function seedOfRun(): number {
  const given = process.argv.find((arg) => arg.startsWith('--seed='))?.slice('--seed='.length)
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given)
}

export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item)
}
