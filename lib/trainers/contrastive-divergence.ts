/**
 * Contrastive divergence in all its forms: chains from the data (CD-k, Hinton 2002), persistent (PCD, Tieleman 2008; with a replay buffer and
 * re-initialisation, Du & Mordatch 2019), or short runs from noise (Nijkamp 2019); any sampler; improved CD's KL term (Du 2021) as an option.
 */
import { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import { contrastiveDivergence, klTerm } from '../objectives/contrastive-divergence.ts'
import type { Terms } from '../objectives/terms.ts'
import * as ops from '../ops/index.ts'
import { amount, count } from '../runtime/check-options.ts'
import type { Recorder, State } from '../runtime/state.ts'
import { checkDiscrete } from '../samplers/discrete-check.ts'
import type { Sampler } from '../samplers/sampler.ts'
import { makeSampler, type SamplerOptions } from '../samplers/samplers.ts'
import { samplerSchema, startSchema } from '../samplers/schema.ts'
import type { StartOptions } from '../samplers/starts.ts'
import { networkTarget, type Target } from '../samplers/target.ts'
import { samplerRound } from './chain-round.ts'
import type { ChainSampling } from './chain-sampling.ts'
import { type ChainStarts, samplingStarts } from './chain-starts.ts'
import { EnergyMethod, type EnergyOptions, type LossContext } from './energy-method.ts'
import type { ChainRound, MethodContext, MethodDefinition, Objective } from './method.ts'
import { BUFFER, Replay, type ReplayOptions } from './replay.ts'
import { energyFields, replaySchema } from './schema.ts'
import { STREAM } from './streams.ts'
import { Trainer } from './trainer.ts'

/** Where the chains of a step begin. */
export type ChainsFrom = 'data' | 'persistent' | 'noise'

export interface KlTermOptions {
  /** Factor of the term; default 1. */
  readonly weight?: number
  /** Last steps of the chain that the gradient goes back through; default 1, as published. */
  readonly steps?: number
  /** Factor of the mean log distance to the nearest other point, the entropy; default 1, 0 leaves it out. */
  readonly entropyWeight?: number
  /** Rows of the replay buffer (or other chains of the batch) that nearness is measured against; default 100. */
  readonly references?: number
}

export interface ContrastiveDivergenceOptions extends EnergyOptions {
  /**
   * `persistent` (default): chains go on from step to step in a replay buffer. `data`: CD-k, chains begin at the batch. `noise`: short runs from
   * `start`, which is then also how samples are drawn.
   */
  readonly chains?: ChainsFrom
  /** Any sampler; its `steps` are those of a training step. Default sgld with 20 steps of size 0.01 and noise 'langevin'. */
  readonly sampler?: SamplerOptions
  /** Chains in a step; default the batch. With chains from data it is the batch. */
  readonly negatives?: number
  /** For persistent chains: rows (default 10 000), share re-initialised per draw (0.05), and where those begin. */
  readonly buffer?: ReplayOptions
  /** Where chains from noise begin (and persistent ones, if `buffer.start` does not say); default as in {@link SamplingOptions}. */
  readonly start?: StartOptions
  /** α of the penalty α·(E(x⁺)² + E(x⁻)²); default 0 (Du & Mordatch 2019: 1). */
  readonly energyPenalty?: number
  /** Batch-norm statistics within chains; default 'running'. */
  readonly chainNorm?: 'batch' | 'running'
  /** Improved contrastive divergence (Du et al. 2021): the part of the gradient through the sampler. Null (default) leaves it out. */
  readonly klTerm?: KlTermOptions | null
}

const froms: readonly ChainsFrom[] = ['data', 'persistent', 'noise']
const NAME = 'negatives'
const CHAIN = `chain/${NAME}`
const ROWS = `chain/${NAME}Rows`
/** Where the chains of a step end if its last steps are part of the objective. */
const END = `chain/${NAME}End`

class ContrastiveDivergenceMethod extends EnergyMethod<ContrastiveDivergenceOptions> {
  private readonly from: ChainsFrom
  private readonly sampler: Sampler
  private readonly count: number
  private readonly replay: Replay | undefined
  private readonly kl: Required<KlTermOptions> | undefined
  /** Where chains begin after training. */
  private readonly afterwards: ChainStarts

  constructor(context: MethodContext<ContrastiveDivergenceOptions>) {
    super(context)
    const { chains = 'persistent', negatives, sampler, klTerm: kl } = context.options
    if (!froms.includes(chains))
      throw new LangevinError('E_CONFIG', `chains: '${chains}' is not known.${suggestion(String(chains), froms)}`)
    this.from = chains
    this.sampler = makeSampler(sampler ?? { kind: 'sgld', steps: 20, stepSize: 0.01, noise: 'langevin' })
    checkDiscrete(this.sampler, context.network)
    this.count = chains === 'data' ? this.batch : (negatives ?? this.batch)
    checkInteger('negatives', this.count, 1)
    if (chains === 'persistent')
      this.replay = new Replay({ ...context.options.buffer, start: this.starts.options }, context.data)
    this.afterwards = samplingStarts(this.starts, context.options.sampling?.start, context.data)
    if (kl != null) {
      this.kl = { weight: 1, steps: 1, entropyWeight: 1, references: 100, ...kl }
      checkInteger('klTerm.steps', this.kl.steps, 1)
      checkInteger('klTerm.references', this.kl.references, 1)
      if (this.kl.steps > this.sampler.steps)
        throw new RangeError(
          `klTerm.steps must be at most the sampler's ${this.sampler.steps} steps; got ${this.kl.steps}`,
        )
    }
  }

  protected override startOptions(): StartOptions {
    const { chains, buffer, start } = this.options
    return buffer?.start ?? start ?? (chains === 'data' ? super.startOptions() : this.usualStart())
  }

  override async setup(state: State, data: Dataset): Promise<void> {
    await super.setup(state, data)
    if (this.afterwards !== this.starts) await this.afterwards.setup(state, data)
    if (this.replay !== undefined) this.replay.create(state)
  }

  override async reinitialize(state: State, seed: number): Promise<void> {
    await this.replay?.fill(state, seed)
  }

  override draw(r: Recorder, key: Tensor): Tensor {
    const data = super.draw(r, key)
    if (this.replay !== undefined) {
      const streams = { rows: STREAM.bufferRows, reinit: STREAM.bufferReinit, start: STREAM.start }
      const { x, rows } = this.replay.draw(r, key, this.count, streams)
      r.write(CHAIN, x)
      r.write(ROWS, rows)
    } else if (this.from === 'noise') {
      const classes = ops.randomInt(key, [this.count], { stream: STREAM.bufferClasses, bound: this.starts.classes })
      r.write(CHAIN, this.starts.draw(r, key, classes, ops.ge(classes, 0), STREAM.start))
    } else {
      r.write(CHAIN, data)
    }
    return data
  }

  private target(r: Recorder): Target {
    const variables = new Variables((v) => r.read(v.name))
    return this.targetOver(variables)
  }

  private targetOver(variables: Variables): Target {
    const { chainNorm: norm = 'running' } = this.options
    return networkTarget(this.network, { variables, norm }, { firstStage: this.sampler.firstStage })
  }

  override chains(): readonly ChainRound[] {
    const steps = this.sampler.steps - (this.kl?.steps ?? 0)
    return [
      samplerRound({ name: NAME, sampler: this.sampler, steps, stream: STREAM.chain, target: (r) => this.target(r) }),
    ]
  }

  protected terms(context: LossContext): Terms & Pick<Objective, 'leaves'> {
    const { r, x, energy, energies, foreignEnergy } = context
    const { energyPenalty = 0 } = this.options
    const end = this.kl === undefined ? r.read(CHAIN) : this.unroll(context, this.kl.steps)
    const negatives = ops.stopGradient(end)
    // The KL term needs the pass over the chains by itself, and shares it.
    const [energyData, energyNegatives] =
      this.kl === undefined ? energies(x, negatives) : [energy(x), foreignEnergy(negatives)]
    const cd = contrastiveDivergence({ energyData, energyNegatives, energyPenalty })
    const metrics: Record<string, Tensor> = { ...cd.metrics }
    if (this.sampler.steps > (this.kl?.steps ?? 0))
      metrics.chainDrift = ops.sub(metrics.energyNegatives as Tensor, r.read(`${CHAIN}StartEnergy`))
    if (!this.sampler.stateless) metrics.acceptance = r.read(`${CHAIN}Acceptance`)
    if (this.kl === undefined) return { loss: cd.loss, metrics }
    const term = klTerm({ energy: foreignEnergy, chain: end, ...this.entropy(context, this.kl) })
    return {
      loss: ops.add(cd.loss, ops.mul(term.loss, this.kl.weight)),
      metrics: { ...metrics, ...term.metrics },
      leaves: new Map([[END, negatives]]),
    }
  }

  /**
   * The last steps of the chains as part of the loss, so that gradients pass through them. Noise comes from the step's own key, the init and each
   * of the steps with streams of their own: the chains' key stands still where all of their steps are unrolled.
   */
  private unroll({ r, variables, key }: LossContext, steps: number): Tensor {
    const target = this.targetOver(variables())
    let state = this.sampler.init(target, r.read(CHAIN), key, unrolledStream(0))
    for (let i = 1; i <= steps; i++) state = this.sampler.step(target, state, key, unrolledStream(i)).state
    return state.x
  }

  /** Points against which chains should keep apart: rows of the buffer, or the starts of the other chains. */
  private entropy({ r, key }: LossContext, { entropyWeight, references }: Required<KlTermOptions>) {
    if (entropyWeight === 0) return {}
    const pool = this.replay === undefined ? r.read(CHAIN) : r.read(BUFFER)
    const rows = ops.randomInt(key, [references], { stream: STREAM.objective, bound: pool.shape[0] as number })
    return { entropyWeight, references: ops.gather(pool, rows, { axis: 0 }) }
  }

  override after(r: Recorder): void {
    if (this.replay === undefined) return
    const ends = r.read(this.kl === undefined ? CHAIN : END)
    r.write(BUFFER, this.replay.put(r.read(BUFFER), r.read(ROWS), ends))
  }

  override chain(): ChainSampling {
    const { chainNorm: norm = 'running', sampling } = this.options
    const steps = sampling?.steps ?? this.sampler.steps * (this.from === 'noise' ? 1 : 10)
    const sampler = sampling?.sampler === undefined ? this.sampler : makeSampler(sampling.sampler)
    const replay = this.replay === undefined ? {} : { replay: this.replay }
    return { batch: sampling?.chains ?? this.count, sampler, starts: this.afterwards, norm, steps, ...replay }
  }
}

/** First stream of the init (0) and the steps (1, 2, ...) of an unrolled chain; a step takes up to 999. */
function unrolledStream(step: number): number {
  return STREAM.unrolledChain + 1000 * step
}

/** Contrastive divergence; Adam 1e-3 with betas (0, 0.999), as Du & Mordatch 2019, and persistent chains. */
export const contrastiveDivergenceMethod: MethodDefinition<ContrastiveDivergenceOptions> = {
  name: 'contrastiveDivergence',
  defaults: { batch: 128, optimizer: { kind: 'adam', learningRate: 1e-3, betas: [0, 0.999] } },
  epochs: 100,
  schema: z.strictObject({
    ...energyFields,
    chains: z.enum(['data', 'persistent', 'noise']).optional(),
    sampler: samplerSchema.optional(),
    negatives: count.optional(),
    buffer: replaySchema.optional(),
    start: startSchema.optional(),
    energyPenalty: amount.optional(),
    chainNorm: z.enum(['batch', 'running']).optional(),
    klTerm: z
      .strictObject({
        weight: amount.optional(),
        steps: count.optional(),
        entropyWeight: amount.optional(),
        references: count.optional(),
      })
      .nullish(),
  }),
  create: (context) => new ContrastiveDivergenceMethod(context),
}

/**
 * Trains an energy by contrastive divergence. The loss hovers about zero and says nothing of progress: watch `energyGap` (chains above data; it
 * should stay small), `chainDrift` (how far a step's chain went down) and `acceptance` of Metropolis samplers.
 * Cost of a step: 6 forward passes and the sampler's gradients (2 passes each), with `klTerm` 6 more a step it goes back through.
 * Spectral norm is an option of the networks (`spectralNorm`), the gradient clamp one of the samplers (`gradientClamp`).
 * @example new ContrastiveDivergence(mlp({ inputs: 2 }), { sampler: { kind: 'mala', stepSize: 0.02, steps: 20 } })
 */
export class ContrastiveDivergence extends Trainer<ContrastiveDivergenceOptions> {
  constructor(model: Model, options: ContrastiveDivergenceOptions = {}) {
    super(contrastiveDivergenceMethod, model, options)
  }
}
