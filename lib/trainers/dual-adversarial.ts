/**
 * Dual adversarial training (DAT; Yin 2025): a classifier that is robust and an energy-based model at once. Stage one is adversarial training;
 * stage two goes on from it, norms frozen, with the energy -logsumexp f(x) told apart from contrastive samples made by gradient ascent on it.
 */
import { grad } from '../autodiff/index.ts'
import type { Dataset } from '../data/dataset.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import { foldStatistics } from '../nn/statistics.ts'
import { type Pass, Variables } from '../nn/variables.ts'
import { gradientPenalty } from '../objectives/adversarial.ts'
import { accuracy, crossEntropy } from '../objectives/classification.ts'
import { areaUnderCurve, contrastiveLogistic } from '../objectives/dual-adversarial.ts'
import * as ops from '../ops/index.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { ScheduleOptions } from '../optim/schedules.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { attackLoss, attackStart, attackStep, makeNormalizedAscent } from '../samplers/attacks.ts'
import { networkTarget } from '../samplers/target.ts'
import {
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
import { CONTRAST_STEPS, ContrastSchedule } from './contrast-schedule.ts'
import { ContrastSource, plainContrast } from './contrast-source.ts'
import {
  type DualAdversarialOptions,
  dualAdversarialSchema,
  resolveOptions,
  type Settings,
} from './dual-adversarial-options.ts'
import type {
  ChainRound,
  Method,
  MethodContext,
  MethodDefinition,
  ModuleVariables,
  Objective,
  Phase,
  SamplingCode,
  Segment,
  StepPlan,
} from './method.ts'
import type { SampleOptions } from './sampling.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

export type { ContrastAscentOptions, DualAdversarialOptions } from './dual-adversarial-options.ts'

/** What the two stages share: the labelled stream and the attack on it. */
class AdversarialPhase implements Phase {
  readonly name = ''
  protected readonly network: Network
  protected readonly settings: Settings
  protected readonly data: DataDescription
  protected readonly normalization: Normalization
  /** Of the norms, in the attack and in the loss. */
  protected readonly norm: Pass['norm']

  constructor(network: Network, settings: Settings, data: DataDescription, norm: Pass['norm'] = 'batch') {
    this.network = network
    this.settings = settings
    this.data = data
    this.normalization = normalizationOf(data.range)
    this.norm = norm
  }

  draw(r: Recorder, key: Tensor): void {
    const { augmentation, attack } = this.settings
    const { x, labels } = this.rows(r, key, STREAM.labelledOrder)
    const labelled = augment(x, augmentation.labelled, key, STREAM.augmentLabelled)
    r.write('batch/labelled', labelled)
    r.write('batch/labels', labels)
    r.write('batch/attacked', attack.randomStart ? attackStart(labelled, attack, key, STREAM.attack) : labelled)
  }

  protected rows(r: Recorder, key: Tensor, stream: number): { x: Tensor; labels: Tensor } {
    const rows = orderedRows(key, this.data.count, this.settings.batch, stream)
    return {
      x: takeRows(r.read(DATA), rows, this.normalization),
      labels: ops.gather(r.read(LABELS), rows, { axis: 0 }),
    }
  }

  chains(): readonly ChainRound[] {
    const { attack } = this.settings
    const record = (r: Recorder): void => {
      const x = r.read('batch/attacked')
      const logits = this.network.logits(x, this.pass(r))
      const loss = attackLoss(attack.loss, logits, r.read('batch/labels'))
      const [gradient] = grad(ops.sum(loss), [x]) as [Tensor]
      r.write('batch/attacked', attackStep(x, gradient, r.read('batch/labelled'), attack))
      r.write('chain/attackEnergy', ops.mean(ops.softmaxCrossEntropy(logits, r.read('batch/labels'))))
    }
    return [{ name: 'attack', steps: attack.steps, record }]
  }

  protected pass(r: Recorder): Pass {
    return { variables: new Variables((v) => r.read(v.name)), norm: this.norm }
  }

  /** Cross entropy under attack, with its metrics. */
  protected attacked(r: Recorder, pass: Pass): { loss: Tensor; metrics: Record<string, Tensor> } {
    const { attack } = this.settings
    const labels = r.read('batch/labels')
    const logits = this.network.logits(r.read('batch/attacked'), pass)
    const { loss } = crossEntropy(logits, labels)
    const gain = attack.steps > 0 ? { attackGain: ops.sub(loss, r.read('chain/attackStartEnergy')) } : {}
    return { loss, metrics: { crossEntropy: loss, robustAccuracy: accuracy(logits, labels), ...gain } }
  }

  protected guards(): { name: string; limit: number }[] {
    const { crossEntropyLimit: limit } = this.settings
    return limit === undefined ? [] : [{ name: 'crossEntropy', limit }]
  }

  objective(r: Recorder, of: ModuleVariables): Objective {
    const variables = of()
    const statistics = new Map<string, Tensor>()
    const { loss, metrics } = this.attacked(r, { variables, norm: this.norm, statistics })
    const folded = foldStatistics(variables, [statistics], this.settings.statisticsMomentum)
    return { loss, metrics, statistics: folded, guards: this.guards() }
  }

  after(_: Recorder): void {}
}

const CONTRAST = 'chain/contrast'

/** Stage two: norms keep the statistics of stage one, in every pass. */
class DualPhase extends AdversarialPhase {
  readonly optimizer: OptimizerOptions
  readonly schedule: ScheduleOptions
  private readonly source: ContrastSource
  private readonly hardness: ContrastSchedule

  constructor(
    network: Network,
    settings: Settings,
    data: DataDescription,
    parts: { dual: DualAdversarialOptions['dual']; source: ContrastSource; hardness: ContrastSchedule },
  ) {
    super(network, settings, data, 'running')
    const { optimizer, schedule = { kind: 'constant' } } = parts.dual ?? {}
    this.optimizer = optimizer ?? {
      kind: 'sgd',
      learningRate: 1e-3,
      momentum: 0.9,
      nesterov: true,
      weightDecay: 5e-4,
    }
    this.schedule = schedule
    this.source = parts.source
    this.hardness = parts.hardness
  }

  override draw(r: Recorder, key: Tensor): void {
    super.draw(r, key)
    const { x, labels } = this.rows(r, key, STREAM.dataOrder)
    r.write('batch/data', augment(x, this.settings.augmentation.data, key, STREAM.augmentData))
    r.write('batch/dataLabels', labels)
    r.write(CONTRAST, this.source.draw(r, key, labels))
  }

  override chains(): readonly ChainRound[] {
    const { of, stepSize, most } = this.settings.ascent
    const bounds = this.settings.attack.bounds
    const sampler = makeNormalizedAscent({ kind: 'normalizedAscent', stepSize, bounds, steps: Math.max(1, most) })
    const ascent = samplerRound({
      name: 'contrast',
      sampler,
      steps: { from: CONTRAST_STEPS },
      stream: STREAM.chain,
      target: (r) =>
        networkTarget(this.network, this.pass(r), of === 'label' ? { classes: r.read('batch/dataLabels') } : {}),
    })
    return [...super.chains(), ascent]
  }

  override objective(r: Recorder, of: ModuleVariables): Objective {
    const variables = of()
    const { weights, ascent, energyLimit } = this.settings
    const statistics = new Map<string, Tensor>()
    const pass = { variables, norm: this.norm, statistics }
    const [data, contrast] = ['batch/data', CONTRAST].map((name) => this.network.logits(r.read(name), pass)) as [
      Tensor,
      Tensor,
    ]
    const energyOf = (logits: Tensor) => this.network.energyOf(logits)
    const binary = contrastiveLogistic({ energyData: energyOf(data), energyNegatives: energyOf(contrast) })
    const attacked = this.attacked(r, pass)
    const auc = ascent.of === 'label' ? this.labelAuc(r, data, contrast) : (binary.metrics.auc as Tensor)
    const penalty =
      weights.gradientPenalty > 0
        ? gradientPenalty((x) => this.network.energy(x, pass), r.read('batch/data'), weights.gradientPenalty)
        : undefined
    const terms = [ops.mul(binary.loss, weights.binary), ops.mul(attacked.loss, weights.crossEntropy)]
    const limits = ['energyData', 'energyNegatives'].map((name) => ({ name, limit: energyLimit }))
    return {
      loss: [...terms, ...(penalty ? [penalty.loss] : [])].reduce((a, b) => ops.add(a, b)),
      metrics: { ...attacked.metrics, ...binary.metrics, auc, ...penalty?.metrics, ...this.hardness.metrics(r, auc) },
      // Batch norms leave nothing in running mode; spectral norms go on with their singular vectors.
      statistics: foldStatistics(variables, [statistics], 1),
      guards: [...limits, ...this.guards()],
    }
  }

  /** The AUC of f(x)[y]. */
  private labelAuc(r: Recorder, data: Tensor, contrast: Tensor): Tensor {
    const own = ops.oneHot(r.read('batch/dataLabels'), this.network.classes)
    const pick = (logits: Tensor) => ops.sum(ops.mul(logits, own), 1)
    return areaUnderCurve(pick(data), pick(contrast))
  }

  override after(r: Recorder): void {
    this.hardness.advance(r, r.read('metric/auc'))
  }
}

class DualAdversarialMethod implements Method {
  private readonly context: MethodContext<DualAdversarialOptions>
  private readonly settings: Settings
  private readonly source: ContrastSource
  private readonly hardness: ContrastSchedule

  constructor(context: MethodContext<DualAdversarialOptions>) {
    const { network, options, data } = context
    checkExamples(network, data)
    checkLabelled(network, data, 'a DualAdversarial trainer', 'use ContrastiveDivergence for an energy alone')
    this.context = context
    this.settings = resolveOptions(options, data)
    const { threshold, window, first, most } = this.settings.ascent
    const steps = Math.ceil(window / this.settings.batch)
    this.hardness = new ContrastSchedule({ threshold, first, most, window: steps })
    this.source = new ContrastSource(options.contrast, data, options.sampling?.start)
  }

  segments({ stepsPerEpoch }: StepPlan): readonly Segment[] {
    const { network, options, data } = this.context
    const parts = { dual: options.dual, source: this.source, hardness: this.hardness }
    const dual = new DualPhase(network, this.settings, data, parts)
    const until = Math.round((options.adversarialEpochs ?? 100) * stepsPerEpoch)
    const last: Segment = { name: 'dual', until: Number.POSITIVE_INFINITY, phases: [dual] }
    if (until === 0) return [last]
    return [{ name: 'adversarial', until, phases: [new AdversarialPhase(network, this.settings, data)] }, last]
  }

  async setup(state: State, data: Dataset): Promise<void> {
    await state.put(DATA, data.features, false)
    if (data.labels !== undefined) await state.put(LABELS, hostTensor(data.labels, [data.count]), false)
    await this.source.setup(state, data)
    await this.hardness.setup(state)
  }

  async reinitialize(_state: State, _seed: number): Promise<void> {}

  chain(): ChainSampling {
    const { sampling, ascent = {} } = this.context.options
    const { stepSize = this.settings.ascent.stepSize, chains: batch = 256 } = sampling ?? {}
    const { bounds } = this.settings.attack
    // As many as training has reached.
    const steps = sampling?.steps ?? { from: CONTRAST_STEPS }
    const perClass = ascent.of === 'label'
    const sampler = makeNormalizedAscent({ kind: 'normalizedAscent', stepSize, bounds })
    return { batch, sampler, starts: this.source.afterwards, norm: 'running', perClass, steps }
  }

  sampling(state: State, options: SampleOptions): Promise<SamplingCode> {
    return chainSampling(state, this.context.network, this.chain(), options)
  }
}

/** DAT with its published settings; stage one: SGD 0.1, × 0.1 at epochs 50 and 75, batch 128. */
export const dualAdversarialMethod: MethodDefinition<DualAdversarialOptions> = {
  name: 'dualAdversarial',
  classifier: true,
  defaults: {
    batch: 128,
    optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 5e-4 },
    schedule: { kind: 'step', milestones: [50, 75], gamma: 0.1 },
    ema: 0.999,
  },
  epochs: 200,
  schema: dualAdversarialSchema,
  create: (context) => new DualAdversarialMethod(context),
}

/**
 * Trains a classifier by dual adversarial training. Stage one's metrics: loss, `crossEntropy` and `robustAccuracy` under attack, `attackGain`
 * (what the attack adds to the cross entropy). Stage two's besides: `binaryCrossEntropy`, `auc` of data against contrastive samples and its
 * `runningAuc`, `contrastSteps` (T), `energyData`, `energyNegatives`, `energyGap`, with a weight `gradientPenalty`. The AUC hovers about the
 * threshold while T grows: T is the progress. The defaults are those published for CIFAR-10, in units of [-1, 1] images.
 * A step of stage two costs 2·(attack steps + T) forward passes for its samples and 9 for its loss.
 * @example new DualAdversarial(model, { contrast: otherImages, adversarialEpochs: 100 })
 */
export class DualAdversarial extends Trainer<DualAdversarialOptions> {
  constructor(model: Model, options: DualAdversarialOptions = {}) {
    const { contrast } = options
    super(
      dualAdversarialMethod,
      model,
      contrast === undefined ? options : { ...options, contrast: plainContrast(contrast) },
    )
  }
}
