const round = (value) => (Number.isFinite(value) ? Number(value.toPrecision(12)) : 0)

/** Linear interpolation between closest ranks (R type 7, NumPy's default). @param {number[]} sorted */
export function quantile(sorted, share) {
  const place = (sorted.length - 1) * share
  const low = Math.floor(place)
  const high = Math.ceil(place)
  return round(sorted[low] + (sorted[high] - sorted[low]) * (place - low))
}

/** @param {number[]} numbers at least one */
export function describeNumbers(numbers) {
  const sorted = Float64Array.from(numbers).sort()
  // Welford's: the plain sum of squares loses all digits where the mean is large and the spread small.
  let mean = 0
  let squares = 0
  let n = 0
  for (const value of sorted) {
    n++
    const delta = value - mean
    mean += delta / n
    squares += delta * (value - mean)
  }
  return {
    min: sorted[0],
    max: sorted[sorted.length - 1],
    mean: round(mean),
    stddev: n > 1 ? round(Math.sqrt(squares / (n - 1))) : 0,
    quantiles: {
      p5: quantile(sorted, 0.05),
      p25: quantile(sorted, 0.25),
      p50: quantile(sorted, 0.5),
      p75: quantile(sorted, 0.75),
      p95: quantile(sorted, 0.95)
    }
  }
}

/** One line of text per bin, the fullest bar is 40 wide. @param {number[]} numbers at least one */
export function histogram(numbers, bins) {
  let min = numbers[0]
  let max = numbers[0]
  for (const value of numbers) {
    if (value < min) min = value
    if (value > max) max = value
  }
  if (min === max) return [`${min}  ${'#'.repeat(40)} ${numbers.length}`]
  const width = (max - min) / bins
  const counts = new Array(bins).fill(0)
  for (const value of numbers) counts[Math.min(bins - 1, Math.floor((value - min) / width))]++
  const most = counts.reduce((a, b) => Math.max(a, b), 1)
  const labels = counts.map((_, i) => `${Number((min + i * width).toPrecision(4))}`)
  const pad = labels.reduce((a, b) => Math.max(a, b.length), 0)
  return counts.map((count, i) => {
    const bar = count === 0 ? '' : `${'#'.repeat(Math.max(1, Math.round((count / most) * 40)))} `
    return `${labels[i].padStart(pad)}  ${bar}${count}`
  })
}

/** The most frequent values, ties in order of the text. @param {string[]} values */
export function topValues(values, limit) {
  const counts = new Map()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  const top = [...counts]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, limit)
    .map(([value, count]) => ({ value: value.slice(0, 200), count }))
  return { top, distinct: counts.size }
}
