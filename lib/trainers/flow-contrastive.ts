/**
 * Flow-contrastive estimation (Gao, Nijkamp, Kingma, Xu, Dai & Wu 2020): noise-contrastive estimation against a flow that is trained too, so that the
 * noise comes ever closer to the data. The game's value is objectives/flow-contrastive.ts's; the energy's phase is noise-contrastive.ts's.
 */
import { z } from 'zod'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Flow } from '../nn/flow.ts'
import type { FlowModel } from '../nn/flow-model.ts'
import type { Model } from '../nn/model.ts'
import { flowSchema } from '../nn/schema.ts'
import { flowContrastive } from '../objectives/flow-contrastive.ts'
import type { ContrastiveDensities } from '../objectives/noise-contrastive.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { Recorder } from '../runtime/state.ts'
import { augment, DATA, orderedRows, takeRows } from './batches.ts'
import { FLOW, type FlowSource, plainFlow, trainedFlow } from './flow-module.ts'
import type { MethodContext, MethodDefinition, ModuleVariables, Objective, Phase, Segment } from './method.ts'
import { ContrastiveMethod, type ContrastiveOptions, flowOf, logZOf, NOISE } from './noise-contrastive.ts'
import { flowNoise, LOG_Z } from './noise-distribution.ts'
import { energyFields, optimizerSchema } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

export interface FlowContrastiveOptions extends ContrastiveOptions {
  /**
   * The flow: a config (`{ kind: 'affineCoupling' | 'spline' | 'image', ... }`, see lib/nn/flows.ts), a flow built in code, or a FlowModel whose weights are
   * begun with. Default `{ kind: 'spline' }` on vectors, `{ kind: 'image' }` on images.
   */
  readonly flow?: FlowSource
  /** The flow's; default the energy's (`optimizer`). */
  readonly flowOptimizer?: OptimizerOptions
  /** Steps of the run, the first ones, that fit the flow by maximum likelihood before there is any contrast; default 1000. */
  readonly likelihoodSteps?: number
  /**
   * The flow is updated only in steps in which the energy tells data from the flow's draws with an accuracy above this, in [0, 1]; default 0.5, no
   * better than guessing. At 1 the flow is never updated again: noise-contrastive estimation with a fitted flow.
   */
  readonly threshold?: number
}

const FLOW_DATA = 'batch/flowData'

class FlowContrastiveMethod extends ContrastiveMethod<FlowContrastiveOptions> {
  override readonly exact = true
  private readonly flow: Flow
  private readonly threshold: number

  constructor(context: MethodContext<FlowContrastiveOptions>) {
    const noise = flowNoise(context.options.flow, context.data.shape)
    super(context, noise, 1)
    const { threshold = 0.5 } = context.options
    if (!(threshold >= 0 && threshold <= 1)) throw new RangeError(`threshold must be in [0, 1]; got ${threshold}`)
    this.flow = noise.flow
    this.threshold = threshold
  }

  protected contrast(densities: ContrastiveDensities): Terms {
    const { energyLoss: loss, metrics } = flowContrastive(densities)
    return { loss, metrics }
  }

  override segments(): readonly Segment[] {
    const { likelihoodSteps = 1000, flowOptimizer } = this.options
    checkInteger('likelihoodSteps', likelihoodSteps, 0)
    return [
      ...this.likelihoodSegment(likelihoodSteps, flowOptimizer),
      { name: 'contrastive', until: Number.POSITIVE_INFINITY, phases: [this, this.flowPhase()] },
    ]
  }

  private flowPhase(): Phase {
    const { flowOptimizer } = this.options
    return {
      name: 'flow',
      trains: [FLOW],
      ...(flowOptimizer ? { optimizer: flowOptimizer } : {}),
      draw: (r, key) => this.drawForFlow(r, key),
      chains: () => [],
      objective: (r, variables, key) => this.flowObjective(r, variables, key),
      after() {},
    }
  }

  private drawForFlow(r: Recorder, key: Tensor): void {
    const rows = orderedRows(key, this.data.count, this.batch, STREAM.flowOrder)
    const x = takeRows(r.read(DATA), rows, this.normalization)
    r.write(FLOW_DATA, augment(x, this.options.augmentation ?? {}, key, STREAM.augmentFlow))
  }

  /** The flow descends V with its draws reparametrised, where the energy has just told well enough. */
  private flowObjective(r: Recorder, variables: ModuleVariables, key: Tensor): Objective {
    const { norm = 'batch' } = this.options
    const pass = { variables: variables(FLOW), norm: 'batch' } as const
    const data = r.read(FLOW_DATA)
    const drawn = this.flow.sample(key, this.noiseCount, STREAM.flow, pass)
    const c = logZOf(variables)
    const logModel = (x: Tensor): Tensor =>
      ops.neg(ops.add(this.network.energy(x, { variables: variables(), norm }), c))
    const { flowLoss } = flowContrastive({
      logModelData: logModel(data),
      logModelNoise: logModel(drawn.x),
      logNoiseData: this.flow.logDensity(data, pass),
      logNoiseNoise: drawn.logDensity,
    })
    // The energy's phase, which comes before in the step, has left it there.
    const gate = ops.gt(r.read('metric/accuracy'), this.threshold)
    return { loss: flowLoss, metrics: { flowUpdates: ops.cast(gate, 'float32') }, gate }
  }
}

/** Flow-contrastive estimation; Adam 1e-3 for both. */
export const flowContrastiveMethod: MethodDefinition<FlowContrastiveOptions> = {
  name: 'flowContrastive',
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3 } },
  epochs: 100,
  schema: z.strictObject({
    ...energyFields,
    logZ: z.number().optional(),
    flow: flowSchema.optional(),
    flowOptimizer: optimizerSchema.optional(),
    likelihoodSteps: z.int().min(0).optional(),
    threshold: z.number().min(0).max(1).optional(),
  }),
  create: (context) => new FlowContrastiveMethod(context),
}

/**
 * Trains an energy and a flow against each other; both are results: the energy is the better density, the flow an exact one with exact draws,
 * which `sample` gives (chains of the energy with `from: 'start'`, beginning at the flow's draws).
 * Metrics: loss = -`value`, `jensenShannon` (a lower bound of that between data and flow, nats), `accuracy`, `accuracyData`, `accuracyNoise`, `entropy` and
 * `flowLogLikelihood` of the flow (nats), `logZ`, `energyData`, `energyNegatives`; of the flow's phase `flowLoss`, `flowGradientNorm`, and `flowUpdates`, the
 * share of steps that updated it. Steps before `likelihoodSteps` report loss = -`flowLogLikelihood`.
 * Cost of a step: 6 forward passes of the energy for its update, 3 for the flow's, and the flow's own.
 * @example new FlowContrastive(mlp({ inputs: 2 }), { flow: { kind: 'spline', layers: 4 }, likelihoodSteps: 1000 })
 */
export class FlowContrastive extends Trainer<FlowContrastiveOptions> {
  constructor(model: Model, options: FlowContrastiveOptions = {}) {
    super(flowContrastiveMethod, model, options.flow ? { ...options, flow: plainFlow(options.flow) } : options)
  }

  /** The learned log Z of the model, in nats: log p(x) = -E(x) - log Z. Of an opened run: `run.moduleValues('noise').get('log_z')`. */
  async logZ(): Promise<number> {
    const value = (await this.moduleValues(NOISE)).get(LOG_Z)
    if (value === undefined) throw new LangevinError('E_INTERNAL', 'internal: the run has no log Z')
    return value.data[0] as number
  }

  /** The trained flow: exact log densities and draws. Of an opened run: `flowOfRun(run)`. @throws LangevinError E_CONFIG before `fit` */
  async flow(): Promise<FlowModel> {
    return trainedFlow(flowOf(this.trainedMethod('flow')), await this.moduleValues(FLOW), this.model.device)
  }
}
