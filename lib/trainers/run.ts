/** Opens a finished or interrupted run: the model, and the sampler it was trained with. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { Model } from '../nn/model.ts'
import { buildNetwork } from '../nn/networks.ts'
import type { Device } from '../runtime/device.ts'
import { type RunDescription, readCheckpoint } from './checkpoint.ts'
import { type JemOptions, resolveJem } from './jem.ts'
import { recipes } from './jem-trainers.ts'
import { drawSamples, type SampleOptions, type SampleSource } from './sampling.ts'

/** A run as read from its folder or checkpoint. */
export class Run {
  readonly path: string
  readonly description: RunDescription
  readonly model: Model
  private readonly source: SampleSource

  constructor(path: string, description: RunDescription, source: SampleSource) {
    this.path = path
    this.description = description
    this.model = source.model
    this.source = source
  }

  /** Draws samples with the training's own chain. */
  sample(options: SampleOptions = {}): Promise<HostTensor> {
    return drawSamples(this.source, options)
  }
}

/**
 * Opens a run folder or a checkpoint file. A network written in code must be given as `model`, built as it was for training.
 * @throws LangevinError E_CHECKPOINT, E_IO, E_CONFIG.
 */
export async function openRun(
  path: string,
  options: { readonly model?: Model; readonly device?: Device } = {},
): Promise<Run> {
  const checkpoint = await readCheckpoint(path)
  const { run, tensors } = checkpoint
  const recipe = recipes[run.method]
  if (recipe === undefined) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${checkpoint.path}: method '${run.method}' is not known to this version.${suggestion(run.method, Object.keys(recipes))}`,
    )
  }
  const model =
    options.model ??
    new Model(buildNetwork(run.network), options.device === undefined ? {} : { device: options.device })
  const trained = run.options as JemOptions
  const values = new Map<string, HostTensor>()
  for (const v of model.network.variables) {
    const value = tensors.get(trained.ema != null && v.role === 'parameter' ? `ema/${v.name}` : v.name)
    if (value !== undefined) values.set(v.name, value)
  }
  // Names with a slash are the run's own; any other belongs to the network.
  for (const [name, value] of tensors) if (!name.includes('/') && !values.has(name)) values.set(name, value)
  await model.setValues(values, checkpoint.path)
  const start = trained.buffer?.start ?? recipe.start
  const settings = resolveJem(trained, model.network, run.data, start)
  const kept = new Map([...tensors].filter(([name]) => name.startsWith('start/') || name === 'chain/buffer'))
  return new Run(checkpoint.path, run, { model, settings, data: run.data, tensors: kept })
}
