/**
 * Maximum likelihood for models whose energy is normalised, log Z = 0: flows above all. The loss is the mean energy, and it is what it says: the
 * negative log likelihood in nats. Energies that are not normalised need the other methods.
 */
import { z } from 'zod'
import { LangevinError } from '../graph/errors.ts'
import type { Flow, FlowConfig } from '../nn/flow.ts'
import { FlowModel } from '../nn/flow-model.ts'
import type { Model } from '../nn/model.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import type { State } from '../runtime/state.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import { flowModule, flowSampling } from './flow-module.ts'
import type { MethodContext, MethodDefinition, SamplingCode } from './method.ts'
import type { SampleOptions } from './sampling.ts'
import { energyFields } from './schema.ts'
import { Trainer } from './trainer.ts'

export interface MaximumLikelihoodOptions extends EnergyOptions {
  /**
   * True says that the energy of a network which is no flow is normalised for all values of its parameters (a Gaussian of one's own, say). Of one
   * that is not, the mean energy has no minimum. Default false.
   */
  readonly normalized?: boolean
}

class MaximumLikelihoodMethod extends EnergyMethod<MaximumLikelihoodOptions> {
  override readonly exact: boolean
  private readonly given: Flow | undefined

  constructor(context: MethodContext<MaximumLikelihoodOptions>) {
    super(context)
    const { kind } = context.network.config
    this.exact = kind === 'flow'
    this.given = context.model instanceof FlowModel ? context.model.flow : undefined
    if (!this.exact && context.options.normalized !== true) {
      throw new LangevinError(
        'E_CONFIG',
        `maximumLikelihood needs a normalised energy, as a flow's is; network '${kind}' has an unknown log Z. Take a FlowModel, or another method (contrastiveDivergence, noiseContrastive, scoreMatching); for an energy of one's own that is normalised set normalized: true`,
      )
    }
  }

  protected override startOptions(): StartOptions {
    // A flow draws by itself; no covariance of the data is needed unless chains are asked for by option.
    return (
      this.options.sampling?.start ?? (this.network.config.kind === 'flow' ? { kind: 'uniform' } : super.startOptions())
    )
  }

  protected terms({ x, energy }: LossContext): Terms {
    const loss = ops.mean(energy(x))
    return { loss, metrics: { logLikelihood: ops.neg(loss) } }
  }

  override sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    const from = this.sourceOf(options)
    if (!this.exact || from !== 'model') return super.sampling(state, { ...options, from })
    const flow = this.given ?? flowModule(this.network.config.flow as FlowConfig, this.network.shape).flow
    return flowSampling(state, flow, this.options.sampling?.chains ?? 256, '')
  }
}

/** Maximum likelihood; Adam 1e-3. */
export const maximumLikelihoodMethod: MethodDefinition<MaximumLikelihoodOptions> = {
  name: 'maximumLikelihood',
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3 } },
  epochs: 100,
  schema: z.strictObject({ ...energyFields, normalized: z.boolean().optional() }),
  create: (context) => new MaximumLikelihoodMethod(context),
}

/**
 * Trains a flow by maximum likelihood; `sample` gives its exact draws (`from: 'start'` and `steps` chains of its density instead).
 * A flow built in code samples so only as a FlowModel, given to the trainer and to `openRun(path, { model })`. Pixels are discrete and a density is not: give
 * images noise of about a grey level (`augmentation: { noise: 0.005 }`).
 * Metrics: loss = -`logLikelihood`, nats an example in the units the network sees (Dataset.logDeterminant leads to those of the data).
 * Cost of a step: 3 forward passes.
 * @example new MaximumLikelihood(new FlowModel(splineFlow({ inputs: 2 })))
 */
export class MaximumLikelihood extends Trainer<MaximumLikelihoodOptions> {
  constructor(model: Model, options: MaximumLikelihoodOptions = {}) {
    super(maximumLikelihoodMethod, model, options)
  }
}
