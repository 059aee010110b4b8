/**
 * Adversarial (variational) training: the energy ascends an upper bound of the mean log likelihood that a sampler q tightens, with no Markov
 * chain (VERA: Grathwohl, Kelly, Hashemi, Norouzi, Swersky & Duvenaud, ICLR 2021, arXiv 2010.04230; with a flow in place of the generator
 * the entropy is exact). For energies alone and for joint models of labelled data (JEM without MCMC). q itself is adversarial-q.ts's.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import { Flow } from '../nn/flow.ts'
import type { FlowModel } from '../nn/flow-model.ts'
import { Generator } from '../nn/generator.ts'
import { GeneratorModel } from '../nn/generator-model.ts'
import { activationNames } from '../nn/layer.ts'
import type { Model } from '../nn/model.ts'
import { flowSchema } from '../nn/schema.ts'
import { gradientPenalty, variationalBound } from '../objectives/adversarial.ts'
import { crossEntropy } from '../objectives/classification.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import { amount, count, positive } from '../runtime/check-options.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { GENERATOR, makeQ, NEGATIVES, type Q, type SamplerQ, stateVariables } from './adversarial-q.ts'
import { type Augmentation, augment, checkLabelled, DATA, LABELS, orderedRows, takeRows } from './batches.ts'
import { ChainStarts } from './chain-starts.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import { FLOW, plainFlow, trainedFlow } from './flow-module.ts'
import type {
  MethodContext,
  MethodDefinition,
  Module,
  ModuleVariables,
  Objective,
  SamplingCode,
  Segment,
} from './method.ts'
import { crossEntropyLimit } from './options.ts'
import type { Run } from './run.ts'
import { exactSampling, type SampleOptions } from './sampling.ts'
import { augmentationSchema, energyFields, optimizerSchema } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

/** Weights of the two factors of a joint model. */
export interface AdversarialWeights {
  /** log p(x), with its gradient penalty; default 1. */
  readonly px: number
  /** log p(y|x), cross entropy on the labelled stream; default 1 for a classifier, 0 for an energy. */
  readonly pyx: number
}

export interface AdversarialOptions extends EnergyOptions {
  /** The sampler that the energy is trained against; default VERA's generator with its published settings. */
  readonly q?: SamplerQ
  /** Updates of q for one of the energy; default 1, as published. */
  readonly qSteps?: number
  /**
   * γ of the penalty γ·mean ‖∇x E‖² on data, in 1/units of x²; default 0.1 as published for images in [-1, 1] (the published code has γ/2). Where
   * the data are sharp in their units, as mixtures of narrow components are, it must be smaller: it costs γ·tr(Σ⁻¹) for a Gaussian.
   */
  readonly gradientPenalty?: number
  readonly weights?: Partial<AdversarialWeights>
  /** What is done to the labelled stream; default `augmentation`. */
  readonly labelledAugmentation?: Augmentation
}

class AdversarialMethod extends EnergyMethod<AdversarialOptions> {
  override readonly exact = true
  readonly q: Q
  readonly modules: readonly Module[]
  private readonly weights: AdversarialWeights
  private readonly penalty: number
  /** Chains begin at q unless the options say otherwise, so that nothing need be estimated for them. */
  protected override readonly starts: ChainStarts

  constructor(context: MethodContext<AdversarialOptions>) {
    super(context)
    const { network, options, data } = context
    const { qSteps = 1, gradientPenalty: penalty = 0.1, weights } = options
    checkInteger('qSteps', qSteps, 1)
    if (!network.variables.some((v) => v.role === 'parameter'))
      throw new LangevinError(
        'E_CONFIG',
        `adversarial: network '${network.config.kind}' has no parameters to train; declare some through the scope`,
      )
    this.penalty = penalty
    this.weights = { px: 1, pyx: network.classes > 0 ? 1 : 0, ...weights }
    for (const [name, v] of Object.entries({ ...this.weights, gradientPenalty: penalty }))
      if (!(Number.isFinite(v) && v >= 0)) throw new RangeError(`${name} must be a finite number ≥ 0; got ${v}`)
    if (this.weights.px === 0)
      throw new RangeError('weights.px must be positive; got 0, which would train q and a classifier apart')
    if (this.weights.pyx > 0) checkLabelled(network, data, 'adversarial with weights.pyx', 'set weights.pyx to 0')
    this.q = makeQ(options.q ?? { kind: 'generator' }, data)
    this.modules = this.q.modules
    const { start } = options.sampling ?? {}
    this.starts = start === undefined ? new QStarts(this.q, data) : new ChainStarts(start, data)
  }

  override segments(): readonly Segment[] {
    const { norm = 'batch', qSteps = 1 } = this.options
    const opponent = {
      batch: this.batch,
      steps: qSteps,
      energy: (variables: ReturnType<ModuleVariables>, x: Tensor) => this.network.energy(x, { variables, norm }),
    }
    return [{ name: 'training', until: Number.POSITIVE_INFINITY, phases: [this, ...this.q.phases(opponent)] }]
  }

  override async setup(state: State, data: Dataset): Promise<void> {
    await super.setup(state, data)
    if (this.weights.pyx > 0 && data.labels !== undefined)
      await state.put(LABELS, hostTensor(data.labels, [data.count]), false)
  }

  override draw(r: Recorder, key: Tensor): Tensor {
    const data = super.draw(r, key)
    this.q.draw(r, key, this.batch)
    if (this.weights.pyx > 0) {
      const rows = orderedRows(key, this.data.count, this.batch, STREAM.labelledOrder)
      const x = takeRows(r.read(DATA), rows, this.normalization)
      const { labelledAugmentation = this.options.augmentation ?? {} } = this.options
      r.write('batch/labelled', augment(x, labelledAugmentation, key, STREAM.augmentLabelled))
      r.write('batch/labels', ops.gather(r.read(LABELS), rows, { axis: 0 }))
    }
    return data
  }

  protected terms({ r, x, energy, energies, foreignEnergy, logits }: LossContext): Terms {
    const { px, pyx } = this.weights
    const drawn = r.read(NEGATIVES)
    // The penalty needs the pass over the data by itself, and shares it.
    const [onData, onDrawn] = this.penalty > 0 ? [energy(x), foreignEnergy(drawn)] : energies(x, drawn)
    // The entropy is q's alone; its phase reports it with the bound. Here the loss is the bound's part that the energy has a say in.
    const { loss, metrics } = variationalBound({
      energyData: onData,
      energyModel: onDrawn,
      entropy: ops.constant(0),
    })
    const { energyData, energyModel: energyNegatives, energyGap } = metrics as Record<string, Tensor>
    const parts: Terms[] = [
      { loss: ops.mul(loss, px), metrics: { energyData, energyNegatives, energyGap } as Record<string, Tensor> },
    ]
    if (this.penalty > 0) parts.push(gradientPenalty(foreignEnergy, x, px * this.penalty))
    if (pyx > 0) {
      const ce = crossEntropy(logits(r.read('batch/labelled')), r.read('batch/labels'))
      parts.push({ loss: ops.mul(ce.loss, pyx), metrics: ce.metrics })
    }
    return {
      loss: parts.map((p) => p.loss).reduce((a, b) => ops.add(a, b)),
      metrics: Object.assign({}, ...parts.map((p) => p.metrics)) as Terms['metrics'],
    }
  }

  override objective(r: Recorder, variables: ModuleVariables, key: Tensor): Objective {
    const made = super.objective(r, variables, key)
    if (this.weights.pyx === 0) return made
    const limit = crossEntropyLimit(this.options.recovery, this.network.classes)
    return { ...made, guards: [...(made.guards ?? []), { name: 'crossEntropy', limit }] }
  }

  override async sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    const from = this.sourceOf(options)
    const { chains = 256 } = this.options.sampling ?? {}
    if (from !== 'model') return super.sampling(state, { ...options, from })
    if (options.class !== undefined)
      throw new LangevinError(
        'E_CONFIG',
        `sample: q draws from p(x), not of class ${options.class}; use from: 'start', chains of p(x|y) that begin at q`,
      )
    return exactSampling(state, (r, key) => this.q.sample(stateVariables(r), key, chains, STREAM.noise))
  }
}

/** Chains that begin at exact draws of q. */
class QStarts extends ChainStarts {
  private readonly q: Q

  constructor(q: Q, data: ConstructorParameters<typeof ChainStarts>[1]) {
    super({ kind: 'uniform' }, data)
    this.q = q
  }

  override plain(): undefined {
    return undefined
  }

  override draw(r: Recorder, key: Tensor, classes: Tensor, _mask: Tensor, stream: number): Tensor {
    return this.q.sample(stateVariables(r), key, classes.shape[0] as number, stream)
  }
}

const flowQ = z.strictObject({
  kind: z.literal('flow'),
  flow: flowSchema.optional(),
  optimizer: optimizerSchema.optional(),
})
const generatorQ = z.strictObject({
  kind: z.literal('generator'),
  network: z.enum(['mlp', 'conv']).optional(),
  latent: count.optional(),
  hidden: z.array(count).optional(),
  channels: z.array(count).min(1).optional(),
  norm: z.enum(['none', 'layer', 'instance', 'group']).optional(),
  activation: z.enum(activationNames as [string, ...string[]]).optional(),
  output: z.enum(['identity', 'tanh']).optional(),
  init: z.enum(['fanIn', 'kaiming', 'xavier']).optional(),
  scale: z.union([positive, z.array(positive)]).optional(),
  shift: z.union([z.number(), z.array(z.number())]).optional(),
  noise: z
    .strictObject({ smallest: positive.optional(), largest: positive.optional(), initial: positive.optional() })
    .optional(),
  eta: positive.optional(),
  samples: count.optional(),
  sharedSamples: z.int().min(0).optional(),
  entropyWeight: amount.optional(),
  optimizer: optimizerSchema.optional(),
  posteriorOptimizer: optimizerSchema.optional(),
})

/**
 * Adversarial training with VERA's settings: Adam with betas (0, 0.9) for both players, one update each, no entropy weight, K = 20. For JEM
 * without MCMC on CIFAR-10 it was published with a WRN-28-10 without norms, 200 epochs, × 0.3 at 160 and 180.
 */
export const adversarialMethod: MethodDefinition<AdversarialOptions> = {
  name: 'adversarial',
  classifier: true,
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3, betas: [0, 0.9] } },
  epochs: 200,
  schema: z.strictObject({
    ...energyFields,
    q: z.discriminatedUnion('kind', [flowQ, generatorQ]).optional(),
    qSteps: count.optional(),
    gradientPenalty: amount.optional(),
    weights: z.strictObject({ px: amount.optional(), pyx: amount.optional() }).optional(),
    labelledAugmentation: augmentationSchema.optional(),
  }),
  create: (context) => new AdversarialMethod(context),
}

/**
 * Trains an energy against a sampler q that is trained with it, without Markov chains; see {@link AdversarialOptions}.
 * Metrics: `energyData`, `energyNegatives` (at q's samples), `energyGap`, `gradientPenalty` (mean ‖∇x E‖² on data, before its weight), `bound`
 * (an upper bound of the mean log likelihood where the entropy is exact, in nats; it falls as q learns and rises as the energy does), `entropy`
 * of q; for a flow `flowLoss` (minus the lower bound of log Z); for a generator `effectiveSamples` (of K: near 1 the entropy's gradient is
 * poor, and η or σ too small or large), `elbo`, `sigma`, `eta`, `generatorLoss`, `posteriorLoss`; for a classifier `crossEntropy`, `accuracy`.
 * `loss` is energyData - energyNegatives with its penalties; it hovers about zero and says nothing of progress.
 * Cost of a step, in forward passes of the energy: 12 (6 without the penalty) and 3 for each of q's `qSteps`; a generator adds K + 6 of its own.
 * Samples are exact draws of q (`from: 'model'`, default), or chains on the energy that begin at q (`from: 'start'`, and for a class).
 * @example new Adversarial(mlp({ inputs: 2 }), { q: { kind: 'flow', flow: { kind: 'spline' } }, gradientPenalty: 0 })
 */
export class Adversarial extends Trainer<AdversarialOptions> {
  constructor(model: Model, options: AdversarialOptions = {}) {
    const { q } = options
    super(
      adversarialMethod,
      model,
      q?.kind === 'flow' && q.flow ? { ...options, q: { ...q, flow: plainFlow(q.flow) } } : options,
    )
  }

  /** The flow as trained, with its exact density and draws. Of an opened run: `flowOfRun(run)`. @throws LangevinError E_CONFIG where q is a generator, or before `fit` */
  async flow(): Promise<FlowModel> {
    const { q } = this.trainedMethod('flow') as AdversarialMethod
    if (!(q.network instanceof Flow))
      throw new LangevinError('E_CONFIG', 'flow: q is a generator in this run; use generator()')
    return trainedFlow(q.network, await this.moduleValues(FLOW), this.model.device)
  }

  /** The generator as trained. Of an opened run: {@link generatorOfRun}. @throws LangevinError E_CONFIG where q is a flow, or before `fit` */
  async generator(): Promise<GeneratorModel> {
    const { q } = this.trainedMethod('generator') as AdversarialMethod
    if (!(q.network instanceof Generator)) throw noGenerator()
    return new GeneratorModel(q.network, { device: this.model.device, values: await this.moduleValues(GENERATOR) })
  }
}

/** The generator of an opened run of adversarial training. @throws LangevinError E_CONFIG for a run that trained none */
export function generatorOfRun(run: Run): GeneratorModel {
  const { method, options, data } = run.description
  const { q = { kind: 'generator' } } = options as AdversarialOptions
  if (method !== adversarialMethod.name || q.kind !== 'generator') throw noGenerator()
  return new GeneratorModel(makeQ(q, data).network as Generator, {
    device: run.model.device,
    values: run.moduleValues(GENERATOR),
  })
}

function noGenerator(): LangevinError {
  return new LangevinError('E_CONFIG', 'generator: this run trained none; if its q is a flow, use flow() or flowOfRun')
}
