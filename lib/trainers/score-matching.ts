/**
 * Score matching (Hyvärinen 2005) by any of its estimators: the energy's score is fitted to the data's, without samples and without log Z.
 * The estimators are lib/objectives/score-matching.ts's; sampling from what was learned is by chains afterwards.
 */
import { z } from 'zod'
import { checkChoice } from '../graph/checks.ts'
import type { Model } from '../nn/model.ts'
import {
  type DenoisingOptions,
  denoisingScoreMatching,
  exactScoreMatching,
  type FiniteDifferenceOptions,
  finiteDifferenceScoreMatching,
  type MultiscaleOptions,
  multiscaleDenoising,
  type SlicedOptions,
  slicedScoreMatching,
} from '../objectives/score-matching.ts'
import type { Terms } from '../objectives/terms.ts'
import { count, positive } from '../runtime/check-options.ts'
import { type Sigmas, sigmaLevels } from '../samplers/levels.ts'
import type { SamplerOptions } from '../samplers/samplers.ts'
import { sigmasSchema } from '../samplers/schema.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import type { MethodContext, MethodDefinition } from './method.ts'
import { energyFields } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

/**
 * How the objective is estimated. Costs are of one step, in forward passes of the energy over the batch; a plain classifier step is 3.
 * - `exact`: the Hessian's trace by one product per dimension: 6 + 3·d up to eight dimensions at once. For d up to about 50.
 * - `sliced` (Song 2019): random projections instead of the trace: 9 with one.
 * - `finiteDifference` (Pang 2020): projections from energies alone: 9 with one projection; no second derivative anywhere.
 * - `denoising` (Vincent 2011): the data blurred by N(0, σ²): 12 (6 without antithetic pairs).
 * - `multiscale` (NCSN, Song & Ermon 2019): denoising at a ladder of levels with a noise-conditioned network (option `sigma` of mlp,
 *   convEnergy, wideResNet): 12; the samples come by annealed Langevin.
 */
export type ScoreEstimator =
  | { readonly kind: 'exact' }
  | ({ readonly kind: 'sliced' } & SlicedOptions)
  | ({ readonly kind: 'finiteDifference' } & FiniteDifferenceOptions)
  | ({ readonly kind: 'denoising' } & DenoisingOptions)
  | ({ readonly kind: 'multiscale'; readonly sigmas: Sigmas } & Omit<MultiscaleOptions, 'sigmas'>)

export interface ScoreMatchingOptions extends EnergyOptions {
  /** Default sliced with one Rademacher projection, variance-reduced. */
  readonly estimator?: ScoreEstimator
}

const kinds = ['exact', 'sliced', 'finiteDifference', 'denoising', 'multiscale']

class ScoreMatchingMethod extends EnergyMethod<ScoreMatchingOptions> {
  private readonly estimator: ScoreEstimator
  private readonly sigmas: readonly number[]

  constructor(context: MethodContext<ScoreMatchingOptions>) {
    super(context)
    this.estimator = context.options.estimator ?? { kind: 'sliced' }
    const { kind } = this.estimator
    checkChoice('estimator', kind, kinds)
    this.sigmas = this.estimator.kind === 'multiscale' ? sigmaLevels('estimator', this.estimator.sigmas) : []
    if (kind === 'multiscale') context.network.needSigma('estimator multiscale')
  }

  protected override samplerOptions(): SamplerOptions {
    if (this.sigmas.length === 0) return super.samplerOptions()
    return this.options.sampling?.sampler ?? { kind: 'annealedLangevin', sigmas: this.sigmas }
  }

  protected terms({ x, key, energy, noisyEnergy }: LossContext): Terms {
    const noise = { key, stream: STREAM.objective }
    const e = this.estimator
    switch (e.kind) {
      case 'exact':
        return exactScoreMatching(energy, x)
      case 'sliced':
        return slicedScoreMatching(energy, x, noise, e)
      case 'finiteDifference':
        return finiteDifferenceScoreMatching(energy, x, noise, e)
      case 'denoising':
        return denoisingScoreMatching(energy, x, noise, e)
      case 'multiscale':
        return multiscaleDenoising(noisyEnergy, x, noise, { ...e, sigmas: this.sigmas })
    }
  }
}

const projections = {
  projections: count.optional(),
  distribution: z.enum(['rademacher', 'gaussian', 'sphere']).optional(),
}
const denoising = { antithetic: z.boolean().optional(), weighting: z.enum(['sigma2', 'one']).optional() }
const estimator = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exact') }),
  z.strictObject({ kind: z.literal('sliced'), ...projections, varianceReduced: z.boolean().optional() }),
  z.strictObject({ kind: z.literal('finiteDifference'), ...projections, epsilon: positive.optional() }),
  z.strictObject({ kind: z.literal('denoising'), sigma: positive, ...denoising }),
  z.strictObject({
    kind: z.literal('multiscale'),
    sigmas: sigmasSchema,
    ...denoising,
  }),
])

/** Score matching; Adam 1e-3. */
export const scoreMatchingMethod: MethodDefinition<ScoreMatchingOptions> = {
  name: 'scoreMatching',
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3 } },
  epochs: 100,
  schema: z.strictObject({ ...energyFields, estimator: estimator.optional() }),
  create: (context) => new ScoreMatchingMethod(context),
}

/**
 * Trains an energy by score matching; see {@link ScoreEstimator} for the estimators and their cost.
 * Metrics: loss, `scoreNorm` (mean ½‖s‖²), `energyData`. The loss estimates the Fisher divergence up to a constant: lower is better, its zero means nothing.
 * @example new ScoreMatching(mlp({ inputs: 2 }), { estimator: { kind: 'sliced' } })
 */
export class ScoreMatching extends Trainer<ScoreMatchingOptions> {
  constructor(model: Model, options: ScoreMatchingOptions = {}) {
    super(scoreMatchingMethod, model, options)
  }
}
