/** The public trainers of joint energy-based models: Jem and JemPlusPlus, one class with two sets of published defaults. */
import type { Dataset } from '../data/dataset.ts'
import type { EventRow, MetricsRow } from '../evaluation/metrics-row.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { Model } from '../nn/model.ts'
import { State } from '../runtime/state.ts'
import { packageVersion } from '../runtime/version.ts'
import type { StartOptions } from '../samplers/starts.ts'
import type { DataDescription, RunDescription, RunProgress } from './checkpoint.ts'
import { runFit } from './fit.ts'
import { JemMethod, type JemOptions, type ResolvedJem, resolveJem } from './jem.ts'
import { type FitOptions, integer } from './options.ts'
import { BUFFER } from './replay.ts'
import { drawSamples, type SampleOptions, type SampleSource } from './sampling.ts'
import { Engine } from './trainer.ts'

/** Published settings of a recipe: options, and epochs when none are given. */
export interface Recipe {
  readonly method: 'jem' | 'jempp'
  readonly options: JemOptions
  readonly start: StartOptions
  readonly epochs: number
}

/** JEM: Adam 1e-4, × 0.3 at epochs 160 and 180 of 200, SGLD K = 20 with step 1 and noise 0.01, U(-1, 1) starts, input noise 0.03. */
export const jemRecipe: Recipe = {
  method: 'jem',
  options: {
    optimizer: { kind: 'adam', learningRate: 1e-4 },
    schedule: { kind: 'step', milestones: [160, 180], gamma: 0.3, warmup: 1000 },
    sampler: { kind: 'sgld', steps: 20, stepSize: 1, noise: 0.01 },
  },
  start: { kind: 'uniform' },
  epochs: 200,
}

/** JEM++: SGD 0.1 with momentum and decay 4e-4, warm-up, × 0.2 at epochs 50, 100, 125 of 150, PYLD(10, 5, 0.2), class-Gaussian starts. */
export const jemPlusPlusRecipe: Recipe = {
  method: 'jempp',
  options: {
    optimizer: { kind: 'sgd', learningRate: 0.1, momentum: 0.9, weightDecay: 4e-4 },
    schedule: { kind: 'step', milestones: [50, 100, 125], gamma: 0.2, warmup: 1000 },
    sampler: { kind: 'pyld', outer: 10, inner: 5, stepSize: 0.2, gradientClamp: 1 },
  },
  start: { kind: 'classGaussians' },
  epochs: 150,
}

/** What both trainers do: fit a classifier as an energy-based model, sample from it, keep and resume its run. */
export class JointEnergyTrainer {
  readonly model: Model
  readonly options: JemOptions
  readonly recipe: Recipe
  private state: State | undefined
  private settings: ResolvedJem | undefined
  private trainedOn: DataDescription | undefined

  constructor(recipe: Recipe, model: Model, options: JemOptions = {}) {
    if (!(model instanceof Model))
      throw new TypeError(
        `trainer: the first argument must be a Model (wideResNet(...), mlp(...), ...); got ${typeof model}`,
      )
    this.recipe = recipe
    this.model = model
    this.options = { ...recipe.options, ...options }
  }

  /**
   * Trains on `data` and yields a row of metrics every `reportEvery` steps. Breaking out of the loop stops at a step boundary;
   * `signal` does the same and throws E_CANCELLED. Afterwards `model` holds the trained weights.
   * @throws LangevinError E_DIVERGED when recovery is exhausted, E_DATA or E_CONFIG for what does not fit, E_CHECKPOINT, E_IO.
   */
  async *fit(
    data: Dataset,
    options: FitOptions & { readonly onEvent?: (event: EventRow) => void } = {},
  ): AsyncGenerator<MetricsRow, void, void> {
    const start = this.options.buffer?.start ?? this.recipe.start
    const settings = resolveJem(this.options, this.model.network, data, start)
    if (settings.batch > data.count) {
      throw new LangevinError(
        'E_DATA',
        `batch ${settings.batch} is larger than the data '${data.name}' (${data.count} rows); use batch ≤ ${data.count}`,
      )
    }
    const stepsPerEpoch = Math.floor(data.count / settings.batch)
    const { epochs = this.recipe.epochs } = options
    if (!(Number.isFinite(epochs) && epochs >= 0)) throw new RangeError(`epochs must be a number ≥ 0; got ${epochs}`)
    const totalSteps = options.steps ?? Math.round(epochs * stepsPerEpoch)
    integer('steps', totalSteps, 0)
    this.state?.dispose()
    const state = new State(this.model.device)
    this.state = state
    this.settings = settings
    this.trainedOn = describeData(data)
    const engine = new Engine(state, this.model, new JemMethod(this.model.network, settings, data), this.options)
    const description = {
      method: this.recipe.method,
      network: this.model.network.config,
      options: this.options as Record<string, unknown>,
      data: this.trainedOn,
      stepsPerEpoch,
      totalSteps,
      version: packageVersion(),
    }
    const describe = (progress: RunProgress): RunDescription => ({ ...description, ...progress })
    const onEvent = options.onEvent
    yield* runFit({ engine, plan: { stepsPerEpoch, totalSteps }, options, describe, ...(onEvent ? { onEvent } : {}) })
  }

  /** Draws samples with the chain that the model was trained with; see {@link SampleOptions}. */
  async sample(options: SampleOptions = {}): Promise<HostTensor> {
    return drawSamples(await this.sampleSource(), options)
  }

  /** What sampling needs of a trained run. */
  async sampleSource(): Promise<SampleSource> {
    const { state, settings, trainedOn } = this
    if (state === undefined || settings === undefined || trainedOn === undefined) {
      throw new LangevinError('E_CONFIG', 'sample: train first (fit), or open a run with openRun')
    }
    const names = state.names(true).filter((n) => n.startsWith('start/') || n === BUFFER)
    return { model: this.model, settings, data: trainedOn, tensors: await state.read(names) }
  }

  /** Frees native memory; the model stays usable. */
  dispose(): void {
    this.state?.dispose()
    this.state = undefined
  }
}

/** JEM (Grathwohl et al., ICLR 2020) with its published defaults; see {@link jemRecipe} and JemOptions. */
export class Jem extends JointEnergyTrainer {
  constructor(model: Model, options: JemOptions = {}) {
    super(jemRecipe, model, options)
  }
}

/** JEM++ (Yang & Ji, ICCV 2021) with its published defaults; see {@link jemPlusPlusRecipe} and JemOptions. */
export class JemPlusPlus extends JointEnergyTrainer {
  constructor(model: Model, options: JemOptions = {}) {
    super(jemPlusPlusRecipe, model, options)
  }
}

/** Recipes by the method's name in configs and checkpoints. */
export const recipes: Readonly<Record<string, Recipe>> = { jem: jemRecipe, jempp: jemPlusPlusRecipe }

function describeData(data: Dataset): DataDescription {
  const { name, count, shape, classes, classNames, range, transform } = data
  const { mean, std } = transform ?? {}
  const columns = mean && std ? { transform: { mean: [...mean], std: [...std] } } : {}
  return { name, count, shape, classes, classNames, range: range && [range[0], range[1]], ...columns }
}
