/**
 * Noise-contrastive estimation (Gutmann & Hyvärinen 2010): the energy learned by telling data from noise of known density, log Z along with it.
 * No chains in training. The noise is noise-distribution.ts's, the loss objectives/noise-contrastive.ts's; a noise that learns too is
 * flow-contrastive.ts's.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Flow } from '../nn/flow.ts'
import type { FlowModel } from '../nn/flow-model.ts'
import type { Model } from '../nn/model.ts'
import type { VariableSpec } from '../nn/variables.ts'
import { type ContrastiveDensities, noiseContrastive } from '../objectives/noise-contrastive.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import { positive } from '../runtime/check-options.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { ChainStarts } from './chain-starts.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import { FLOW, flowSampling, likelihoodPhase, trainedFlow } from './flow-module.ts'
import type {
  Method,
  MethodContext,
  MethodDefinition,
  Module,
  ModuleVariables,
  SamplingCode,
  Segment,
} from './method.ts'
import {
  LOG_Z,
  makeNoise,
  type Noise,
  type NoiseOptions,
  NoiseStarts,
  noiseSchema,
  plainNoise,
} from './noise-distribution.ts'
import type { SampleOptions } from './sampling.ts'
import { energyFields } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

/** The module that holds log Z. */
export const NOISE = 'noise'

const logZSpec: VariableSpec = { name: LOG_Z, shape: [], init: { kind: 'constant', value: 0 }, role: 'parameter' }

/** The trained c ≈ log Z as a graph scalar. */
export function logZOf(variables: ModuleVariables): Tensor {
  return variables(NOISE).get(logZSpec)
}

export interface ContrastiveOptions extends EnergyOptions {
  /**
   * log Z to begin with, in nats; default 0. It is trained with the energy, whose own constant (a last bias) it shares the work with: the two
   * together are what is learned, and the model's energies stay unnormalised: log p(x) = -E(x) - log Z.
   */
  readonly logZ?: number
}

/**
 * Methods that contrast data with noise: the draws of both, their densities under model and noise, and sampling, whose chains begin at the noise
 * unless `sampling.start` says otherwise. What is made of the densities is each method's own.
 */
export abstract class ContrastiveMethod<Options extends ContrastiveOptions> extends EnergyMethod<Options> {
  readonly modules: readonly Module[]
  readonly trains: readonly string[] = ['', NOISE]
  readonly noise: Noise
  /** Draws of noise in a step. */
  protected readonly noiseCount: number
  protected override readonly starts: ChainStarts

  constructor(context: MethodContext<Options>, noise: Noise, ratio: number) {
    super(context)
    const { logZ = 0, sampling } = context.options
    if (!Number.isFinite(logZ)) throw new RangeError(`logZ must be a finite number; got ${String(logZ)}`)
    if (!(ratio > 0 && Number.isFinite(ratio))) throw new RangeError(`ratio must be a positive number; got ${ratio}`)
    this.noise = noise
    this.noiseCount = Math.round(ratio * this.batch)
    checkInteger(`ratio ${ratio}: noise draws a step`, this.noiseCount, 1)
    const values = new Map([[LOG_Z, hostTensor(Float32Array.of(logZ), [])]])
    this.modules = [{ name: NOISE, variables: [logZSpec], values }, ...noise.modules]
    this.starts =
      sampling?.start === undefined
        ? new NoiseStarts(noise, context.data)
        : new ChainStarts(sampling.start, context.data)
  }

  override async setup(state: State, data: Dataset): Promise<void> {
    await super.setup(state, data)
    await this.noise.setup(state, data)
  }

  /** Draws the batch of data alone. */
  protected drawData(r: Recorder, key: Tensor): Tensor {
    return super.draw(r, key)
  }

  override draw(r: Recorder, key: Tensor): Tensor {
    const data = this.drawData(r, key)
    const { x, logDensity } = this.noise.sample(r, key, this.noiseCount, STREAM.noise)
    r.write('batch/noise', x)
    r.write('batch/noiseLogNoise', logDensity)
    r.write('batch/dataLogNoise', this.noise.logDensity(r, data))
    return data
  }

  /** The loss of four log densities. */
  protected abstract contrast(densities: ContrastiveDensities): Terms

  protected terms({ r, variables, x, energies: both }: LossContext): Terms {
    const [energyData, energyNoise] = both(x, r.read('batch/noise'))
    const c = logZOf(variables)
    const { loss, metrics } = this.contrast({
      logModelData: ops.neg(ops.add(energyData, c)),
      logModelNoise: ops.neg(ops.add(energyNoise, c)),
      logNoiseData: r.read('batch/dataLogNoise'),
      logNoiseNoise: r.read('batch/noiseLogNoise'),
    })
    const energies = { energyData: ops.mean(energyData), energyNegatives: ops.mean(energyNoise) }
    return { loss, metrics: { ...metrics, logZ: c, ...energies } }
  }

  /** The steps before `until` fit the noise's flow by maximum likelihood. */
  protected likelihoodSegment(until: number, optimizer: OptimizerOptions | undefined): readonly Segment[] {
    const { flow } = this.noise
    if (flow === undefined || until === 0) return []
    const draw = (r: Recorder, key: Tensor): void => void this.drawData(r, key)
    return [{ name: 'likelihood', until, phases: [likelihoodPhase({ flow, optimizer, draw })] }]
  }

  override sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    const { flow } = this.noise
    const from = this.sourceOf(options)
    if (flow === undefined || from !== 'model') return super.sampling(state, { ...options, from })
    if (options.class !== undefined)
      throw new LangevinError('E_CONFIG', "sample: the flow knows no classes; use from: 'start' for samples of a class")
    return flowSampling(state, flow, this.options.sampling?.chains ?? 256)
  }
}

export interface NoiseContrastiveOptions extends ContrastiveOptions {
  /** Default `{ kind: 'gaussian' }`, fitted to the data. */
  readonly noise?: NoiseOptions
  /** ν, noise draws a datum; default 1. With more the estimate comes nearer maximum likelihood's (ν → ∞), but a step costs more and learning starts slower. */
  readonly ratio?: number
}

class NoiseContrastiveMethod extends ContrastiveMethod<NoiseContrastiveOptions> {
  private readonly ratio: number

  constructor(context: MethodContext<NoiseContrastiveOptions>) {
    const { noise = { kind: 'gaussian' }, ratio = 1, seed = 0 } = context.options
    super(context, makeNoise(noise, context.data, seed), ratio)
    // What is drawn is a whole number.
    this.ratio = this.noiseCount / this.batch
  }

  protected contrast(densities: ContrastiveDensities): Terms {
    return noiseContrastive({ ...densities, ratio: this.ratio })
  }

  override segments(): readonly Segment[] {
    const { noise } = this.options
    const training = { name: 'training', until: Number.POSITIVE_INFINITY, phases: [this] }
    if (noise?.kind !== 'flow') return [training]
    const given = this.noise.modules.some((m) => m.name === FLOW && m.values !== undefined)
    const { steps = given ? 0 : 1000, optimizer = { kind: 'adam', learningRate: 1e-3 } } = noise
    checkInteger('noise.steps', steps, 0)
    return [...this.likelihoodSegment(steps, optimizer), training]
  }
}

/** Noise-contrastive estimation; Adam 1e-3. */
export const noiseContrastiveMethod: MethodDefinition<NoiseContrastiveOptions> = {
  name: 'noiseContrastive',
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3 } },
  epochs: 100,
  schema: z.strictObject({
    ...energyFields,
    logZ: z.number().optional(),
    noise: noiseSchema.optional(),
    ratio: positive.optional(),
  }),
  create: (context) => new NoiseContrastiveMethod(context),
}

/**
 * Trains an energy by noise-contrastive estimation; see {@link NoiseOptions} for the noise.
 * Metrics: loss (a logistic loss; (1 + ν)·log(1 + ν) - ν·log ν where data and noise cannot be told apart), `accuracy` (of all), `accuracyData`,
 * `accuracyNoise`, `logitData`, `logitNoise`, `logZ`, `energyData`, `energyNegatives` (of the noise). An accuracy near 1 means that the noise is too far
 * from the data: take a closer one. Steps that fit a flow report loss = -`flowLogLikelihood`. Cost of a step: 3·(1 + ν) forward passes.
 * @example new NoiseContrastive(mlp({ inputs: 2 }), { noise: { kind: 'mixture', components: 8 }, ratio: 4 })
 */
export class NoiseContrastive extends Trainer<NoiseContrastiveOptions> {
  constructor(model: Model, options: NoiseContrastiveOptions = {}) {
    super(noiseContrastiveMethod, model, options.noise ? { ...options, noise: plainNoise(options.noise) } : options)
  }

  /** The learned log Z of the model, in nats: log p(x) = -E(x) - log Z. Of an opened run: `run.moduleValues('noise').get('log_z')`. */
  async logZ(): Promise<number> {
    return (await this.moduleValues(NOISE)).get(LOG_Z)?.data[0] as number
  }

  /** The flow that is the noise, with its weights. @throws LangevinError E_CONFIG before `fit` and for other noise */
  async flow(): Promise<FlowModel> {
    return trainedFlow(flowOf(this.trainedMethod('flow')), await this.moduleValues(FLOW), this.model.device)
  }
}

/** The flow of a method whose noise is one. */
export function flowOf(method: Method): Flow {
  const flow = method instanceof ContrastiveMethod ? (method.noise as Noise).flow : undefined
  if (flow === undefined)
    throw new LangevinError('E_CONFIG', "flow: the noise of this run is no flow; train with noise: { kind: 'flow' }")
  return flow
}
