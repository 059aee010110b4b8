/**
 * What the methods share that train one energy on one stream of data: the data on the device, the batch of a step, the energy as a function
 * with its norms' statistics, guards, and sampling by chains afterwards. The loss is each method's own.
 */
import type { Dataset } from '../data/dataset.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import { foldStatistics } from '../nn/statistics.ts'
import type { Pass, Variables } from '../nn/variables.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import {
  type Augmentation,
  augment,
  checkExamples,
  DATA,
  type Normalization,
  normalizationOf,
  orderedRows,
  takeRows,
} from './batches.ts'
import { type ChainSampling, chainSampling } from './chain-sampling.ts'
import { ChainStarts } from './chain-starts.ts'
import type { DataDescription } from './checkpoint.ts'
import { DEFAULT_BATCH } from './engine.ts'
import {
  type ChainRound,
  type Method,
  type MethodContext,
  type ModuleVariables,
  type Objective,
  type Phase,
  type SamplingCode,
  type Segment,
  singlePhase,
} from './method.ts'
import { type CommonOptions, recoveryDefaults } from './options.ts'
import type { SampleOptions } from './sampling.ts'
import { STREAM } from './streams.ts'

/** How `trainer.sample` runs chains after training. What a method with chains of its own trains with it says itself. */
export interface SamplingOptions {
  /** Default unadjusted Langevin, sgld with stepSize 0.01 and noise 'langevin'. */
  readonly sampler?: SamplerOptions
  /**
   * Default where training's own chains begin, or the sampler's; else uniform on [-1, 1] where the data live there, a Gaussian with the data's mean
   * and covariance otherwise.
   */
  readonly start?: StartOptions
  /** Steps from the start to a sample; default 1000. */
  readonly steps?: number
  /** Chains at a time; default 256. */
  readonly chains?: number
}

export interface EnergyOptions extends CommonOptions {
  /** What is done to the data of each step; default nothing. */
  readonly augmentation?: Augmentation
  /**
   * Batch norms' statistics in training: the batch's own (default, as in PyTorch's train mode; the batch's energies then depend on each other) or the
   * running ones. Without such norms there is no difference.
   */
  readonly norm?: 'batch' | 'running'
  /** Momentum of running statistics; default 0.1. */
  readonly statisticsMomentum?: number
  readonly sampling?: SamplingOptions
}

/** What a loss is built from. */
export interface LossContext {
  readonly r: Recorder
  readonly variables: ModuleVariables
  readonly key: Tensor
  /** The batch [n, ...shape]. */
  readonly x: Tensor
  /** E over the data and what is made of them; its norms' statistics are kept. */
  energy(x: Tensor): Tensor
  /** E over noise or chains: statistics are not kept. */
  foreignEnergy(x: Tensor): Tensor
  /** Both, E over the data x and over noise or chains: one pass over both where examples do not depend on each other. */
  energies(x: Tensor, foreign: Tensor): readonly [data: Tensor, foreign: Tensor]
  /** E(x, σ), σ [n], of a noise-conditioned network. */
  noisyEnergy(x: Tensor, sigma: Tensor): Tensor
  /** Class logits [n, classes] of a classifier over data; statistics are kept. */
  logits(x: Tensor): Tensor
}

/** A method of one phase with a batch of data. Its subclasses give the loss, and what else they need. */
export abstract class EnergyMethod<Options extends EnergyOptions> implements Method, Phase {
  readonly name: string = ''
  readonly exact: boolean = false
  protected readonly network: Network
  protected readonly options: Options
  protected readonly data: DataDescription
  protected readonly batch: number
  protected readonly normalization: Normalization
  protected readonly starts: ChainStarts

  constructor({ network, options, data }: MethodContext<Options>) {
    checkExamples(network, data)
    const { statisticsMomentum = 0.1, batch = DEFAULT_BATCH } = options
    if (!(statisticsMomentum > 0 && statisticsMomentum <= 1))
      throw new RangeError(`statisticsMomentum must be in (0, 1]; got ${statisticsMomentum}`)
    this.network = network
    this.options = options
    this.data = data
    this.batch = batch
    this.normalization = normalizationOf(data.range)
    this.starts = new ChainStarts(this.startOptions(), data)
  }

  protected startOptions(): StartOptions {
    return this.options.sampling?.start ?? this.usualStart()
  }

  protected usualStart(): StartOptions {
    return { kind: this.data.range === null ? 'classGaussians' : 'uniform' }
  }

  /** The loss of a batch, and what else the step reads of its graph. */
  protected abstract terms(context: LossContext): Terms & Pick<Objective, 'leaves'>

  segments(): readonly Segment[] {
    return singlePhase(this)
  }

  async setup(state: State, data: Dataset): Promise<void> {
    await state.put(DATA, data.features, false)
    await this.starts.setup(state, data)
  }

  async reinitialize(_state: State, _seed: number): Promise<void> {}

  /** Draws the batch into `batch/data`, and returns it. */
  draw(r: Recorder, key: Tensor): Tensor {
    const rows = orderedRows(key, this.data.count, this.batch, STREAM.dataOrder)
    const x = takeRows(r.read(DATA), rows, this.normalization)
    const batch = this.prepare(augment(x, this.options.augmentation ?? {}, key, STREAM.augmentData), key)
    r.write('batch/data', batch)
    return batch
  }

  /** What a subclass makes of the batch (binarising); default nothing. */
  protected prepare(x: Tensor, _key: Tensor): Tensor {
    return x
  }

  chains(): readonly ChainRound[] {
    return []
  }

  after(_: Recorder): void {}

  objective(r: Recorder, variables: ModuleVariables, key: Tensor): Objective {
    const own = variables()
    const { norm = 'batch', statisticsMomentum = 0.1, recovery } = this.options
    const kept: Map<string, Tensor>[] = []
    const forward = (x: Tensor, sigma?: Tensor, keep = true): Tensor => {
      const statistics = new Map<string, Tensor>()
      if (keep) kept.push(statistics)
      return this.network.forward(x, passOf(own, norm, keep ? statistics : undefined, sigma))
    }
    const coupled = norm === 'batch' && this.network.variables.some((v) => v.role === 'statistic')
    const energy = (x: Tensor, sigma?: Tensor, keep = true): Tensor => this.network.energyOf(forward(x, sigma, keep))
    const { loss, metrics, leaves } = this.terms({
      r,
      variables,
      key,
      x: r.read('batch/data'),
      energy: (x) => energy(x),
      foreignEnergy: (x) => energy(x, undefined, false),
      energies: (x, foreign) => {
        // Batch norms in train mode take their statistics of each set alone.
        if (coupled) return [energy(x), energy(foreign, undefined, false)]
        const [n, all] = [x.shape[0] as number, energy(ops.concat([x, foreign], 0))]
        return [ops.slice(all, [0], [n]), ops.slice(all, [n], [all.size])]
      },
      noisyEnergy: (x, sigma) => energy(x, sigma),
      logits: (x) => {
        this.network.needClasses('logits')
        return forward(x)
      },
    })
    const limit = recoveryDefaults(recovery).energyLimit
    const guards = ['energyData', 'energyNegatives'].filter((n) => n in metrics).map((name) => ({ name, limit }))
    const statistics = foldStatistics(own, kept, statisticsMomentum)
    return { loss, metrics, guards, statistics, ...(leaves && { leaves }) }
  }

  sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    return chainSampling(state, this.network, this.chain(), options)
  }

  /** Where samples come from if nothing is said, in methods that draw exactly or train a flow beside the energy. */
  protected sourceOf({ from, class: wanted, steps }: SampleOptions): 'buffer' | 'start' | 'model' {
    return from ?? (this.exact && wanted === undefined && steps === undefined ? 'model' : 'start')
  }

  chain(): ChainSampling {
    const { steps, start, chains = 256 } = this.options.sampling ?? {}
    const sampler = makeSampler(this.samplerOptions())
    // A schedule (annealed Langevin) has its own length and, unless the options say otherwise, its own starts.
    const length = steps ?? (sampler.schedule ? sampler.steps : 1000)
    const own = start === undefined ? sampler.start : undefined
    const starts = own === undefined ? this.starts : new ChainStarts(own, this.data)
    return { batch: chains, sampler, starts, norm: 'running', steps: length }
  }

  protected samplerOptions(): SamplerOptions {
    return this.options.sampling?.sampler ?? { kind: 'sgld', stepSize: 0.01, noise: 'langevin' }
  }
}

function passOf(
  variables: Variables,
  norm: Pass['norm'],
  statistics: Map<string, Tensor> | undefined,
  sigma: Tensor | undefined,
): Pass {
  return { variables, norm, ...(statistics ? { statistics } : {}), ...(sigma ? { sigma } : {}) }
}
