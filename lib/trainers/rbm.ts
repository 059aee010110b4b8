/**
 * Restricted Boltzmann machines by contrastive divergence (Hinton 2002) and persistent contrastive divergence (Tieleman 2008), with block
 * Gibbs chains as graph steps. The gradient is that of the mean free energy of data less that of the chains, which is the classical
 * ⟨v hᵀ⟩_data - ⟨v hᵀ⟩_chain with the hidden units summed out.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { checkChoice, checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { needRbm, type RbmNetwork } from '../nn/rbm.ts'
import { type Pass, Variables } from '../nn/variables.ts'
import { contrastiveDivergence } from '../objectives/contrastive-divergence.ts'
import { pseudoLikelihood } from '../objectives/discrete.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import { amount, count, positive } from '../runtime/check-options.ts'
import { Recorder, type State } from '../runtime/state.ts'
import { makeBlockGibbs } from '../samplers/block-gibbs.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { makeSampler } from '../samplers/samplers.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { networkTarget } from '../samplers/target.ts'
import { DATA, takeRows } from './batches.ts'
import { type Binarize, BinaryUnits } from './binary.ts'
import { samplerRound } from './chain-round.ts'
import type { ChainSampling } from './chain-sampling.ts'
import { type ChainStarts, samplingStarts } from './chain-starts.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import type { ChainRound, MethodContext, MethodDefinition } from './method.ts'
import { BUFFER, Replay } from './replay.ts'
import { energyFields } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

export interface RbmOptions extends EnergyOptions {
  /** `persistent` (default): particles that go on from step to step (PCD). `data`: chains begin at the batch (CD-k). */
  readonly chains?: 'persistent' | 'data'
  /** k: Gibbs sweeps (hidden, then visible units) of a training step; default 1. */
  readonly steps?: number
  /** Persistent chains, all of which move in every step; default the batch. */
  readonly particles?: number
  /** Of Bernoulli units: how grey values become binary; default 'threshold'. */
  readonly binarize?: Binarize
  /** L2 on the weights alone, not on the biases: λ/2·‖W‖² is added to the loss (Hinton 2010 advises 1e-4). Default 0. */
  readonly weightDecay?: number
  /** weight·Σ_j (target - mean p(h_j = 1 | x))² is added to the loss (Lee, Ekanadham & Ng 2008); null (default) for none. */
  readonly sparsity?: { readonly target: number; readonly weight: number } | null
  /**
   * What the visible biases begin at: 'data', log p/(1 - p) of each unit's mean over the data (the mean, for Gaussian units; Hinton 2010), or the
   * 'model''s own values. Default 'data' where those are all 0, as a new model's are.
   */
  readonly visibleBias?: 'data' | 'model'
}

/** Chains of a step that begin at the batch. */
const CHAIN = 'chain/particles'

class RbmMethod extends EnergyMethod<RbmOptions> {
  private readonly rbm: RbmNetwork
  private readonly sampler: Sampler
  private readonly units: BinaryUnits | undefined
  private readonly replay: Replay | undefined
  private readonly how: Binarize
  /** Where chains begin after training. */
  private readonly afterwards: ChainStarts

  constructor(context: MethodContext<RbmOptions>) {
    super(context)
    const { chains = 'persistent', steps = 1, particles = this.batch, binarize = 'threshold' } = context.options
    checkChoice('chains', chains, ['persistent', 'data'])
    if (binarize !== null) checkChoice('binarize', binarize, ['threshold', 'stochastic'])
    this.rbm = needRbm(context.network, 'Rbm')
    this.sampler = makeBlockGibbs({ kind: 'blockGibbs', steps })
    checkInteger('particles', particles, 1)
    const binary = this.rbm.visibleKind === 'bernoulli'
    if (binary) this.units = new BinaryUnits(context.network, context.data)
    else if (context.options.binarize != null)
      throw new LangevinError('E_CONFIG', 'binarize belongs to Bernoulli units; this machine has Gaussian ones')
    this.how = binary ? binarize : null
    this.afterwards = samplingStarts(this.starts, context.options.sampling?.start, context.data)
    if (chains === 'persistent')
      this.replay = new Replay(
        { size: particles, reinit: 0, start: this.starts.options },
        { ...context.data, classes: 0 },
      )
    const { sparsity } = context.options
    if (sparsity != null && !(sparsity.target > 0 && sparsity.target < 1))
      throw new RangeError(`sparsity.target must be in (0, 1); got ${sparsity.target}`)
  }

  protected override startOptions(): StartOptions {
    const { visibleKind, values } = needRbm(this.network, 'Rbm')
    if (visibleKind === 'gaussian') return this.usualStart()
    return { kind: 'uniform', low: Math.min(...values), high: Math.max(...values) }
  }

  override async setup(state: State, data: Dataset): Promise<void> {
    this.units?.check(data)
    await super.setup(state, data)
    if (this.afterwards !== this.starts) await this.afterwards.setup(state, data)
    this.replay?.create(state)
    const fresh = (await state.get('visible_bias').read()).data.every((v) => v === 0)
    const from = this.options.visibleBias ?? (fresh ? 'data' : 'model')
    checkChoice('visibleBias', from, ['data', 'model'])
    if (from === 'data') await this.setBias(state)
  }

  /** Writes the visible biases that give the data's mean where the weights are 0. */
  private async setBias(state: State): Promise<void> {
    const r = new Recorder(state)
    const rows = r.read(DATA)
    const all = takeRows(rows, ops.iota([rows.shape[0] as number], 0), this.normalization)
    const mean = ops.mean(this.rbm.toUnits(all), 0)
    // As if half a unit more were on and half a unit more off, so that a pixel that is always off gets a finite bias.
    const n = this.data.count
    const p = ops.div(ops.add(ops.mul(mean, n), 0.5), n + 1)
    const bias = this.units === undefined ? mean : ops.log(ops.div(p, ops.sub(1, p)))
    r.write('visible_bias', bias)
    if (state.has('ema/visible_bias')) r.write('ema/visible_bias', bias)
    const stage = await r.compile('bias')
    await stage.plan.run(stage.inputs, stage.outputs)
    stage.plan.dispose()
  }

  override async reinitialize(state: State, seed: number): Promise<void> {
    await this.replay?.fill(state, seed)
  }

  protected override prepare(x: Tensor, key: Tensor): Tensor {
    return this.units === undefined ? x : this.units.binarize(x, this.how, key, STREAM.binarize)
  }

  override draw(r: Recorder, key: Tensor): Tensor {
    const x = super.draw(r, key)
    if (this.replay === undefined) r.write(CHAIN, x)
    return x
  }

  override chains(): readonly ChainRound[] {
    const round = samplerRound({
      name: 'particles',
      sampler: this.sampler,
      stream: STREAM.chain,
      target: (r) => networkTarget(this.network, passOf(new Variables((v) => r.read(v.name)))),
      x: this.place,
    })
    return [round]
  }

  private get place(): string {
    return this.replay === undefined ? CHAIN : BUFFER
  }

  protected terms(context: LossContext): Terms {
    const { r, x, variables, energy, foreignEnergy } = context
    const pass = passOf(variables())
    const { weightDecay = 0, sparsity } = this.options
    const cd = contrastiveDivergence({
      energyData: energy(x),
      energyNegatives: foreignEnergy(ops.stopGradient(r.read(this.place))),
    })
    const on = ops.sigmoid(this.rbm.hiddenInput(x, pass))
    const error = ops.square(ops.sub(this.rbm.visibleMean(on, pass), x))
    const metrics: Record<string, Tensor> = {
      ...cd.metrics,
      reconstruction: ops.mean(error),
      hiddenActivity: ops.mean(on),
    }
    if (this.units !== undefined) metrics.pseudoLogLikelihood = this.pseudo(context, this.units)
    let loss = cd.loss
    if (weightDecay > 0)
      loss = ops.add(loss, ops.mul(ops.sum(ops.square(this.rbm.parameters(pass).weight)), weightDecay / 2))
    if (sparsity != null) {
      const short = ops.sum(ops.square(ops.sub(sparsity.target, ops.mean(on, 0))))
      loss = ops.add(loss, ops.mul(short, sparsity.weight))
    }
    return { loss, metrics }
  }

  /** Σ_i log p(x_i | x_-i) estimated from one random site an example. */
  private pseudo({ x, key, foreignEnergy }: LossContext, units: BinaryUnits): Tensor {
    const b = this.how === null ? ops.cast(ops.gt(units.toUnit(x), 0.5), 'float32') : units.toUnit(x)
    const unitEnergy = (u: Tensor) => foreignEnergy(units.fromUnit(u))
    const noise = { key, stream: STREAM.objective }
    const { metrics } = pseudoLikelihood(unitEnergy, b, { kind: 'binary', sites: 1, noise })
    return ops.mul(metrics.conditional as Tensor, this.rbm.visible)
  }

  override chain(): ChainSampling {
    const { sampling } = this.options
    return {
      batch: sampling?.chains ?? 256,
      sampler: sampling?.sampler === undefined ? this.sampler : makeSampler(sampling.sampler),
      starts: this.afterwards,
      norm: 'running',
      steps: sampling?.steps ?? 1000,
      ...(this.replay && { replay: this.replay }),
    }
  }
}

function passOf(variables: Variables): Pass {
  return { variables, norm: 'running' }
}

/** Persistent contrastive divergence with one sweep a step; SGD 0.05 with momentum 0.5, batch 64. */
export const rbmMethod: MethodDefinition<RbmOptions> = {
  name: 'rbm',
  defaults: { batch: 64, optimizer: { kind: 'sgd', learningRate: 0.05, momentum: 0.5 } },
  epochs: 100,
  schema: z.strictObject({
    ...energyFields,
    chains: z.enum(['persistent', 'data']).optional(),
    steps: count.optional(),
    particles: count.optional(),
    binarize: z.union([z.enum(['threshold', 'stochastic']), z.null()]).optional(),
    weightDecay: amount.optional(),
    sparsity: z.strictObject({ target: positive, weight: amount }).nullish(),
    visibleBias: z.enum(['data', 'model']).optional(),
  }),
  create: (context) => new RbmMethod(context),
}

/**
 * Trains an `rbm` by CD-k or PCD. Bernoulli units take binary data, or grey values that `binarize` makes binary: data without a range as they are
 * (0 and 1), data with one as [-1, 1], for a machine with `values: [-1, 1]`.
 *
 * Metrics: `energyData` and `energyNegatives`, the mean free energies of data and chains, and their `energyGap`, which hovers about 0 and says
 * nothing of progress; `reconstruction`, the mean square of x - E[x | E[h | x]] in units of x (low for a machine that copies, so it is no
 * measure of the model either); `hiddenActivity`, the mean p(h = 1 | x); `pseudoLogLikelihood`, Σ log p(x_i | x_-i) in nats an example, from one random unit
 * each (Bernoulli units; it rises with the likelihood). Log-likelihoods: rbmLogZ, rbmAnnealing.
 * Cost of a step: about 4 + 2k products with the weight matrix a batch.
 * @example new Rbm(rbm({ visible: 64, hidden: 100 }), { steps: 1, particles: 100 })
 */
export class Rbm extends Trainer<RbmOptions> {
  constructor(model: Model, options: RbmOptions = {}) {
    super(rbmMethod, model, options)
    needRbm(model.network, 'Rbm')
  }
}
