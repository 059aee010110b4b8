/**
 * What importance weights say, from their logarithms in float64: mean, its standard error, effective sample size, and Bennett's
 * combination of weights from both directions. No sampling here.
 */
import { LangevinError } from '../graph/errors.ts'

/** log(mean(exp(w))) without overflow; -Infinity if every entry is. */
export function logMeanExp(logWeights: ArrayLike<number>): number {
  return logSumExp(logWeights) - Math.log(logWeights.length)
}

/** log(sum(exp(w))) without overflow. */
export function logSumExp(values: ArrayLike<number>): number {
  let top = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length; i++) top = Math.max(top, values[i]!)
  if (!Number.isFinite(top)) return top
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - top)
  return top + Math.log(sum)
}

/** The logarithm of a mean of weights, and how well it is known. */
export interface LogMean {
  /** log of the mean weight, nats. */
  readonly value: number
  /** Of `value`, by the delta method: sd(w) / (mean(w)·√n). */
  readonly standardError: number
  /** (Σw)² / Σw²: as many equal weights would be as good (Kong 1992). Between 1 and n. */
  readonly effectiveSampleSize: number
}

/**
 * Summary of n >= 2 log weights.
 * @throws LangevinError E_DIVERGED if a weight is NaN or infinite, or all are zero
 */
export function summarizeLogWeights(what: string, logWeights: Float64Array): LogMean {
  const n = logWeights.length
  const bad = logWeights.filter((w) => Number.isNaN(w) || w === Number.POSITIVE_INFINITY).length
  const zero = logWeights.filter((w) => w === Number.NEGATIVE_INFINITY).length
  if (bad > 0 || zero === n) {
    throw new LangevinError(
      'E_DIVERGED',
      `${what}: of ${n} log weights ${bad} are NaN or +infinite and ${zero} are -infinite, so there is no estimate. ` +
        'The energy is not finite where the base puts its mass, or the energy has no finite integral: look at energies of base samples, or choose a base within the data range',
      { count: n, bad, zero },
    )
  }
  const value = logMeanExp(logWeights)
  let squares = 0
  let deviation = 0
  for (const w of logWeights) {
    const ratio = Math.exp(w - value)
    squares += ratio * ratio
    deviation += (ratio - 1) ** 2
  }
  return {
    value,
    standardError: Math.sqrt(deviation / (n - 1) / n),
    effectiveSampleSize: (n * n) / squares,
  }
}

/**
 * Bennett's acceptance ratio (Bennett 1976; Shirts 2003): the least-variance log Z from forward log weights w (of draws of the forward
 * process) and the log weights v that paths of the reverse process have when they are read forwards (v = -log of a reverse weight).
 * Where the two do not overlap at all, it is the middle between the bounds that each of them gives, and the standard error half their distance.
 * Solves Σ_w 1/(1 + (n_w/n_v)·exp(c - w)) = Σ_v 1/(1 + (n_v/n_w)·exp(v - c)) for c = log Z; the left side falls in c, the right side rises.
 */
export function bennettLogZ(
  forward: Float64Array,
  reverse: Float64Array,
): { readonly value: number; readonly standardError: number } {
  const ratio = Math.log(forward.length / reverse.length)
  const left = (c: number): Float64Array => forward.map((w) => 1 / (1 + Math.exp(ratio + c - w)))
  const right = (c: number): Float64Array => reverse.map((v) => 1 / (1 + Math.exp(v - c - ratio)))
  const total = (x: Float64Array): number => x.reduce((s, v) => s + v, 0)
  const all = [...forward, ...reverse].filter(Number.isFinite)
  let low = all.reduce((m, v) => Math.min(m, v), Infinity) - 50
  let high = all.reduce((m, v) => Math.max(m, v), -Infinity) + 50
  for (let i = 0; i < 200 && high - low > 1e-12 * Math.max(1, Math.abs(low)); i++) {
    const middle = (low + high) / 2
    if (total(left(middle)) > total(right(middle))) low = middle
    else high = middle
  }
  const value = (low + high) / 2
  const variance = relativeVariance(left(value)) + relativeVariance(right(value))
  if (Number.isFinite(variance)) return { value, standardError: Math.sqrt(variance) }
  // Nothing overlaps, to the last digit: all that is known are the two bounds.
  const [one, other] = [logMeanExp(forward), -logMeanExp(reverse.map((v) => -v))]
  return { value: (one + other) / 2, standardError: Math.abs(one - other) / 2 }
}

/** (⟨f²⟩/⟨f⟩² - 1) / n. */
function relativeVariance(f: Float64Array): number {
  const n = f.length
  const mean = f.reduce((s, v) => s + v, 0) / n
  const square = f.reduce((s, v) => s + v * v, 0) / n
  return Math.max(0, square / (mean * mean) - 1) / n
}
