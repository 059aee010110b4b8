/** Annealed Langevin dynamics: Langevin steps at one noise level after the other, from the largest down. One step of the schedule is one graph. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { denoised, levelAt, type Sigmas, scoreAt, sigmaLevels } from './levels.ts'
import { checkBounds, checkCount, checkPositive, resolve } from './options.ts'
import { scoreOf } from './rows.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'
import type { Target } from './target.ts'

/**
 * At level i, `stepsPerLevel` steps x ← x + (αᵢ/2)·∇log p_σᵢ(x) + √αᵢ·ε with αᵢ = stepSize·σᵢ²/σ_L², then once x ← x + σ_L²·∇log p_σL(x)
 * (Song & Ermon, NeurIPS 2019, algorithm 1, in its published form; the last step: Jolicoeur-Martineau et al. 2021).
 *
 * Needs an energy conditioned on the noise level. One that is not is annealed by temperature instead: level i draws from p^(1/Tᵢ) with
 * Tᵢ = (σᵢ/σ_L)², down to T = 1, with the same step sizes; there is no last denoising step then.
 *
 * A draw is one whole schedule from a fresh start. Like all Langevin steps without acceptance it has a bias that grows with the step size.
 */
export interface AnnealedLangevinOptions {
  readonly kind: 'annealedLangevin'
  /** Default { largest: 1, smallest: 0.01, levels: 10 }, as published for images in [0, 1]. */
  readonly sigmas?: Sigmas
  /** Default 100. */
  readonly stepsPerLevel?: number
  /** ε of the paper: α at the smallest level. Null, the default, is 0.2·σ_L² (published: 2e-5 for σ_L = 0.01). */
  readonly stepSize?: number | null
  /** The last step without noise; default true. */
  readonly denoise?: boolean
  /** Box that x is kept in; default null. */
  readonly bounds?: Bounds
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeAnnealedLangevin(given: AnnealedLangevinOptions): Sampler<Required<AnnealedLangevinOptions>> {
  const options = resolve(given, {
    kind: 'annealedLangevin',
    sigmas: { largest: 1, smallest: 0.01, levels: 10 },
    stepsPerLevel: 100,
    stepSize: null,
    denoise: true,
    bounds: null,
  })
  const { kind, stepsPerLevel, denoise, bounds } = options
  const levels = sigmaLevels('sampler annealedLangevin', options.sigmas)
  const smallest = levels.at(-1) as number
  const stepSize = options.stepSize ?? 0.2 * smallest ** 2
  checkCount(kind, 'stepsPerLevel', stepsPerLevel)
  checkPositive(kind, { stepSize })
  checkBounds(kind, bounds)
  const noisySteps = levels.length * stepsPerLevel
  return {
    kind,
    options,
    steps: noisySteps + (denoise ? 1 : 0),
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    schedule: true,
    controls: { stepSize },
    init: (_, x) => ({ x, step: ops.scalar(0, 'int32') }),
    step(target, state, key, stream) {
      const { x } = state
      const at = state.step as Tensor
      const sigma = levelAt(levels, ops.div(at, stepsPerLevel))
      const { energy, score } = annealed(target, x, sigma, smallest)
      const alpha = ops.mul(ops.square(ops.div(sigma, smallest)), state.stepSize ?? stepSize)
      const noise = ops.mul(ops.normal(key, x.shape, stream), ops.sqrt(alpha))
      const moved = ops.add(ops.add(x, ops.mul(score, ops.mul(alpha, 0.5))), noise)
      const last = denoise && target.logDensityAt ? ops.select(ops.eq(at, noisySteps), denoised(x, score, sigma), x) : x
      const free = ops.select(ops.lt(at, noisySteps), moved, last)
      const next = bounds === null ? free : ops.clamp(free, bounds[0], bounds[1])
      const step = ops.minimum(ops.add(at, 1), noisySteps + 1)
      return { state: { ...state, x: next, step }, key: ops.nextKey(key), info: plainInfo(next, energy) }
    },
  }
}

/** Energy as it is, and the score at a level: of the conditioned density, or of p^(1/T) with T = (σ/σ_L)². */
function annealed(target: Target, x: Tensor, sigma: Tensor, smallest: number): { energy: Tensor; score: Tensor } {
  if (target.logDensityAt) return scoreAt('sampler annealedLangevin', target, x, sigma)
  const logDensity = target.logDensity(x)
  const beta = ops.square(ops.div(smallest, sigma))
  return { energy: ops.neg(logDensity), score: ops.mul(scoreOf(logDensity, x), beta) }
}
