/** Predictor-corrector sampling of the variance-exploding diffusion: a reverse-diffusion step down the noise levels, Langevin steps at each. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { denoised, levelAt, type Sigmas, scoreAt, sigmaLevels } from './levels.ts'
import { checkPositive, resolve } from './options.ts'
import { rowSum } from './rows.ts'
import { plainInfo, type Sampler } from './sampler.ts'
import type { Target } from './target.ts'

/**
 * One step at level σᵢ (Song et al., ICLR 2021, algorithms 2 and 4, in the order of the published code): `correctorSteps` times
 * x ← x + ε·s + √(2ε)·z with s = ∇log p_σᵢ(x) and ε = 2·(snr·‖z‖/‖s‖)², the norms being means over all chains; then the reverse diffusion
 * x ← x + (σᵢ² - σᵢ₊₁²)·s + √(σᵢ² - σᵢ₊₁²)·z. The last level goes to 0 and without noise: x ← x + σ_L²·s.
 *
 * Needs an energy conditioned on the noise level. Chains begin at N(0, σ₁²) and share the corrector's ε. A draw is one whole schedule.
 */
export interface PredictorCorrectorOptions {
  readonly kind: 'predictorCorrector'
  /** Default { largest: 10, smallest: 0.01, levels: 100 }. The largest should exceed the distances between data, in units of x. */
  readonly sigmas?: Sigmas
  /** Langevin steps at each level; default 1; 0 is reverse diffusion alone. */
  readonly correctorSteps?: number
  /** Signal-to-noise ratio r of the corrector; default 0.16 (published for 32x32 images). */
  readonly snr?: number
}

const WHERE = 'sampler predictorCorrector'

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makePredictorCorrector(given: PredictorCorrectorOptions): Sampler<Required<PredictorCorrectorOptions>> {
  const options = resolve(given, {
    kind: 'predictorCorrector',
    sigmas: { largest: 10, smallest: 0.01, levels: 100 },
    correctorSteps: 1,
    snr: 0.16,
  })
  const { kind, correctorSteps, snr } = options
  const levels = sigmaLevels(WHERE, options.sigmas)
  const [largest, count] = [levels[0] as number, levels.length]
  if (!Number.isInteger(correctorSteps) || correctorSteps < 0 || correctorSteps > 500)
    throw new RangeError(`sampler ${kind}: correctorSteps must be an integer in 0..500; got ${correctorSteps}`)
  checkPositive(kind, { snr })
  return {
    kind,
    options,
    steps: count,
    bounds: null,
    firstStage: 1,
    gradientsPerStep: correctorSteps + 1,
    schedule: true,
    start: { kind: 'normal', mean: 0, std: largest },
    init: (_, x) => ({ x, step: ops.scalar(0, 'int32') }),
    step(target, state, key, stream) {
      const at = state.step as Tensor
      const sigma = levelAt(levels, at)
      let x = state.x
      for (let i = 0; i < correctorSteps; i++)
        x = correct(target, x, sigma, snr, ops.normal(key, x.shape, stream + 1 + i))
      const { energy, score } = scoreAt(WHERE, target, x, sigma)
      const fall = ops.sub(ops.square(sigma), ops.square(levelAt(levels, ops.add(at, 1))))
      const noise = ops.mul(ops.normal(key, x.shape, stream), ops.sqrt(fall))
      const predicted = ops.add(ops.add(x, ops.mul(score, fall)), noise)
      const moved = ops.select(ops.lt(at, count - 1), predicted, denoised(x, score, sigma))
      const next = ops.select(ops.lt(at, count), moved, state.x)
      const step = ops.minimum(ops.add(at, 1), count)
      return { state: { x: next, step }, key: ops.nextKey(key), info: plainInfo(next, energy) }
    },
  }
}

function correct(target: Target, x: Tensor, sigma: Tensor, snr: number, z: Tensor): Tensor {
  const { score } = scoreAt(WHERE, target, x, sigma)
  const ratio = ops.div(meanNorm(z), ops.maximum(meanNorm(score), 1e-30))
  const epsilon = ops.mul(ops.square(ops.mul(ratio, snr)), 2)
  return ops.add(x, ops.add(ops.mul(score, epsilon), ops.mul(z, ops.sqrt(ops.mul(epsilon, 2)))))
}

/** []: mean over the chains of each one's Euclidean norm. */
function meanNorm(v: Tensor): Tensor {
  return ops.mean(ops.sqrt(rowSum(ops.square(v))))
}
