/**
 * Score matching: objectives that need no samples and no normalising constant, with s(x) = -∇x E(x).
 * Exact, sliced, by finite differences, denoising at one noise level and at many. Each that draws noise comes twice: with a key, and
 * (`...With`) as a function of the noise itself. The energies must treat each example apart (no batch norm in train mode).
 */
import { shapeError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { perRow, rowSum } from '../ops/rows.ts'
import { compact } from './compact.ts'
import { alongDirection } from './curvature.ts'
import {
  batchOf,
  dimensionOf,
  type EnergyFunction,
  energiesOf,
  energyAndGradient,
  expectVector,
  type Noise,
  type NoisyEnergyFunction,
  oneOf,
  positive,
  positiveCount,
  repeatBatch,
  type Terms,
} from './terms.ts'

/** Distributions of a projection v, all with E[v vᵀ] = I: signs, standard normals, or uniform on the sphere of radius √d. */
export type Projection = 'rademacher' | 'gaussian' | 'sphere'
const PROJECTIONS: readonly Projection[] = ['rademacher', 'gaussian', 'sphere']

/**
 * Exact score matching: mean[ tr(∇x s) + ½‖s‖² ] (Hyvärinen 2005), by the second derivatives along the d axes: over the batch itself for few,
 * as one batch of d·n rows for many. For few dimensions: about 50 at most. Metrics: `trace` = mean tr(∇x s), `scoreNorm` = mean ½‖s‖²,
 * `energyData`. Cost: 6 + 3·d passes up to 8 dimensions, 9·d above.
 * @param x [n, ...shape]
 */
export function exactScoreMatching(energy: EnergyFunction, x: Tensor): Terms {
  const d = dimensionOf('exactScoreMatching', x)
  // The mean over v of vᵀHv with v = √d·e_1, ..., √d·e_d is the trace.
  const basis = ops.mul(ops.oneHot(ops.iota([d]), d), Math.sqrt(d))
  const directions = ops.broadcast(ops.reshape(basis, [d, 1, ...x.shape.slice(1)]), [d, ...x.shape])
  return slicedWith(energy, x, directions, { varianceReduced: true })
}

export interface SlicedOptions {
  /** Projections an example; default 1. */
  readonly projections?: number
  /** Default 'rademacher', which has the least variance. */
  readonly distribution?: Projection
  /** ½‖s‖² in place of ½(vᵀs)²: the same mean, less variance. Default true. */
  readonly varianceReduced?: boolean
}

/**
 * Sliced score matching: mean[ vᵀ(∇x s)v + ½‖s‖² ], or with ½(vᵀs)² (Song, Garg, Shi & Ermon 2019, arXiv 1905.07088). Its mean over v is
 * the exact objective. Metrics as {@link exactScoreMatching}. Cost: 9 passes with one projection, as that with more. Uses stream `noise.stream`.
 * @param x [n, ...shape]
 */
export function slicedScoreMatching(
  energy: EnergyFunction,
  x: Tensor,
  noise: Noise,
  options: SlicedOptions = {},
): Terms {
  const { projections = 1, distribution = 'rademacher', varianceReduced = true } = options
  const v = drawDirections('slicedScoreMatching', x, noise, projections, distribution)
  return slicedWith(energy, x, v, { varianceReduced })
}

/** Projections up to this many share one pass of energy and gradient; more are one larger batch. */
const sharedDirections = 8

/** {@link slicedScoreMatching} with given projections [p, n, ...shape]. First derivatives of the result only. */
export function slicedWith(
  energy: EnergyFunction,
  x: Tensor,
  directions: Tensor,
  { varianceReduced = true }: { readonly varianceReduced?: boolean } = {},
): Terms {
  const name = 'slicedScoreMatching'
  const count = expectDirections(name, x, directions)
  const apart = count <= sharedDirections ? count : 1
  // A node of its own: what depends on it is this objective's graph and nothing that parameters were computed from.
  const points = ops.add(repeatBatch(x, count / apart), 0)
  const { energy: e, gradient } = energyAndGradient(name, energy, points)
  const rows = ops.reshape(directions, [apart, points.size])
  const along = Array.from({ length: apart }, (_, k) =>
    alongDirection(e, points, ops.reshape(ops.slice(rows, [k, 0], [k + 1, points.size]), points.shape)),
  )
  const curvature = along.map((a) => a.curvature).reduce((a, b) => ops.add(a, b))
  const trace = ops.mul(curvature, -1 / (apart * batchOf(name, points)))
  const squares = varianceReduced ? [rowSum(ops.square(gradient))] : along.map((a) => ops.square(a.slope))
  const scoreNorm = ops.mul(
    squares.map((s) => ops.mean(s)).reduce((a, b) => ops.add(a, b)),
    0.5 / squares.length,
  )
  const results = { trace, scoreNorm, energyData: ops.mean(e) }
  const [loss, ...metrics] = compact([ops.add(trace, scoreNorm), ...Object.values(results)], [points])
  return {
    loss: loss as Tensor,
    metrics: Object.fromEntries(Object.keys(results).map((k, i) => [k, metrics[i] as Tensor])),
  }
}

export interface FiniteDifferenceOptions {
  /**
   * Root-mean-square length of the displacement h = ε·v/√d, in units of the data (its exact length for 'sphere' and 'rademacher').
   * Default 0.1. The error is O(ε²); in float32 rounding adds about 1e-7·d·|E|/ε², so much less than 0.01 is seldom wise.
   */
  readonly epsilon?: number
  /** Default 1. */
  readonly projections?: number
  /** Default 'rademacher'. */
  readonly distribution?: Projection
}

/**
 * Finite-difference sliced score matching (Pang, Xu, Li, Song, Ermon & Zhu 2020, arXiv 2007.03317, FD-SSM): with h = ε·v/√d,
 * mean (d/ε²)·[ 2E(x) - E(x+h) - E(x-h) + ⅛(E(x+h) - E(x-h))² ], which is mean[ vᵀ(∇x s)v + ½(vᵀs)² ] + O(ε²). Only energies are
 * evaluated: no second derivative, and any energy that can be trained at all will do.
 * Metrics: `trace`, `scoreNorm` (the two parts), `energyData`. Cost: 3 + 6 passes a projection. Uses stream `noise.stream`.
 * @param x [n, ...shape]
 */
export function finiteDifferenceScoreMatching(
  energy: EnergyFunction,
  x: Tensor,
  noise: Noise,
  options: FiniteDifferenceOptions = {},
): Terms {
  const { epsilon = 0.1, projections = 1, distribution = 'rademacher' } = options
  const v = drawDirections('finiteDifferenceScoreMatching', x, noise, projections, distribution)
  return finiteDifferenceWith(energy, x, v, { epsilon })
}

/** {@link finiteDifferenceScoreMatching} with given projections [p, n, ...shape]. */
export function finiteDifferenceWith(
  energy: EnergyFunction,
  x: Tensor,
  directions: Tensor,
  { epsilon = 0.1 }: { readonly epsilon?: number } = {},
): Terms {
  const name = 'finiteDifferenceScoreMatching'
  positive(name, 'epsilon', epsilon)
  const d = dimensionOf(name, x)
  const n = batchOf(name, x)
  const count = expectDirections(name, x, directions)
  const h = ops.mul(directions, epsilon / Math.sqrt(d))
  const flat = (t: Tensor): Tensor => ops.reshape(t, [count * n, ...x.shape.slice(1)])
  const all = energiesOf(name, energy, ops.concat([x, flat(ops.add(x, h)), flat(ops.sub(x, h))]))
  const centre = ops.slice(all, [0], [n])
  const part = (i: number): Tensor =>
    ops.reshape(ops.slice(all, [n + i * count * n], [n + (i + 1) * count * n]), [count, n])
  const [ahead, behind] = [part(0), part(1)]
  const scale = d / epsilon ** 2
  // (E - E₊) + (E - E₋): the nearby numbers are subtracted first.
  const bend = ops.add(ops.sub(centre, ahead), ops.sub(centre, behind))
  const trace = ops.mul(ops.mean(bend), scale)
  const scoreNorm = ops.mul(ops.mean(ops.square(ops.sub(ahead, behind))), scale / 8)
  return { loss: ops.add(trace, scoreNorm), metrics: { trace, scoreNorm, energyData: ops.mean(centre) } }
}

function drawDirections(objective: string, x: Tensor, noise: Noise, count: number, kind: Projection): Tensor {
  positiveCount(objective, 'projections', count)
  oneOf(objective, 'distribution', kind, PROJECTIONS)
  const d = dimensionOf(objective, x)
  const shape = [count, ...x.shape]
  if (kind === 'rademacher') {
    return ops.select(ops.lt(ops.uniform(noise.key, shape, noise.stream), 0.5), ops.full(shape, -1), ops.full(shape, 1))
  }
  const v = ops.normal(noise.key, shape, noise.stream)
  if (kind === 'gaussian') return v
  const axes = x.shape.slice(1).map((_, i) => i + 2)
  const length = axes.length === 0 ? ops.abs(v) : ops.norm(v, axes, { keepDims: true })
  return ops.mul(ops.div(v, length), Math.sqrt(d))
}

function expectDirections(objective: string, x: Tensor, directions: Tensor): number {
  const [count, ...rest] = directions.shape
  if (count === undefined || count === 0 || !sameShape(rest, x.shape)) {
    throw shapeError(
      objective,
      `directions must be [projections, ...] over x's shape ${showShape(x.shape)}; got ${showShape(directions.shape)}`,
    )
  }
  return count
}

/** Factor λ(σ) of denoising score matching: σ², for which every level weighs alike, or 1. */
export type Weighting = 'sigma2' | 'one'
const WEIGHTINGS: readonly Weighting[] = ['sigma2', 'one']

export interface DenoisingOptions {
  /** Standard deviation of the noise, in units of the data. */
  readonly sigma: number
  /** Noise in pairs ±ε: the same mean, and a variance that stays bounded as σ → 0. Twice the cost. Default true. */
  readonly antithetic?: boolean
  /** Default 'sigma2'. */
  readonly weighting?: Weighting
}

/**
 * Denoising score matching (Vincent 2011): mean ½λ‖ s(x + σε) + ε/σ ‖², written as λ·( ½‖s‖² + sᵀε/σ + d/(2σ²) ): the parameter-free
 * ‖ε‖²/(2σ²) is replaced by its mean, which takes its noise out of the loss and leaves the gradient as it is. Learns the data's density
 * blurred by N(0, σ²). As σ → 0 the bracket tends to exact score matching plus d/(2σ²), but sᵀε/σ has a variance of ‖s‖²/σ²;
 * with pairs ±ε it is ½(s(x+σε) - s(x-σε))ᵀε/σ, which is bounded.
 * Metrics: `scoreMatching` = mean[½‖s‖² + sᵀε/σ], comparable with the loss of {@link exactScoreMatching}; `scoreNorm` = mean ½‖s‖²;
 * `energyData` (of the noisy data). Cost: 6 passes, 12 with pairs. Uses stream `noise.stream`.
 * @param x [n, ...shape]
 */
export function denoisingScoreMatching(
  energy: EnergyFunction,
  x: Tensor,
  noise: Noise,
  options: DenoisingOptions,
): Terms {
  return denoisingWith(energy, x, ops.normal(noise.key, x.shape, noise.stream), options)
}

/** {@link denoisingScoreMatching} with given standard normal noise of x's shape. */
export function denoisingWith(energy: EnergyFunction, x: Tensor, epsilon: Tensor, options: DenoisingOptions): Terms {
  const { sigma, ...rest } = options
  positive('denoisingScoreMatching', 'sigma', sigma)
  const sigmas = ops.full([batchOf('denoisingScoreMatching', x)], sigma)
  return denoise('denoisingScoreMatching', (noisy) => energy(noisy), x, epsilon, sigmas, rest)
}

export interface MultiscaleOptions {
  /**
   * The noise levels, largest first (`sigmaLevels` makes a geometric ladder of them). For the choice of its ends and length see Song & Ermon 2020, arXiv
   * 2006.09011: the largest about the greatest distance between data, neighbouring levels overlapping.
   */
  readonly sigmas: readonly number[]
  /** Default true. */
  readonly antithetic?: boolean
  /** Default 'sigma2'. */
  readonly weighting?: Weighting
}

/**
 * Denoising at many noise levels with an energy that is told the level (NCSN, Song & Ermon 2019, arXiv 1907.05600): each example draws its
 * σ uniformly from the ladder; otherwise {@link denoisingScoreMatching}, as are metrics and cost. With weighting 'sigma2' the metric
 * `scoreMatching` is dominated by the smallest levels and noisy. Uses streams `noise.stream` (ε) and `noise.stream + 1` (levels).
 * @param x [n, ...shape]
 */
export function multiscaleDenoising(
  energy: NoisyEnergyFunction,
  x: Tensor,
  noise: Noise,
  options: MultiscaleOptions,
): Terms {
  const { sigmas } = options
  if (sigmas.length === 0) throw new RangeError('multiscaleDenoising: sigmas must name at least one noise level')
  for (const s of sigmas) positive('multiscaleDenoising', 'each of sigmas', s)
  const n = batchOf('multiscaleDenoising', x)
  const level = ops.randomInt(noise.key, [n], { bound: sigmas.length, stream: noise.stream + 1 })
  const sigma = ops.gather(ops.constant(sigmas, [sigmas.length]), level)
  return multiscaleWith(energy, x, ops.normal(noise.key, x.shape, noise.stream), sigma, options)
}

/** {@link multiscaleDenoising} with given standard normal noise of x's shape and given noise levels [n]. */
export function multiscaleWith(
  energy: NoisyEnergyFunction,
  x: Tensor,
  epsilon: Tensor,
  sigma: Tensor,
  options: { readonly antithetic?: boolean; readonly weighting?: Weighting } = {},
): Terms {
  expectVector('multiscaleDenoising', 'sigma', sigma, batchOf('multiscaleDenoising', x))
  return denoise('multiscaleDenoising', energy, x, epsilon, sigma, options)
}

function denoise(
  objective: string,
  energy: NoisyEnergyFunction,
  x: Tensor,
  epsilon: Tensor,
  sigma: Tensor,
  options: { readonly antithetic?: boolean; readonly weighting?: Weighting },
): Terms {
  const { antithetic = true, weighting = 'sigma2' } = options
  oneOf(objective, 'weighting', weighting, WEIGHTINGS)
  const d = dimensionOf(objective, x)
  if (!sameShape(epsilon.shape, x.shape)) {
    throw shapeError(objective, `the noise must have x's shape ${showShape(x.shape)}; got ${showShape(epsilon.shape)}`)
  }
  const eps = antithetic ? ops.concat([epsilon, ops.neg(epsilon)]) : epsilon
  const levels = antithetic ? ops.concat([sigma, sigma]) : sigma
  const noisy = ops.add(antithetic ? repeatBatch(x, 2) : x, ops.mul(perRow(levels, x), eps))
  const { energy: e, gradient } = energyAndGradient(objective, (points) => energy(points, levels), noisy)
  const half = ops.mul(rowSum(ops.square(gradient)), 0.5)
  const cross = ops.neg(rowSum(ops.mul(gradient, eps)))
  const metrics = {
    scoreMatching: ops.mean(ops.add(half, ops.div(cross, levels))),
    scoreNorm: ops.mean(half),
    energyData: ops.mean(e),
  }
  // λ = σ²: σ²·½‖s‖² + σ·sᵀε + d/2, with no division by a small σ.
  const loss =
    weighting === 'sigma2'
      ? ops.add(ops.mean(ops.mul(levels, ops.add(ops.mul(levels, half), cross))), d / 2)
      : ops.add(metrics.scoreMatching, ops.mul(ops.mean(ops.reciprocal(ops.square(sigma))), d / 2))
  return { loss, metrics }
}
