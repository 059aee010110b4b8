/**
 * Contrastive divergence as a loss, and the term that improved contrastive divergence adds. Chains, their starts and their buffer are the
 * sampler's and the trainer's part; here they are tensors.
 */
import { shapeError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import {
  batchOf,
  dimensionOf,
  type EnergyFunction,
  expectVector,
  notNegative,
  type Terms,
  throughPoints,
} from './terms.ts'

/**
 * Contrastive divergence: mean E(x⁺) - mean E(x⁻) + α·(mean E(x⁺)² + mean E(x⁻)²) (Hinton 2002; the penalty of Du & Mordatch 2019,
 * arXiv 1903.08689, whose α is 1). Its gradient estimates that of -mean log p when x⁻ are samples of the model. The loss hovers about zero
 * and says nothing of progress: watch `energyGap`. Metrics: `energyData`, `energyNegatives`, `energyGap` = energyNegatives - energyData.
 * Cost: 6 passes, besides the chains.
 * @param options energies [n] of data and [m] of negatives; energyPenalty α ≥ 0, default 0
 */
export function contrastiveDivergence(options: {
  readonly energyData: Tensor
  readonly energyNegatives: Tensor
  readonly energyPenalty?: number
}): Terms {
  const name = 'contrastiveDivergence'
  const { energyPenalty = 0 } = options
  notNegative(name, 'energyPenalty', energyPenalty)
  const plus = expectVector(name, 'energyData', options.energyData, batchOf(name, options.energyData))
  const minus = expectVector(name, 'energyNegatives', options.energyNegatives, batchOf(name, options.energyNegatives))
  const [energyData, energyNegatives] = [ops.mean(plus), ops.mean(minus)]
  const energyGap = ops.sub(energyNegatives, energyData)
  const penalty = () => ops.mul(squaredEnergies(plus, minus), energyPenalty)
  const loss = energyPenalty === 0 ? ops.neg(energyGap) : ops.sub(penalty(), energyGap)
  return { loss, metrics: { energyData, energyNegatives, energyGap } }
}

/** mean E(x⁺)² + mean E(x⁻)². */
export function squaredEnergies(plus: Tensor, minus: Tensor): Tensor {
  return ops.add(ops.mean(ops.square(plus)), ops.mean(ops.square(minus)))
}

export interface KlTermOptions {
  /** The energy, with its trained parameters; no gradient reaches them from here but through the chain. */
  readonly energy: EnergyFunction
  /**
   * Ends of the chains, [n, ...shape], as a graph of the parameters: start from the chain's state a step or a few before its end (an
   * input, without gradient) and apply the sampler's step as a graph that often.
   */
  readonly chain: Tensor
  /** Points [m, ...shape] (other chains, rows of the replay buffer) against which nearness is measured; none leaves the entropy out. */
  readonly references?: Tensor
  /** Factor of mean log distance; default 1, as published. The dimension d makes it the Kozachenko-Leonenko entropy in nats. */
  readonly entropyWeight?: number
}

/** Least squared distance that counts: a chain that stands on a reference gives a finite logarithm and no gradient. */
const LEAST_SQUARE = 1e-12

/**
 * The term that contrastive divergence leaves out (Du, Li, Tenenbaum & Mordatch 2021, arXiv 2012.01316): KL(chain ‖ p) by the part of its
 * gradient that flows through the sampler, mean E_stop(θ)(x̃(θ)) - weight·mean log min_j ‖x̃ - r_j‖: chain ends should have low energy and
 * keep apart. Add it to {@link contrastiveDivergence}, whose negatives are the same chain ends held constant.
 * Metrics: `klEnergy` = mean E(x̃), and with references `logDistance` = mean log min_j ‖x̃ - r_j‖.
 * Cost: 2 passes, and 6 for each sampler step the gradient goes back through; n·m·d for the distances.
 */
export function klTerm(options: KlTermOptions): Terms {
  const { energy, chain, references, entropyWeight = 1 } = options
  notNegative('klTerm', 'entropyWeight', entropyWeight)
  const n = batchOf('klTerm', chain)
  const klEnergy = ops.mean(throughPoints((x) => expectVector('klTerm', 'the energy', energy(x), n), chain))
  if (references === undefined) return { loss: klEnergy, metrics: { klEnergy } }
  const logDistance = ops.mean(logNearest(chain, references))
  return { loss: ops.sub(klEnergy, ops.mul(logDistance, entropyWeight)), metrics: { klEnergy, logDistance } }
}

/** log of the distance from each of x [n, ...shape] to the nearest of `references` [m, ...shape], which are held constant: [n]. */
export function logNearest(x: Tensor, references: Tensor): Tensor {
  const d = dimensionOf('klTerm', x)
  const m = batchOf('klTerm', references)
  if (!sameShape(x.shape.slice(1), references.shape.slice(1))) {
    throw shapeError(
      'klTerm',
      `references must hold examples as the chain's ${showShape(x.shape)}; got ${showShape(references.shape)}`,
    )
  }
  const rows = ops.reshape(x, [x.shape[0] as number, 1, d])
  const others = ops.reshape(ops.stopGradient(references), [1, m, d])
  // Differences first: |x|² + |r|² - 2x·r would lose small distances to rounding.
  const squares = ops.sum(ops.square(ops.sub(rows, others)), 2)
  return ops.mul(ops.log(ops.maximum(ops.min(squares, 1), LEAST_SQUARE)), 0.5)
}
