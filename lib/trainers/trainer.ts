/**
 * What all trainers do: check options, fit with reports and recovery, sample with what was trained, keep and resume. The method itself is a
 * `MethodDefinition` (method.ts); a public trainer is a subclass that names one and adds what only its method has (a flow, log Z).
 */
import type { Dataset } from '../data/dataset.ts'
import type { EventRow, MetricsRow } from '../evaluation/metrics-row.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { Model } from '../nn/model.ts'
import { checkKeys } from '../runtime/check-options.ts'
import { State } from '../runtime/state.ts'
import { packageVersion } from '../runtime/version.ts'
import type { DataDescription, RunDescription, RunProgress } from './checkpoint.ts'
import { DEFAULT_BATCH, Engine } from './engine.ts'
import { runFit } from './fit.ts'
import type { Method, MethodDefinition, StepPlan } from './method.ts'
import type { CommonOptions, FitOptions } from './options.ts'
import { drawSamples, keptTensors, type SampleOptions, type SampleSource } from './sampling.ts'

/** The run that `fit` began last. */
interface Current {
  readonly engine: Engine
  readonly method: Method
  readonly data: DataDescription
}

/** A trainer of `model` by one method. Made by its subclasses. */
export class Trainer<Options extends CommonOptions = CommonOptions> {
  readonly model: Model
  /** As given, with the method's defaults under them. */
  readonly options: Options
  readonly definition: MethodDefinition<Options>
  private current: Current | undefined

  constructor(definition: MethodDefinition<Options>, model: Model, options: Partial<Options> = {}) {
    if (!(model instanceof Model))
      throw new TypeError(
        `trainer: the first argument must be a Model (wideResNet(...), mlp(...), new FlowModel(splineFlow(...)), ...); got ${(model as object | null)?.constructor?.name ?? typeof model}`,
      )
    checkKeys(definition.schema, options, definition.name)
    this.definition = definition
    this.model = model
    // What is given as undefined is not given.
    const given = Object.entries(options).filter(([, value]) => value !== undefined)
    this.options = { ...definition.defaults, ...Object.fromEntries(given) }
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
    const { definition, model } = this
    const described = describeData(data)
    const method = definition.create({ network: model.network, model, options: this.options, data: described })
    const plan = this.plan(data, options)
    this.dispose()
    const engine = new Engine(new State(model.device, this.options.precision), model, method, this.options)
    this.current = { engine, method, data: described }
    const description = {
      method: definition.name,
      network: model.network.config,
      options: this.options as Record<string, unknown>,
      data: described,
      ...plan,
      version: packageVersion(),
    }
    const describe = (progress: RunProgress): RunDescription => ({ ...description, ...progress })
    const { onEvent } = options
    yield* runFit({ engine, data, plan, options, describe, ...(onEvent ? { onEvent } : {}) })
  }

  /** How many steps `fit` would take. @throws LangevinError E_DATA for data smaller than a batch, RangeError for impossible options */
  plan(data: Dataset, options: Pick<FitOptions, 'epochs' | 'steps'> = {}): StepPlan {
    const { batch = DEFAULT_BATCH } = this.options
    checkInteger('batch', batch, 1)
    if (batch > data.count) {
      throw new LangevinError(
        'E_DATA',
        `batch ${batch} is larger than the data '${data.name}' (${data.count} rows); use batch ≤ ${data.count}`,
      )
    }
    const stepsPerEpoch = Math.floor(data.count / batch)
    const { epochs = this.definition.epochs } = options
    if (!(Number.isFinite(epochs) && epochs >= 0)) throw new RangeError(`epochs must be a number ≥ 0; got ${epochs}`)
    const totalSteps = options.steps ?? Math.round(epochs * stepsPerEpoch)
    checkInteger('steps', totalSteps, 0)
    return { stepsPerEpoch, totalSteps }
  }

  /** Draws samples as the method does; see {@link SampleOptions}. */
  async sample(options: SampleOptions = {}): Promise<HostTensor> {
    return drawSamples(await this.sampleSource(), options)
  }

  /** What sampling needs of a trained run. */
  async sampleSource(): Promise<SampleSource> {
    const { engine, method, data } = this.trained('sample')
    const kept = await engine.state.read(engine.state.names(true).filter((n) => keptTensors(n, this.model.network)))
    for (const m of method.modules ?? []) {
      for (const [name, value] of await engine.moduleValues(m.name)) kept.set(`${m.name}/${name}`, value)
    }
    return { model: this.model, method, data, tensors: kept }
  }

  /** Variables of one of the method's modules, as trained. */
  protected moduleValues(module: string): Promise<Map<string, HostTensor>> {
    return this.trained(module).engine.moduleValues(module)
  }

  /** The method of the last `fit`. */
  protected trainedMethod(what: string): Method {
    return this.trained(what).method
  }

  private trained(what: string): Current {
    if (this.current === undefined)
      throw new LangevinError('E_CONFIG', `${what}: train first (fit), or open a run with openRun`)
    return this.current
  }

  /** Frees native memory; the model stays usable. */
  dispose(): void {
    this.current?.engine.state.dispose()
    this.current = undefined
  }
}

/** What a checkpoint keeps of a data set. */
export function describeData(data: Dataset): DataDescription {
  const { name, count, shape, classes, classNames, range, columns, transform } = data
  const map = transform && { transform: { mean: [...transform.mean], std: [...transform.std] } }
  const named = columns && { columns: [...columns] }
  return { name, count, shape, classes, classNames, range: range && [range[0], range[1]], ...named, ...map }
}
