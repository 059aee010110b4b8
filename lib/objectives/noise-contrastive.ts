/**
 * Noise-contrastive estimation: the energy learned as a classifier of data against noise of known density. A function of log densities;
 * where the noise comes from, and that log p_model contains a trained -log Z, is the trainer's part.
 */
import { shapeError } from '../graph/errors.ts'
import { showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { batchOf, expectVector, positive, type Terms } from './terms.ts'

/** Log densities of data and noise under model and noise. */
export interface ContrastiveDensities {
  /** log p_model(x) = -E(x) - c of the data: [n]. */
  readonly logModelData: Tensor
  /** The same of the noise: [ν·n]. */
  readonly logModelNoise: Tensor
  /** log p_noise(x) of the data: [n]. */
  readonly logNoiseData: Tensor
  /** The same of the noise: [ν·n]. */
  readonly logNoiseNoise: Tensor
}

/** Logits log p_model - log p_noise - log ν of "this is data", and how well they tell. */
export interface Contrast {
  readonly logitData: Tensor
  readonly logitNoise: Tensor
  readonly metrics: {
    /** Share told right of all ν·n + n. */
    readonly accuracy: Tensor
    readonly accuracyData: Tensor
    readonly accuracyNoise: Tensor
  }
}

/**
 * Noise-contrastive estimation (Gutmann & Hyvärinen 2010): the logistic regression
 * mean_data softplus(-G) + ν·mean_noise softplus(G), G(x) = -E(x) - c - log p_n(x) - log ν, per datum. At its optimum
 * p_model = p_data and c = log Z. Metrics: `accuracy` (of all), `accuracyData`, `accuracyNoise`, `logitData`, `logitNoise` (means of G).
 * An accuracy near 1 means that the noise is too far from the data to teach anything.
 * Cost: 3·(1 + ν) passes of the energy.
 * @throws LangevinError E_SHAPE when the noise is not ν times the data.
 */
export function noiseContrastive(options: ContrastiveDensities & { readonly ratio: number }): Terms {
  const { ratio, ...densities } = options
  const { logitData, logitNoise, metrics } = contrast('noiseContrastive', densities, ratio)
  const onData = ops.mean(ops.softplus(ops.neg(logitData)))
  const onNoise = ops.mean(ops.softplus(logitNoise))
  return {
    loss: ops.add(onData, ops.mul(onNoise, ratio)),
    metrics: { ...metrics, logitData: ops.mean(logitData), logitNoise: ops.mean(logitNoise) },
  }
}

/** Logits and accuracies of four log densities, after checking that they fit; shared with flow-contrastive estimation. */
export function contrast(objective: string, densities: ContrastiveDensities, ratio: number): Contrast {
  const { logModelData, logModelNoise, logNoiseData, logNoiseNoise } = densities
  positive(objective, 'ratio', ratio)
  const n = batchOf(objective, logModelData)
  const m = batchOf(objective, logModelNoise)
  expectVector(objective, 'logModelData', logModelData, n)
  expectVector(objective, 'logNoiseData', logNoiseData, n)
  expectVector(objective, 'logModelNoise', logModelNoise, m)
  expectVector(objective, 'logNoiseNoise', logNoiseNoise, m)
  if (m !== Math.round(ratio * n)) {
    throw shapeError(
      objective,
      `the noise must hold ratio ${ratio} times the ${n} data; got ${showShape(logModelNoise.shape)}`,
      { ratio, data: n, noise: m },
    )
  }
  const logit = (model: Tensor, noise: Tensor): Tensor => ops.sub(ops.sub(model, noise), Math.log(ratio))
  const logitData = logit(logModelData, logNoiseData)
  const logitNoise = logit(logModelNoise, logNoiseNoise)
  const accuracyData = ops.mean(ops.cast(ops.gt(logitData, 0), 'float32'))
  const accuracyNoise = ops.mean(ops.cast(ops.lt(logitNoise, 0), 'float32'))
  const accuracy = ops.div(ops.add(accuracyData, ops.mul(accuracyNoise, ratio)), 1 + ratio)
  return { logitData, logitNoise, metrics: { accuracy, accuracyData, accuracyNoise } }
}
