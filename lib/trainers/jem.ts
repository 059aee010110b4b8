/**
 * JEM (Grathwohl et al., ICLR 2020, arXiv 1912.03263) and JEM++ (Yang & Ji, ICCV 2021, arXiv 2109.09032): a classifier trained as an
 * energy-based model. The step: draw data, labelled data and chains; run the chains; loss and gradients; update. Defaults are the published recipes.
 */
import type { Dataset } from '../data/dataset.ts'
import { checkInteger } from '../graph/checks.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Network } from '../nn/network.ts'
import { foldStatistics } from '../nn/statistics.ts'
import { Variables } from '../nn/variables.ts'
import { type JemBatches, type JemWeights, jemLoss } from '../objectives/jem.ts'
import * as ops from '../ops/index.ts'
import type { Recorder, State } from '../runtime/state.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { networkTarget } from '../samplers/target.ts'
import {
  type Augmentation,
  augment,
  checkExamples,
  checkLabelled,
  DATA,
  LABELS,
  type Normalization,
  normalizationOf,
  orderedRows,
  takeRows,
} from './batches.ts'
import { samplerRound } from './chain-round.ts'
import { type ChainSampling, chainSampling } from './chain-sampling.ts'
import type { DataDescription } from './checkpoint.ts'
import { DEFAULT_BATCH } from './engine.ts'
import {
  type ChainRound,
  type Method,
  type ModuleVariables,
  type Objective,
  type Phase,
  type SamplingCode,
  type Segment,
  singlePhase,
} from './method.ts'
import type { CommonOptions } from './options.ts'
import { crossEntropyLimit, recoveryDefaults } from './options.ts'
import { BUFFER, Replay, type ReplayOptions } from './replay.ts'
import type { SampleOptions } from './sampling.ts'
import { STREAM } from './streams.ts'

export interface JemOptions extends CommonOptions {
  readonly sampler?: SamplerOptions
  readonly buffer?: ReplayOptions
  /** Weights of log p(x), log p(y|x), log p(x,y) and the energy penalty; default 1, 1, 0, 0. */
  readonly weights?: Partial<JemWeights>
  /** Chains of p(x) are drawn per class, from f(x)[y] with y uniform; default false. */
  readonly classConditional?: boolean
  /** Batch-norm statistics in the chain: the chains' own ('batch', published; couples them) or the running ones. */
  readonly chainNorm?: 'batch' | 'running'
  /**
   * Momentum of the running statistics that evaluation uses: running ← (1 - m)·running + m·batch, over the data and labelled streams, never the
   * chains. Default 0.1 (published code: PyTorch's 0.9, which keeps little but the last batch).
   */
  readonly statisticsMomentum?: number
  /** Per stream. Default noise 0.03; for colour images also pad 4 and flip (digits and letters do not mirror). */
  readonly augmentation?: { readonly data?: Augmentation; readonly labelled?: Augmentation }
}

/** Options with every default filled in. */
export interface ResolvedJem {
  readonly batch: number
  readonly sampler: Sampler
  readonly replay: Replay
  readonly weights: JemWeights
  readonly classConditional: boolean
  readonly chainNorm: 'batch' | 'running'
  readonly statisticsMomentum: number
  readonly augmentation: { readonly data: Augmentation; readonly labelled: Augmentation }
  readonly energyLimit: number
  readonly crossEntropyLimit: number
}

/** The method behind both trainers: state and graphs of the JEM step. */
export class JemMethod implements Method, Phase {
  readonly name = ''
  private readonly network: Network
  private readonly settings: ResolvedJem
  private readonly data: DataDescription
  private readonly normalization: Normalization

  constructor(network: Network, settings: ResolvedJem, data: DataDescription) {
    this.network = network
    this.settings = settings
    this.data = data
    this.normalization = normalizationOf(data.range)
    checkData(network, settings, data)
  }

  segments(): readonly Segment[] {
    return singlePhase(this)
  }

  async setup(state: State, data: Dataset): Promise<void> {
    await state.put(DATA, data.features, false)
    if (data.labels !== undefined) await state.put(LABELS, hostTensor(data.labels, [data.count]), false)
    await this.settings.replay.setup(state, data)
  }

  chain(): ChainSampling {
    const { weights, classConditional, chainNorm: norm, batch, sampler, replay } = this.settings
    // Chains that were trained per class go on per class.
    const perClass = classConditional || (weights.px === 0 && weights.pxy > 0)
    return { batch, sampler, replay, starts: replay.starts, norm, perClass }
  }

  sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    return chainSampling(state, this.network, this.chain(), options)
  }

  reinitialize(state: State, seed: number): Promise<void> {
    return this.settings.replay.fill(state, seed)
  }

  draw(r: Recorder, key: Tensor): void {
    const { batch, weights, augmentation, replay, classConditional } = this.settings
    const stream = (order: number) => orderedRows(key, this.data.count, batch, order)
    if (weights.px > 0) {
      const x = takeRows(r.read(DATA), stream(STREAM.dataOrder), this.normalization)
      r.write('batch/data', augment(x, augmentation.data, key, STREAM.augmentData))
      const classes = classConditional ? this.randomClasses(key, STREAM.bufferClasses) : undefined
      const streams = { rows: STREAM.bufferRows, reinit: STREAM.bufferReinit, start: STREAM.start }
      this.writeChains(r, 'marginal', replay.draw(r, key, batch, streams, classes))
    }
    if (weights.pyx > 0 || weights.pxy > 0) {
      const rows = stream(STREAM.labelledOrder)
      const x = takeRows(r.read(DATA), rows, this.normalization)
      r.write('batch/labelled', augment(x, augmentation.labelled, key, STREAM.augmentLabelled))
      r.write('batch/labels', ops.gather(r.read(LABELS), rows, { axis: 0 }))
    }
    if (weights.pxy > 0) {
      const streams = { rows: STREAM.classBufferRows, reinit: STREAM.classBufferReinit, start: STREAM.classStart }
      this.writeChains(
        r,
        'joint',
        replay.draw(r, key, batch, streams, this.randomClasses(key, STREAM.classBufferClasses)),
      )
    }
  }

  private randomClasses(key: Tensor, stream: number): Tensor {
    return ops.randomInt(key, [this.settings.batch], { stream, bound: this.settings.replay.classes })
  }

  private writeChains(r: Recorder, name: string, chains: { x: Tensor; rows: Tensor; classes: Tensor }): void {
    r.write(`chain/${name}`, chains.x)
    r.write(`chain/${name}Rows`, chains.rows)
    r.write(`chain/${name}Classes`, chains.classes)
  }

  /** Names of the chain sets in use, and whether each is conditioned on its classes. */
  private chainSets(): { name: string; conditional: boolean; stream: number }[] {
    const { weights, classConditional } = this.settings
    const sets: { name: string; conditional: boolean; stream: number; weight: number }[] = [
      { name: 'marginal', conditional: classConditional, stream: STREAM.chain, weight: weights.px },
    ]
    sets.push({ name: 'joint', conditional: true, stream: STREAM.classChain, weight: weights.pxy })
    return sets.filter((s) => s.weight > 0)
  }

  chains(): readonly ChainRound[] {
    const { sampler, chainNorm } = this.settings
    return this.chainSets().map(({ name, conditional, stream }) =>
      samplerRound({
        name,
        sampler,
        stream,
        target: (r) => {
          const variables = new Variables((v) => r.read(v.name))
          const classes = conditional ? { classes: r.read(`chain/${name}Classes`) } : {}
          return networkTarget(
            this.network,
            { variables, norm: chainNorm },
            { firstStage: sampler.firstStage, ...classes },
          )
        },
      }),
    )
  }

  objective(r: Recorder, of: ModuleVariables): Objective {
    const variables = of()
    const { weights, statisticsMomentum, energyLimit, crossEntropyLimit } = this.settings
    const maps: Map<string, Tensor>[] = []
    const pass = (stream: 'data' | 'negatives') => {
      const statistics = new Map<string, Tensor>()
      if (stream === 'data') maps.push(statistics)
      return { variables, norm: 'batch' as const, ...(stream === 'data' ? { statistics } : {}) }
    }
    const { loss, ...metrics } = jemLoss(this.network, pass, this.batches(r), weights)
    const drift: Record<string, Tensor> = {}
    if (metrics.energyNegatives !== undefined && !this.settings.classConditional) {
      drift.chainDrift = ops.sub(metrics.energyNegatives, r.read('chain/marginalStartEnergy'))
    }
    const limits = {
      energyData: energyLimit,
      energyNegatives: energyLimit,
      ...(weights.pyx > 0 ? { crossEntropy: crossEntropyLimit } : {}),
    }
    const guards = Object.entries(limits)
      .filter(([name]) => name in metrics)
      .map(([name, limit]) => ({ name, limit }))
    return {
      loss,
      metrics: { ...metrics, ...drift },
      statistics: foldStatistics(variables, maps, statisticsMomentum),
      guards,
    }
  }

  private batches(r: Recorder): JemBatches {
    const { weights } = this.settings
    return {
      ...(weights.px > 0 ? { data: r.read('batch/data'), negatives: r.read('chain/marginal') } : {}),
      ...(weights.pyx > 0 || weights.pxy > 0
        ? { labelled: r.read('batch/labelled'), labels: r.read('batch/labels') }
        : {}),
      ...(weights.pxy > 0
        ? { classNegatives: r.read('chain/joint'), negativeClasses: r.read('chain/jointClasses') }
        : {}),
    }
  }

  after(r: Recorder): void {
    const sets = this.chainSets()
    if (sets.length === 0) return
    let buffer = r.read(BUFFER)
    for (const { name } of sets)
      buffer = this.settings.replay.put(buffer, r.read(`chain/${name}Rows`), r.read(`chain/${name}`))
    r.write(BUFFER, buffer)
  }
}

/** Fills in the defaults that do not differ between the trainers, and checks values. */
export function resolveJem(
  options: JemOptions,
  network: Network,
  data: Pick<DataDescription, 'shape' | 'classes' | 'range'>,
  start: StartOptions,
): ResolvedJem {
  const { batch = DEFAULT_BATCH, classConditional = false, chainNorm = 'batch', statisticsMomentum = 0.1 } = options
  checkInteger('batch', batch, 1)
  const weights = { px: 1, pyx: 1, pxy: 0, energyPenalty: 0, ...options.weights }
  for (const [name, v] of Object.entries(weights)) {
    if (!(Number.isFinite(v) && v >= 0)) throw new RangeError(`weights.${name} must be a finite number ≥ 0; got ${v}`)
  }
  if (weights.px + weights.pyx + weights.pxy === 0)
    throw new RangeError('weights: px, pyx and pxy are all 0, so nothing would be trained')
  if (!(statisticsMomentum > 0 && statisticsMomentum <= 1))
    throw new RangeError(`statisticsMomentum must be in (0, 1]; got ${statisticsMomentum}`)
  const colour = data.shape.length === 3 && data.shape[0] === 3
  const usual: Augmentation = colour ? { pad: 4, flip: true, noise: 0.03 } : { noise: 0.03 }
  const sampler = makeSampler(options.sampler ?? { kind: 'pyld' })
  if (sampler.firstStage >= network.stages.length)
    networkTarget(network, { variables: new Variables(), norm: 'running' }, sampler)
  return {
    batch,
    sampler,
    replay: new Replay({ start, ...options.buffer }, data),
    weights,
    classConditional,
    chainNorm,
    statisticsMomentum,
    augmentation: {
      data: { ...usual, ...options.augmentation?.data },
      labelled: { ...usual, ...options.augmentation?.labelled },
    },
    energyLimit: recoveryDefaults(options.recovery).energyLimit,
    crossEntropyLimit: crossEntropyLimit(options.recovery, network.classes),
  }
}

function checkData(network: Network, settings: ResolvedJem, data: DataDescription): void {
  checkExamples(network, data)
  const { weights, classConditional } = settings
  if (weights.pyx > 0 || weights.pxy > 0 || classConditional)
    checkLabelled(
      network,
      data,
      'a JEM trainer with pyx, pxy or classConditional',
      'set weights.pyx and weights.pxy to 0',
    )
}
