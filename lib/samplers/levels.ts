/**
 * Noise levels of the samplers that go down a ladder of them (annealed Langevin, predictor-corrector, probability flow): the option, its
 * checks, and the score at a level.
 */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { everyChain, scoreOf } from './rows.ts'
import type { Target } from './target.ts'

/** Standard deviations of the noise, in units of x, from the largest down: a geometric ladder, or the levels themselves. */
export type Sigmas =
  | { readonly largest: number; readonly smallest: number; readonly levels: number }
  | readonly number[]

/** The levels, strictly decreasing. @throws RangeError, TypeError naming `where` */
export function sigmaLevels(where: string, sigmas: Sigmas, least = 1): readonly number[] {
  if (typeof sigmas !== 'object' || sigmas === null || !(Array.isArray(sigmas) || 'largest' in sigmas))
    throw new TypeError(
      `${where}: sigmas must be { largest, smallest, levels } or a list of levels; got ${String(sigmas)}`,
    )
  if ('largest' in sigmas) {
    const { largest, smallest, levels } = sigmas
    if (!(Number.isFinite(largest) && smallest > 0 && largest > smallest))
      throw new RangeError(
        `${where}: sigmas need largest > smallest > 0, both finite; got largest ${largest}, smallest ${smallest}`,
      )
    checkInteger(`${where}: sigmas.levels`, levels, Math.max(2, least))
    return Array.from({ length: levels }, (_, i) => largest * (smallest / largest) ** (i / (levels - 1)))
  }
  const fits = (v: number, i: number) => Number.isFinite(v) && v > 0 && (i === 0 || v < (sigmas[i - 1] as number))
  const bad = sigmas.findIndex((v: number, i: number) => !fits(v, i))
  if (sigmas.length < least || bad >= 0) {
    const got = sigmas.length < least ? `${sigmas.length} of them` : `${sigmas[bad]} at place ${bad}`
    throw new RangeError(
      `${where}: sigmas must be at least ${least} positive finite numbers that decrease strictly; got ${got}`,
    )
  }
  return sigmas
}

/** The level at an int32 scalar place; places beyond the ends give the end. */
export function levelAt(levels: readonly number[], place: Tensor): Tensor {
  return ops.gather(ops.constant(levels, [levels.length]), place)
}

export interface LevelScore {
  /** [n]: -log p_σ(x) up to a constant. */
  readonly energy: Tensor
  /** ∇x log p_σ(x). */
  readonly score: Tensor
}

/** Energy and score at the level `sigma` []. @throws LangevinError E_CONFIG for targets without levels */
export function scoreAt(where: string, target: Target, x: Tensor, sigma: Tensor): LevelScore {
  const { logDensityAt } = target
  if (logDensityAt === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `${where} needs an energy that is conditioned on the noise level: build the network with sigma: { smallest: 0.01 }, or give energyTarget an energyAt; ` +
        'for an unconditioned energy use annealedLangevin (it anneals the temperature) or parallelTempering',
    )
  }
  const logDensity = logDensityAt(x, everyChain(x.shape[0] as number, sigma))
  return { energy: ops.neg(logDensity), score: scoreOf(logDensity, x) }
}

/** Tweedie's formula, the mean of the clean x given the noisy one: x + σ²·∇log p_σ(x). */
export function denoised(x: Tensor, score: Tensor, sigma: Tensor): Tensor {
  return ops.add(x, ops.mul(score, ops.square(sigma)))
}
