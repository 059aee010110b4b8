/** Ranks, quantiles and normal scores of pooled chains: what rank-normalised diagnostics need (Vehtari 2021). */
import { erfReference } from '../ops/ref.ts'

type Series = readonly Float64Array[]

/** All numbers, ascending. */
function pooled(chains: Series): Float64Array {
  const out = new Float64Array(chains.reduce((n, c) => n + c.length, 0))
  let at = 0
  for (const c of chains) {
    out.set(c, at)
    at += c.length
  }
  return out.sort()
}

/** Quantile p of all numbers, linear between order statistics (R's type 7, numpy's default). */
export function quantileOf(chains: Series, p: number): number {
  const sorted = pooled(chains)
  const at = p * (sorted.length - 1)
  const low = Math.floor(at)
  const [a, b] = [sorted[low]!, sorted[Math.min(low + 1, sorted.length - 1)]!]
  return a + (at - low) * (b - a)
}

/**
 * Replaces each number by the normal score of its rank among all chains, Φ⁻¹((r - 3/8) / (S + 1/4)) (Blom 1958), ties sharing their mean
 * rank. The function serves any chains of the same total length; the scores are computed once.
 */
export function rankNormalizer(chains: Series): (chains: Series) => Series {
  const total = chains.reduce((n, c) => n + c.length, 0)
  // Mean ranks are halves of integers.
  const scores = new Float64Array(2 * total + 1).fill(Number.NaN)
  const score = (twice: number): number => {
    if (Number.isNaN(scores[twice]!)) scores[twice] = normalQuantile((twice / 2 - 0.375) / (total + 0.25))
    return scores[twice]!
  }
  return (values) => {
    const sorted = pooled(values)
    return values.map((c) => c.map((v) => score(firstAbove(sorted, v, false) + 1 + firstAbove(sorted, v, true))))
  }
}

/** How many entries of an ascending array are below v, or, `inclusive`, at most v. */
function firstAbove(sorted: Float64Array, v: number, inclusive: boolean): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    const below = inclusive ? sorted[middle]! <= v : sorted[middle]! < v
    if (below) low = middle + 1
    else high = middle
  }
  return low
}

/** Φ⁻¹(p) for 0 < p < 1, to about 1e-12: a rational start (Abramowitz & Stegun 26.2.23, 4.5e-4), then Newton's steps on Φ. */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) return p === 0 ? Number.NEGATIVE_INFINITY : p === 1 ? Number.POSITIVE_INFINITY : Number.NaN
  const tail = Math.min(p, 1 - p)
  const t = Math.sqrt(-2 * Math.log(tail))
  const top = 2.515517 + t * (0.802853 + t * 0.010328)
  const bottom = 1 + t * (1.432788 + t * (0.189269 + t * 0.001308))
  let z = -(t - top / bottom)
  for (let i = 0; i < 3; i++) {
    const cumulative = 0.5 * (1 + erfReference(z / Math.SQRT2))
    z -= (cumulative - tail) * Math.sqrt(2 * Math.PI) * Math.exp(0.5 * z * z)
  }
  return p < 0.5 ? z : -z
}
