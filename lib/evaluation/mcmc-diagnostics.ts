/**
 * Whether chains have mixed: effective sample size and R-hat, rank-normalised, over split chains (Vehtari 2021; Geyer 1992). Works on
 * draws in JavaScript memory, in float64 on the calling thread; drawing them is the samplers' part.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import { autocovariance } from './autocovariance.ts'
import { checkFinite } from './checks.ts'
import { quantileOf, rankNormalizer } from './ranks.ts'

/** Chains of one quantity: equally long rows. */
type Series = readonly Float64Array[]

export interface EssOptions {
  /**
   * 'bulk' (default): of rank-normalised draws, how well the centre is known; 'tail': the least of the 5% and 95% quantiles';
   * 'mean': of the draws as they are, for the Monte Carlo error of their mean (needs a finite variance).
   */
  readonly kind?: 'bulk' | 'tail' | 'mean'
}

/**
 * Effective sample size of each dimension: float64 [d] for draws [chains, draws, ...] with at least 4 draws. Chains are split in halves;
 * correlations are summed by Geyer's initial monotone sequence. NaN for a dimension that never changes. Antithetic chains can exceed
 * chains · draws, up to a factor log10 of it.
 * @throws LangevinError E_SHAPE, E_DATA, E_CONFIG
 */
export function effectiveSampleSize(draws: HostTensor, options: EssOptions = {}): Float64Array {
  const { kind = 'bulk' } = options
  if (!essKinds.includes(kind)) {
    throw new LangevinError(
      'E_CONFIG',
      `effectiveSampleSize: kind '${String(kind)}' is not known.${suggestion(kind, essKinds)}`,
    )
  }
  const estimate = { mean: essOf, bulk: bulkEss, tail: tailEss }[kind]
  return perDimension('effectiveSampleSize', draws, (chains) => estimate(split(chains)))
}
const essKinds: readonly string[] = ['bulk', 'tail', 'mean']

/**
 * R-hat of each dimension, float64 [d] for draws [chains, draws, ...]: the greater of those of rank-normalised split chains (location)
 * and of their folded form (scale) (Vehtari 2021). 1 for chains that agree; below 1.01 is the published advice. NaN where nothing changes.
 * @throws LangevinError E_SHAPE, E_DATA
 */
export function splitRhat(draws: HostTensor): Float64Array {
  return perDimension('splitRhat', draws, (chains) => {
    const halves = split(chains)
    const middle = quantileOf(halves, 0.5)
    const folded = halves.map((c) => c.map((v) => Math.abs(v - middle)))
    const normalize = rankNormalizer(halves)
    return Math.max(rhatOf(normalize(halves)), rhatOf(normalize(folded)))
  })
}

/**
 * Autocorrelation at lags 0..maxLag of draws [chains, draws, ...], averaged over the chains: float64 [d, maxLag + 1], row-major.
 * Default maxLag: draws - 1. NaN where nothing changes.
 * @throws LangevinError E_SHAPE, E_DATA; RangeError
 */
export function autocorrelation(
  draws: HostTensor,
  options: { readonly maxLag?: number } = {},
): { readonly lags: number; readonly values: Float64Array } {
  const length = draws.shape[1] ?? 0
  const { maxLag = length - 1 } = options
  if (!Number.isInteger(maxLag) || maxLag < 0 || maxLag >= length)
    throw new RangeError(`autocorrelation: maxLag must be an integer in 0..${length - 1}; got ${maxLag}`)
  const lags = maxLag + 1
  const rows: number[] = []
  perDimension('autocorrelation', draws, (chains) => {
    const covariances = chains.map(autocovariance)
    const at = (t: number): number => covariances.reduce((s, c) => s + c[t]!, 0)
    for (let t = 0; t < lags; t++) rows.push(at(t) / at(0))
    return 0
  })
  return { lags, values: Float64Array.from(rows) }
}

/** What there is to say of one dimension. */
export interface DrawSummary {
  readonly mean: number
  readonly standardDeviation: number
  /** Monte Carlo standard error of `mean`: sd / √ess. */
  readonly standardError: number
  readonly essBulk: number
  readonly essTail: number
  readonly rhat: number
}

/** Mean, spread, effective sample sizes and R-hat of each dimension of draws [chains, draws, ...]. @throws LangevinError E_SHAPE, E_DATA */
export function summarizeDraws(draws: HostTensor): DrawSummary[] {
  const [essBulk, essTail, essMean] = (['bulk', 'tail', 'mean'] as const).map((kind) =>
    effectiveSampleSize(draws, { kind }),
  ) as [Float64Array, Float64Array, Float64Array]
  const rhat = splitRhat(draws)
  const out: DrawSummary[] = []
  perDimension('summarizeDraws', draws, (chains) => {
    const k = out.length
    const all = chains.flatMap((c) => [...c])
    const mean = meanOf(all)
    const standardDeviation = Math.sqrt(varianceOf(all))
    out.push({
      mean,
      standardDeviation,
      standardError: standardDeviation / Math.sqrt(essMean[k]!),
      essBulk: essBulk[k]!,
      essTail: essTail[k]!,
      rhat: rhat[k]!,
    })
    return 0
  })
  return out
}

/** A trajectory (one tensor [chains, ...shape] a draw, as `Chains.advance` records it) as draws [chains, draws, ...shape]. */
export function stackDraws(trajectory: readonly HostTensor[]): HostTensor {
  const first = trajectory[0]
  const chains = first?.shape[0] ?? 0
  if (first === undefined || chains === 0)
    throw new LangevinError('E_SHAPE', 'stackDraws: the trajectory must hold at least one tensor [chains, ...]')
  const length = trajectory.length
  const each = sizeOf(first.shape.slice(1))
  const out = new Float32Array(chains * length * each)
  trajectory.forEach((x, t) => {
    if (!sameShape(x.shape, first.shape)) {
      throw new LangevinError(
        'E_SHAPE',
        `stackDraws: every draw must have shape ${showShape(first.shape)}; draw ${t} has ${showShape(x.shape)}`,
      )
    }
    for (let c = 0; c < chains; c++) out.set(x.data.subarray(c * each, (c + 1) * each), (c * length + t) * each)
  })
  return hostTensor(out, [chains, length, ...first.shape.slice(1)])
}

function perDimension(what: string, draws: HostTensor, figure: (chains: Series) => number): Float64Array {
  const [chains = 0, length = 0] = draws.shape
  if (draws.shape.length < 2 || chains < 1 || length < 4 || draws.data.length === 0) {
    throw new LangevinError(
      'E_SHAPE',
      `${what}: draws must have shape [chains, draws, ...] with at least 4 draws; got ${showShape(draws.shape)}`,
      { shape: draws.shape },
    )
  }
  checkFinite(`${what}: draws`, draws.data)
  const d = sizeOf(draws.shape.slice(2))
  return Float64Array.from({ length: d }, (_, k) => {
    const column = (c: number) => Float64Array.from({ length }, (_, t) => draws.data[(c * length + t) * d + k]!)
    return figure(Array.from({ length: chains }, (_, c) => column(c)))
  })
}

/** Halves of each chain; the middle draw of an odd number is left out. */
function split(chains: Series): Series {
  const half = (chains[0]?.length ?? 0) >> 1
  return chains.flatMap((c) => [c.slice(0, half), c.slice(c.length - half)])
}

function bulkEss(chains: Series): number {
  return essOf(rankNormalizer(chains)(chains))
}

function tailEss(chains: Series): number {
  const below = (p: number): number => {
    const q = quantileOf(chains, p)
    return essOf(chains.map((c) => c.map((v) => (v <= q ? 1 : 0))))
  }
  return Math.min(below(0.05), below(0.95))
}

function meanOf(x: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]!
  return sum / x.length
}

/** Divisor n - 1; 0 for a single number. */
function varianceOf(x: ArrayLike<number>): number {
  if (x.length < 2) return 0
  const mean = meanOf(x)
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += (x[i]! - mean) ** 2
  return sum / (x.length - 1)
}

/** √(var⁺ / W), var⁺ = (n-1)/n W + B/n (Gelman & Rubin 1992). */
function rhatOf(chains: Series): number {
  const n = chains[0]?.length ?? 0
  const within = meanOf(chains.map(varianceOf))
  return Math.sqrt((n - 1) / n + varianceOf(chains.map(meanOf)) / within)
}

/**
 * m·n / τ with τ = -1 + 2 Σ ρ_t. ρ_t combines autocovariances within chains and the variance between them (Vehtari 2021, eq. 10);
 * pairs ρ_2k + ρ_2k+1 are kept while positive and made to fall (Geyer 1992).
 */
function essOf(chains: Series): number {
  const m = chains.length
  const n = chains[0]?.length ?? 0
  const covariances = chains.map(autocovariance)
  const mean = (t: number): number => meanOf(covariances.map((c) => c[t]!))
  const within = (mean(0) * n) / (n - 1)
  const total = mean(0) + varianceOf(chains.map(meanOf))
  // What rounding leaves of a constant is not a variance.
  const scale = Math.max(...chains.map((c) => Math.abs(c[0]!)))
  if (!(total > (1e-12 * scale) ** 2) || !(total > 0)) return Number.NaN
  const rho = (t: number): number => 1 - (within - mean(t)) / total
  const pairs: (readonly [number, number])[] = [[1, rho(1)]]
  let [even, odd] = pairs[0] as [number, number]
  let lag = 0
  while (lag < n - 5 && even + odd > 0) {
    lag += 2
    even = rho(lag)
    odd = rho(lag + 1)
    if (even + odd >= 0) pairs.push([even, odd])
  }
  // The pairs before `lag` count whole, of the last one the even part: none of it where that pair ended the sum and is negative.
  const last = even + odd >= 0 ? even : Math.max(0, even)
  const kept = pairs.slice(0, lag / 2)
  let sum = 0
  let bound = Number.POSITIVE_INFINITY
  for (const [a, b] of kept) {
    bound = Math.min(bound, a + b)
    sum += bound
  }
  const tau = Math.max(-1 + 2 * sum + last, 1 / Math.log10(m * n))
  return (m * n) / tau
}
