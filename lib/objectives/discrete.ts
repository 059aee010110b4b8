/**
 * Objectives for energies of discrete data, binary or one-hot: both compare an example with its neighbours, which differ from it at one
 * site, so neither needs samples or the normalising constant. All sites or a random subset of them.
 */
import { LangevinError, shapeError } from '../graph/errors.ts'
import { type Shape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { batchOf, type EnergyFunction, energiesOf, type Noise, oneOf, positiveCount, type Terms } from './terms.ts'

/** 'binary': every element is a site of 0 or 1. 'oneHot': the last axis holds the k values of a site, one of them 1. */
export type DiscreteKind = 'binary' | 'oneHot'

export interface DiscreteOptions {
  /** Default: 'oneHot' for x of rank 3, else 'binary'. */
  readonly kind?: DiscreteKind
  /** 'all', or how many random sites an example (distinct; the loss is scaled so that its mean is that of all). Default 'all'. */
  readonly sites?: 'all' | number
  /** Needed for random sites; one stream. */
  readonly noise?: Noise
}

/**
 * Pseudo-likelihood: mean -Σ_i log p(x_i | x_-i) (Besag 1975), nats an example. For one-hot x the sum over a site's k values is exact.
 * Metrics: `conditional` = mean log p(x_i | x_-i) a site, `accuracy` = share of sites whose value is the likeliest, `energyData`.
 * Cost: 3·(1 + m·(k-1)) passes, m the sites (d for all), k = 2 for binary; run as one batch, so memory grows alike.
 * @param x binary [n, d] (any rank) of 0 and 1, or one-hot [n, d, k]; see {@link DiscreteOptions.kind}
 */
export function pseudoLikelihood(energy: EnergyFunction, x: Tensor, options: DiscreteOptions = {}): Terms {
  const drawn = drawSites('pseudoLikelihood', x, options)
  return pseudoLikelihoodWith(energy, x, drawn, options)
}

/** {@link pseudoLikelihood} at given sites: int32 [m, n], or undefined for all. */
export function pseudoLikelihoodWith(
  energy: EnergyFunction,
  x: Tensor,
  sites: Tensor | undefined,
  options: { readonly kind?: DiscreteKind } = {},
): Terms {
  const { rise, scale, energyData } = neighbours('pseudoLikelihood', energy, x, sites, options.kind)
  // -log p(x_i | x_-i) = log(1 + Σ_c exp(E(x) - E(x with x_i = c))), over the other values c
  const zero = ops.zeros([1, ...rise.shape.slice(1)])
  const negative = ops.logsumexp(ops.concat([zero, ops.neg(rise)]), 0)
  const conditional = ops.neg(ops.mean(negative))
  const accuracy = ops.mean(ops.cast(ops.gt(ops.min(rise, 0), 0), 'float32'))
  return { loss: ops.mul(conditional, -scale), metrics: { conditional, accuracy, energyData } }
}

/**
 * Ratio matching: mean Σ_i Σ_c g²( p(x)/p(x with x_i = c) ), c over the other values, g(u) = 1/(1+u) (Hyvärinen 2007 for binary x; Lyu 2009
 * for more values). Bounded for each example, so outliers weigh little. Metrics: `ratio` = mean Σ_c g² a site, `accuracy` as
 * {@link pseudoLikelihood}, `energyData`. Cost and x as there.
 */
export function ratioMatching(energy: EnergyFunction, x: Tensor, options: DiscreteOptions = {}): Terms {
  const drawn = drawSites('ratioMatching', x, options)
  return ratioMatchingWith(energy, x, drawn, options)
}

/** {@link ratioMatching} at given sites: int32 [m, n], or undefined for all. */
export function ratioMatchingWith(
  energy: EnergyFunction,
  x: Tensor,
  sites: Tensor | undefined,
  options: { readonly kind?: DiscreteKind } = {},
): Terms {
  const { rise, scale, energyData } = neighbours('ratioMatching', energy, x, sites, options.kind)
  // g(p(x)/p(x')) = 1/(1 + exp(E(x') - E(x)))
  const ratio = ops.mean(ops.sum(ops.square(ops.sigmoid(ops.neg(rise))), 0))
  const accuracy = ops.mean(ops.cast(ops.gt(ops.min(rise, 0), 0), 'float32'))
  return { loss: ops.mul(ratio, scale), metrics: { ratio, accuracy, energyData } }
}

interface Layout {
  /** Axes of x after the batch that number the sites; one-hot x has the values' axis besides. */
  readonly siteShape: Shape
  /** Sites of an example. */
  readonly count: number
  readonly kind: DiscreteKind
}

function layoutOf(objective: string, x: Tensor, kind: DiscreteKind | undefined): Layout {
  batchOf(objective, x)
  const chosen = oneOf(objective, 'kind', kind ?? (x.rank === 3 ? 'oneHot' : 'binary'), ['binary', 'oneHot'] as const)
  const siteShape = chosen === 'binary' ? x.shape.slice(1) : x.shape.slice(1, -1)
  const count = sizeOf(siteShape)
  const values = x.shape[x.rank - 1] as number
  if (count === 0 || (chosen === 'oneHot' && (x.rank < 3 || values < 2))) {
    throw shapeError(
      objective,
      chosen === 'binary'
        ? `binary x must be [n, ...] with sites; got ${showShape(x.shape)}`
        : `one-hot x must be [n, ..., k] with k ≥ 2 values; got ${showShape(x.shape)}`,
      { shape: x.shape },
    )
  }
  return { siteShape, count, kind: chosen }
}

/**
 * Random sites, int32 [m, n]: one random start an example, and m sites at even distances from it. All distinct, and each site as likely as
 * any other, so the scaled sum is unbiased.
 */
function drawSites(objective: string, x: Tensor, options: DiscreteOptions): Tensor | undefined {
  const { sites = 'all', noise } = options
  const { count } = layoutOf(objective, x, options.kind)
  if (sites === 'all') return undefined
  positiveCount(objective, 'sites', sites)
  if (sites > count)
    throw new RangeError(`${objective}: sites must not exceed the ${count} of an example; got ${sites}`)
  if (noise === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `${objective}: random sites need a source of noise: give \`noise: { key, stream }\``,
    )
  }
  const start = ops.randomInt(noise.key, [1, x.shape[0] as number], { bound: count, stream: noise.stream })
  const apart = Int32Array.from({ length: sites }, (_, j) => Math.floor((j * count) / sites))
  return ops.rem(ops.add(start, ops.constant(apart, [sites, 1])), count)
}

interface Neighbours {
  /** E(x') - E(x) for every neighbour x': [values - 1, m, n]. */
  readonly rise: Tensor
  /** What a mean over sites is multiplied by to give the sum over all: the number of sites. */
  readonly scale: number
  readonly energyData: Tensor
}

function neighbours(
  objective: string,
  energy: EnergyFunction,
  x: Tensor,
  sites: Tensor | undefined,
  kind: DiscreteKind | undefined,
): Neighbours {
  const layout = layoutOf(objective, x, kind)
  const n = x.shape[0] as number
  const mask = siteMask(objective, layout, n, sites)
  const m = mask.shape[0] as number
  const others = alternatives(x, layout.kind)
  const changed = others.map((other) => ops.reshape(ops.select(mask, other, x), [m * n, ...x.shape.slice(1)]))
  const all = energiesOf(objective, energy, ops.concat([x, ...changed]))
  const own = ops.slice(all, [0], [n])
  const theirs = ops.reshape(ops.slice(all, [n], [all.size]), [others.length, m, n])
  return { rise: ops.sub(theirs, own), scale: layout.count, energyData: ops.mean(own) }
}

/** True at one site of each row: bool [m, n or 1, ...sites(, 1)], to broadcast against x. */
function siteMask(objective: string, layout: Layout, n: number, sites: Tensor | undefined): Tensor {
  const { siteShape, count, kind } = layout
  if (sites !== undefined && (sites.rank !== 2 || sites.shape[1] !== n || sites.dtype !== 'int32')) {
    throw shapeError(objective, `sites must be int32[m, ${n}]; got ${sites.dtype}${showShape(sites.shape)}`)
  }
  const picked = sites ?? ops.iota([count, 1])
  const mask = ops.eq(ops.unsqueeze(picked, 2), ops.iota([count]))
  return ops.reshape(mask, [...picked.shape, ...siteShape, ...(kind === 'oneHot' ? [1] : [])])
}

/** x with every site at its second, third, ... value: 1 - x, or the one-hot rows rotated by 1 to k-1. */
function alternatives(x: Tensor, kind: DiscreteKind): Tensor[] {
  if (kind === 'binary') return [ops.sub(1, x)]
  const k = x.shape[x.rank - 1] as number
  return Array.from({ length: k - 1 }, (_, r) =>
    ops.concat([ops.sliceAxis(x, -1, k - 1 - r, k), ops.sliceAxis(x, -1, 0, k - 1 - r)], -1),
  )
}
