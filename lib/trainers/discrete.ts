/**
 * Energies of binary and one-hot data without chains: pseudo-likelihood (Besag 1975) and ratio matching (Hyvärinen 2007; Lyu 2009), for
 * any network. The objectives are lib/objectives/discrete.ts's; samples come by Gibbs sampling afterwards.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import { PairwiseNetwork } from '../nn/discrete.ts'
import type { Model } from '../nn/model.ts'
import { type DiscreteKind, pseudoLikelihood, ratioMatching } from '../objectives/discrete.ts'
import type { Terms } from '../objectives/terms.ts'
import { count } from '../runtime/check-options.ts'
import type { State } from '../runtime/state.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { networkTarget } from '../samplers/target.ts'
import { type Binarize, BinaryUnits, checkOneHot } from './binary.ts'
import type { ChainSampling } from './chain-sampling.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import type { MethodContext, MethodDefinition } from './method.ts'
import { energyFields } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

export interface DiscreteOptions extends EnergyOptions {
  /** 'binary': every number of x is a site. 'oneHot': the last axis holds a site's values. Default the network's (potts), else 'binary'. */
  readonly kind?: DiscreteKind
  /** 'all' (default), or so many random sites an example and step: the cost of a step is 1 + sites·(values - 1) passes of the energy, three times over. */
  readonly sites?: 'all' | number
  /** Of binary data: how grey values become binary; default 'threshold'. */
  readonly binarize?: Binarize
}

type DiscreteObjective = typeof pseudoLikelihood

class DiscreteMethod extends EnergyMethod<DiscreteOptions> {
  private readonly kind: DiscreteKind
  private readonly units: BinaryUnits
  private readonly loss: DiscreteObjective

  constructor(context: MethodContext<DiscreteOptions>, loss: DiscreteObjective) {
    super(context)
    const { network, data, options } = context
    const own = network instanceof PairwiseNetwork && network.kind === 'potts' ? 'oneHot' : 'binary'
    this.kind = options.kind ?? own
    if (this.kind !== 'binary' && this.kind !== 'oneHot')
      throw new LangevinError(
        'E_CONFIG',
        `kind '${String(this.kind)}' is not known.${suggestion(String(this.kind), ['binary', 'oneHot'])}`,
      )
    if (this.kind === 'oneHot' && options.binarize != null)
      throw new LangevinError('E_CONFIG', "binarize belongs to kind 'binary'; one-hot data are not grey")
    this.units = new BinaryUnits(network, data)
    this.loss = loss
  }

  protected override startOptions(): StartOptions {
    // Any point will do: sweeps forget it, and other samplers round it to 0 or 1.
    return this.options.sampling?.start ?? { kind: 'uniform', low: 0, high: 1 }
  }

  override async setup(state: State, data: Dataset): Promise<void> {
    if (this.kind === 'oneHot') checkOneHot(data)
    else this.units.check(data)
    await super.setup(state, data)
  }

  protected override prepare(x: Tensor, key: Tensor): Tensor {
    if (this.kind === 'oneHot') return x
    return this.units.binarize(x, this.options.binarize ?? 'threshold', key, STREAM.binarize)
  }

  protected terms({ x, key, energy }: LossContext): Terms {
    const { sites = 'all' } = this.options
    const noise = { key, stream: STREAM.objective }
    return this.loss((b) => energy(this.units.fromUnit(b)), this.units.toUnit(x), { kind: this.kind, sites, noise })
  }

  protected override samplerOptions(): SamplerOptions {
    const given = this.options.sampling?.sampler
    if (given !== undefined) return given
    const { network } = this
    const sweeps = network instanceof PairwiseNetwork ? network.sweeps : network.sweep !== undefined
    return sweeps ? { kind: 'blockGibbs' } : { kind: 'gibbsWithGradients', form: this.kind }
  }

  /** Sweeps are over the network's own values; other samplers' chains over 0 and 1, which are brought to the values of x at their end. */
  override chain(): ChainSampling {
    const { steps = 1000, chains: batch = 256 } = this.options.sampling ?? {}
    const sampler = makeSampler(this.samplerOptions())
    const plain = { batch, sampler, starts: this.starts, norm: 'running' as const, steps }
    const { units, network } = this
    if (sampler.kind === 'blockGibbs' || units.plain) return plain
    return {
      ...plain,
      own: {
        target(variables, classes) {
          const conditional = classes === undefined ? {} : { classes }
          const { logDensity } = networkTarget(network, { variables, norm: 'running' }, conditional)
          return { logDensity: (b) => logDensity(units.fromUnit(b)) }
        },
        values: (b) => units.fromUnit(b),
      },
    }
  }
}

const schema = z.strictObject({
  ...energyFields,
  kind: z.enum(['binary', 'oneHot']).optional(),
  sites: z.union([z.literal('all'), count]).optional(),
  binarize: z.union([z.enum(['threshold', 'stochastic']), z.null()]).optional(),
})

function definition(name: string, loss: DiscreteObjective): MethodDefinition<DiscreteOptions> {
  return {
    name,
    defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-2 } },
    epochs: 100,
    schema,
    create: (context) => new DiscreteMethod(context, loss),
  }
}

/** Pseudo-likelihood; Adam 1e-2. */
export const pseudoLikelihoodMethod = definition('pseudoLikelihood', pseudoLikelihood)
/** Ratio matching; Adam 1e-2. */
export const ratioMatchingMethod = definition('ratioMatching', ratioMatching)

/**
 * Trains an energy of binary or one-hot data by pseudo-likelihood: consistent, without chains or log Z. Data without a range are 0 and 1 as they
 * are; data with one reach the network as -1 and 1, after `binarize`.
 * Metrics: loss (nats an example), `conditional` (mean log p(x_i | x_-i) a site), `accuracy` (share of sites whose value is the likeliest given
 * the others), `energyData`.
 * @example new PseudoLikelihood(ising({ shape: [8, 8], coupling: 'bond' }))
 */
export class PseudoLikelihood extends Trainer<DiscreteOptions> {
  constructor(model: Model, options: DiscreteOptions = {}) {
    super(pseudoLikelihoodMethod, model, options)
  }
}

/**
 * Trains an energy of binary or one-hot data by ratio matching: as {@link PseudoLikelihood}, with a loss bounded for each example.
 * Metrics: loss, `ratio` (mean of g² a site), `accuracy`, `energyData`.
 * @example new RatioMatching(mlp({ inputs: 16 }), { sites: 4 })
 */
export class RatioMatching extends Trainer<DiscreteOptions> {
  constructor(model: Model, options: DiscreteOptions = {}) {
    super(ratioMatchingMethod, model, options)
  }
}
