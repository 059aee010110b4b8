/** Histograms of several sets over common bins, so that they can be laid over each other. Data only; the drawing is in the report. */
import { checkCount, checkFinite, type Numbers } from './checks.ts'

/** Counts over equal bins of [low, high]; what lies outside is counted in `below` and `above`. */
export interface Histogram {
  readonly low: number
  readonly high: number
  /** Bin i holds low + i·w <= v < low + (i+1)·w, the last one also v = high. */
  readonly counts: readonly number[]
  readonly below: number
  readonly above: number
  readonly count: number
  readonly mean: number
  readonly deviation: number
  readonly min: number
  readonly median: number
  readonly max: number
}

/**
 * Histograms of each set over one range: from the least 0.5% quantile of a set to the greatest 99.5% quantile, so that a few outliers do
 * not flatten the rest. `bins` defaults to 64. Throws LangevinError E_DATA (not finite), E_SHAPE (an empty set).
 */
export function histograms(sets: ReadonlyMap<string, Numbers>, bins = 64): Record<string, Histogram> {
  checkCount('bins', bins, 1)
  const sorted = new Map<string, Float64Array>()
  let low = Infinity
  let high = -Infinity
  for (const [name, values] of sets) {
    checkFinite(`values of '${name}'`, values)
    const s = Float64Array.from(values).sort()
    sorted.set(name, s)
    low = Math.min(low, quantile(s, 0.005))
    high = Math.max(high, quantile(s, 0.995))
  }
  if (!(high > low)) {
    // All equal: a bin's width is then free; one unit in the last places of the value or 1, whichever is larger.
    const half = Math.max(0.5, Math.abs(low) * 1e-6)
    low -= half
    high += half
  }
  return Object.fromEntries([...sorted].map(([name, s]) => [name, histogramOf(s, low, high, bins)]))
}

/** The q-quantile of sorted values, linear between order statistics (the usual definition, R's type 7). */
export function quantile(sorted: Numbers, q: number): number {
  if (sorted.length === 0) throw new RangeError('a quantile needs at least one value; got none')
  if (!(q >= 0 && q <= 1)) throw new RangeError(`a quantile's q must lie in [0, 1]; got ${q}`)
  const at = q * (sorted.length - 1)
  const i = Math.floor(at)
  const a = sorted[i] as number
  const b = sorted[Math.min(sorted.length - 1, i + 1)] as number
  return a + (at - i) * (b - a)
}

function histogramOf(sorted: Float64Array, low: number, high: number, bins: number): Histogram {
  const counts = new Array<number>(bins).fill(0)
  let below = 0
  let above = 0
  let sum = 0
  for (const v of sorted) {
    sum += v
    if (v < low) below++
    else if (v > high) above++
    else counts[Math.min(bins - 1, Math.floor(((v - low) / (high - low)) * bins))]!++
  }
  const mean = sum / sorted.length
  const variance = sorted.reduce((s, v) => s + (v - mean) ** 2, 0) / sorted.length
  return {
    low,
    high,
    counts,
    below,
    above,
    count: sorted.length,
    mean,
    deviation: Math.sqrt(variance),
    min: sorted[0] as number,
    median: quantile(sorted, 0.5),
    max: sorted[sorted.length - 1] as number,
  }
}
