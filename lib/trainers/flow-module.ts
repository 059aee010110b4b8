/**
 * A normalizing flow beside the energy, as the module `flow` of a method: what options may name one, its variables, the phase that fits it by
 * maximum likelihood, and exact draws after training. What the energy does with it is each method's own.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { Flow, type FlowConfig } from '../nn/flow.ts'
import { FlowModel } from '../nn/flow-model.ts'
import { buildFlow } from '../nn/flows.ts'
import { type Pass, Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { Device } from '../runtime/devices.ts'
import type { Recorder, State } from '../runtime/state.ts'
import type { Module, Phase, SamplingCode } from './method.ts'
import type { Run } from './run.ts'
import { exactSampling } from './sampling.ts'
import { STREAM } from './streams.ts'

/** Name of the module. */
export const FLOW = 'flow'

/**
 * A flow by its config (`inputs` or `shape` may be left out, they are the data's), one built in code, or one with weights to begin with.
 */
export type FlowSource = FlowConfig | Flow | FlowModel

/** Where a config carries the flow it came from; not part of its JSON. */
const given = Symbol('flow')

interface Given {
  readonly flow: Flow
  readonly values?: ReadonlyMap<string, HostTensor>
}

/** The source as plain data that a checkpoint can keep; in this process it still leads to the very flow and its weights. */
export function plainFlow(source: FlowSource): FlowConfig {
  const known = givenFlow(source)
  return known === undefined ? (source as FlowConfig) : { ...known.flow.config, [given]: known }
}

function givenFlow(source: FlowSource): Given | undefined {
  if (source instanceof FlowModel) return { flow: source.flow, values: source.stateDict() }
  if (source instanceof Flow) return { flow: source }
  return (source as { readonly [given]?: Given })[given]
}

/**
 * The flow of a method on examples of `shape`; default `{ kind: 'spline' }` on vectors, `{ kind: 'image' }` on images.
 * @throws LangevinError E_CONFIG for a flow of another shape, an unknown kind, and one written in code that is not given
 */
export function flowModule(
  source: FlowSource | undefined,
  shape: Shape,
): { readonly flow: Flow; readonly module: Module } {
  const { flow, values } = (source && givenFlow(source)) ?? { flow: buildFlow(complete(source as FlowConfig, shape)) }
  if (!sameShape(flow.shape, shape)) {
    throw new LangevinError(
      'E_CONFIG',
      `the flow takes examples of ${showShape(flow.shape)}, the data have ${showShape(shape)}; leave its inputs or shape out, or make them the data's`,
    )
  }
  return { flow, module: { name: FLOW, variables: flow.variables, ...(values ? { values } : {}) } }
}

function complete(config: FlowConfig | undefined, shape: Shape): FlowConfig {
  const { kind, ...options } = config ?? { kind: shape.length === 3 ? 'image' : 'spline' }
  if (kind === 'custom') {
    throw new LangevinError(
      'E_CONFIG',
      `flow '${String(options.name)}' was written in code, so a file cannot rebuild it; give it in the trainer's options, or as openRun(path, { options: ... })`,
    )
  }
  return kind === 'image' ? { kind, shape, ...options } : { kind, inputs: shape[0], ...options }
}

/** A pass over the module's variables as the state holds them. */
export function flowPass(r: Recorder): Pass {
  return { variables: new Variables((v) => r.read(`${FLOW}/${v.name}`)), norm: 'running' }
}

/** A phase that descends the flow's -mean log q of the batch in `batch/data`. Metrics: the loss, `flowLogLikelihood` in nats. */
export function likelihoodPhase(options: {
  readonly flow: Flow
  readonly optimizer: OptimizerOptions | undefined
  /** Draws `batch/data`. */
  draw(r: Recorder, key: Tensor): void
}): Phase {
  const { flow, optimizer, draw } = options
  return {
    name: '',
    trains: [FLOW],
    ...(optimizer ? { optimizer } : {}),
    draw,
    chains: () => [],
    objective(r, variables) {
      const log = ops.mean(flow.logDensity(r.read('batch/data'), { variables: variables(FLOW), norm: 'batch' }))
      return { loss: ops.neg(log), metrics: { flowLogLikelihood: log } }
    },
    after() {},
  }
}

/** Exact draws of a flow, `count` a batch; `prefix` is that of its variables in the state. */
export function flowSampling(state: State, flow: Flow, count: number, prefix = `${FLOW}/`): Promise<SamplingCode> {
  return exactSampling(state, (r, key) => {
    const variables = new Variables((v) => r.read(`${prefix}${v.name}`))
    return flow.sample(key, count, STREAM.noise, { variables, norm: 'running' }).x
  })
}

/** A flow with the weights it was trained to. */
export async function trainedFlow(
  flow: Flow,
  values: ReadonlyMap<string, HostTensor>,
  device: Device,
): Promise<FlowModel> {
  const model = new FlowModel(flow, { device })
  await model.setValues(values)
  return model
}

/**
 * The flow of an opened run that trained one (`flowContrastive`, `noiseContrastive` with noise of kind flow, `adversarial` with q a flow; the model itself of `maximumLikelihood`), with its weights.
 * @param source for a flow written in code: the flow, as it was for training
 * @throws RangeError for a run without a flow; LangevinError E_CONFIG for a flow written in code that is not given
 */
export async function flowOfRun(run: Run, source?: FlowSource): Promise<FlowModel> {
  if (run.model instanceof FlowModel) return run.model
  const values = run.moduleValues(FLOW)
  const options = run.description.options as {
    readonly flow?: FlowConfig
    readonly noise?: { readonly flow?: FlowConfig }
    readonly q?: { readonly flow?: FlowConfig }
  }
  const { flow } = flowModule(source ?? options.flow ?? options.noise?.flow ?? options.q?.flow, run.model.network.shape)
  return trainedFlow(flow, values, run.model.device)
}
