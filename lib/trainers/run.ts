/** Opens a finished or interrupted run: the model, and the sampler it was trained with. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { FlowConfig } from '../nn/flow.ts'
import { FlowModel } from '../nn/flow-model.ts'
import { buildFlow } from '../nn/flows.ts'
import { Model } from '../nn/model.ts'
import type { NetworkConfig } from '../nn/network.ts'
import { buildNetwork } from '../nn/networks.ts'
import type { VariableSpec } from '../nn/variables.ts'
import type { Device } from '../runtime/devices.ts'
import { type ChainSampling, freshSteps } from './chain-sampling.ts'
import type { PlainStarts } from './chain-starts.ts'
import { type RunDescription, readCheckpoint } from './checkpoint.ts'
import { stateName, trainedName } from './engine.ts'
import { methods } from './methods.ts'
import type { CommonOptions } from './options.ts'
import { drawSamples, keptTensors, type SampleOptions, type SampleSource } from './sampling.ts'

/** The chain that a run draws fresh samples with, as data. */
export interface RunChain extends Omit<ChainSampling, 'steps'> {
  /** Sampler steps from a fresh start to a sample. */
  readonly steps: number
  /** Where the chains begin; undefined at training data, or at draws that no start options describe. */
  readonly start: PlainStarts | undefined
}

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

  /** Variables of one of the method's modules (`flow`, `generator`, `noise`), as trained. @throws RangeError for a module it has not. */
  moduleValues(module: string): Map<string, HostTensor> {
    const { method, tensors } = this.source
    const found = method.modules?.find((m) => m.name === module)
    if (found === undefined)
      throw new RangeError(
        `run: method '${this.description.method}' has no module '${module}'; it has ${this.modules.join(', ') || 'none'}`,
      )
    return new Map(found.variables.map((v) => [v.name, tensors.get(stateName(module, v.name)) as HostTensor]))
  }

  /** Names of the method's modules: what it trains beside the network. */
  get modules(): readonly string[] {
    return (this.source.method.modules ?? []).map((m) => m.name)
  }

  /** Unless chains are asked for, samples are exact draws of a flow or generator. */
  get exact(): boolean {
    return this.source.method.exact ?? false
  }

  /** The chain of fresh samples; undefined for a method without one. */
  chain(): RunChain | undefined {
    const { method, tensors } = this.source
    const chain = method.chain?.()
    return chain && { ...chain, steps: freshSteps(chain, tensors), start: chain.starts.plain(tensors) }
  }

  /** Draws samples with the training's own chain. */
  sample(options: SampleOptions = {}): Promise<HostTensor> {
    return drawSamples(this.source, options)
  }
}

/** A flow's run gives its FlowModel back: exact densities and draws. */
function modelOf(network: NetworkConfig, options: { readonly device?: Device }): Model {
  return network.kind === 'flow'
    ? new FlowModel(buildFlow(network.flow as FlowConfig), options)
    : new Model(buildNetwork(network), options)
}

export interface OpenOptions {
  /** A network written in code, built as it was for training. */
  readonly model?: Model
  readonly device?: Device
  /** Trainer options that a file cannot hold (a noise distribution of one's own), as they were for training. */
  readonly options?: Readonly<Record<string, unknown>>
}

/**
 * Opens a run folder or a checkpoint file. A network written in code must be given as `model`, built as it was for training.
 * @throws LangevinError E_CHECKPOINT, E_IO, E_CONFIG.
 */
export async function openRun(path: string, options: OpenOptions = {}): Promise<Run> {
  const checkpoint = await readCheckpoint(path)
  const { run, tensors } = checkpoint
  const definition = methods.get(run.method)
  if (definition === undefined) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${checkpoint.path}: method '${run.method}' is not known to this version.${suggestion(run.method, [...methods.keys()])}`,
    )
  }
  const model = options.model ?? modelOf(run.network, options.device === undefined ? {} : { device: options.device })
  const trained: CommonOptions = { ...definition.defaults, ...run.options, ...options.options }
  const value = (name: string, role: VariableSpec['role']) => tensors.get(trainedName(name, role, trained))
  const { network } = model
  const values = new Map<string, HostTensor>()
  for (const v of network.variables) {
    const found = value(v.name, v.role)
    if (found !== undefined) values.set(v.name, found)
  }
  // Names with a slash are the run's own; any other belongs to the network.
  for (const [name, v] of tensors) if (!name.includes('/') && !values.has(name)) values.set(name, v)
  await model.setValues(values, checkpoint.path)
  const method = definition.create({ network, model, options: trained, data: run.data })
  const kept = new Map([...tensors].filter(([name]) => keptTensors(name, network)))
  for (const m of method.modules ?? []) {
    for (const v of m.variables) {
      const name = stateName(m.name, v.name)
      const found = value(name, v.role)
      if (found === undefined)
        throw new LangevinError(
          'E_CHECKPOINT',
          `${checkpoint.path} has no tensor '${name}': it is damaged, or of another version`,
        )
      kept.set(name, found)
    }
  }
  return new Run(checkpoint.path, run, { model, method, data: run.data, tensors: kept })
}
