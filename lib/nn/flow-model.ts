/**
 * A flow with numbers. It is a Model, whose energy is exactly -log q(x), so that scores, samplers, evaluation, export, save and load are
 * Model's; to these it adds what only a flow can do: exact log densities, exact draws, and the map in both directions.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor, zeros } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { DeviceTensor } from '../runtime/device.ts'
import type { Device } from '../runtime/devices.ts'
import { readSafetensors } from '../runtime/safetensors.ts'
import { keyFromSeed } from '../runtime/state.ts'
import { type Flow, type FlowConfig, flowNetwork } from './flow.ts'
import { buildFlow } from './flows.ts'
import { Model, type ModelOptions } from './model.ts'
import { type Pass, type VariableSpec, Variables } from './variables.ts'

export interface FlowBatchOptions {
  /** Examples per native call; default 256. */
  readonly batch?: number
  readonly signal?: AbortSignal
}

export interface FlowSampleOptions extends FlowBatchOptions {
  /** Number of draws. */
  readonly count: number
  /** The draws follow from it and `batch`; default 0. A larger count begins with the same draws. */
  readonly seed?: number
}

type Direction = 'forward' | 'inverse' | 'sample'

interface Compiled {
  readonly plan: CompiledPlan
  readonly from: DeviceTensor
  readonly to: readonly [DeviceTensor, DeviceTensor]
}

/** A flow and the values of its variables. */
export class FlowModel extends Model {
  readonly flow: Flow
  private readonly maps = new Map<string, Promise<Compiled>>()

  /** Initial values follow from `seed` (default 0) and the variables' names. */
  constructor(flow: Flow, options: ModelOptions = {}) {
    super(flowNetwork(flow), options)
    this.flow = flow
  }

  /**
   * The flow that `save` wrote, rebuilt from the config in the file.
   * @throws LangevinError E_CHECKPOINT for a file that holds no flow, E_CONFIG for a flow written in code (load it into its own code)
   */
  static async open(path: string, options: { readonly device?: Device } = {}): Promise<FlowModel> {
    const { tensors, metadata } = await readSafetensors(path)
    const model = new FlowModel(buildFlow(flowConfig(path, metadata.network)), options)
    await model.setValues(tensors, path, (n) => n.includes('/'))
    return model
  }

  /** log q(x) in nats, normalised, of x [n, ...shape]: [n]. */
  async logDensity(x: HostTensor, options: FlowBatchOptions = {}): Promise<Float32Array> {
    return (await this.energy(x, options)).map((e) => -e)
  }

  /** Data to base: z [n, ...latentShape] and log |det ∂z/∂x| [n]. */
  async forward(
    x: HostTensor,
    options: FlowBatchOptions = {},
  ): Promise<{ readonly z: HostTensor; readonly logDet: Float32Array }> {
    const { value, other } = await this.inBatches('forward', rowsOf('forward', x, this.flow.shape), options, (a, b) =>
      rowRange(x, a, b),
    )
    return { z: value, logDet: other }
  }

  /** Base to data: x [n, ...shape] and log |det ∂x/∂z| [n]. */
  async inverse(
    z: HostTensor,
    options: FlowBatchOptions = {},
  ): Promise<{ readonly x: HostTensor; readonly logDet: Float32Array }> {
    const rows = rowsOf('inverse', z, this.flow.latentShape)
    const { value, other } = await this.inBatches('inverse', rows, options, (a, b) => rowRange(z, a, b))
    return { x: value, logDet: other }
  }

  /** Independent exact draws x [count, ...shape] and their log q(x) [count]. */
  async sample(options: FlowSampleOptions): Promise<{ readonly x: HostTensor; readonly logDensity: Float32Array }> {
    const { count, seed = 0 } = options
    if (!Number.isInteger(count) || count < 0)
      throw new RangeError(`FlowModel.sample: count must be a non-negative integer; got ${String(count)}`)
    // Each batch is a step of the key; within one the draws are counted by element, so a shorter last batch begins like a full one.
    let step = 0
    const { value, other } = await this.inBatches('sample', count, options, () => keyFromSeed(seed, step++))
    return { x: value, logDensity: other }
  }

  override async dispose(): Promise<void> {
    for (const pending of this.maps.values()) {
      const { plan, from, to } = await pending
      plan.dispose()
      for (const t of [from, ...to]) t.dispose()
    }
    this.maps.clear()
    await super.dispose()
  }

  /** Runs a map over `rows` rows, `input` giving what each batch starts from, and puts the batches together. */
  private async inBatches(
    what: Direction,
    rows: number,
    { batch = 256, signal }: FlowBatchOptions,
    input: (from: number, to: number) => HostTensor,
  ): Promise<{ readonly value: HostTensor; readonly other: Float32Array }> {
    if (!Number.isInteger(batch) || batch < 1)
      throw new RangeError(`FlowModel.${what}: batch must be a positive integer; got ${batch}`)
    const shape = what === 'forward' ? this.flow.latentShape : this.flow.shape
    const each = sizeOf(shape)
    const value = zeros('float32', rows * each)
    const other = new Float32Array(rows)
    for (let at = 0; at < rows; at += batch) {
      signal?.throwIfAborted()
      const count = Math.min(batch, rows - at)
      const [values, others] = await this.run(what, count, input(at, at + count))
      value.set(values.data, at * each)
      other.set(others.data, at)
    }
    return { value: hostTensor(value, [rows, ...shape]), other }
  }

  private async run(what: Direction, rows: number, input: HostTensor): Promise<[HostTensor, HostTensor]> {
    const weights = await this.upload()
    const key = `${what}/${rows}`
    let pending = this.maps.get(key)
    if (pending === undefined) {
      pending = this.compileMap(what, rows, input)
      this.maps.set(key, pending)
    }
    const { plan, from, to } = await pending
    // Queued back to back on the one native worker, so concurrent calls do not mix.
    const work = [from.write(input), plan.run([from, ...weights.values()], to)]
    const [first, second] = await Promise.all([to[0].read(), to[1].read(), ...work])
    return [first, second]
  }

  private async compileMap(what: Direction, rows: number, input: HostTensor): Promise<Compiled> {
    const from = ops.input(what, input.shape, input.dtype)
    const inputs = this.network.variables.map((v) => ops.input(v.name, v.shape, 'float32'))
    const byName = new Map(inputs.map((t, i) => [(this.network.variables[i] as VariableSpec).name, t]))
    const variables = new Variables((v) => byName.get(v.name) as Tensor)
    const outputs = this.mapGraph(what, from, rows, { variables, norm: 'running' })
    const plan = await compileGraph(
      this.device,
      [from, ...inputs],
      outputs.map((tensor) => ({ tensor })),
    )
    const empty = (t: Tensor): DeviceTensor => DeviceTensor.empty(this.device, t.dtype, t.shape)
    return { plan, from: empty(from), to: [empty(outputs[0]), empty(outputs[1])] }
  }

  private mapGraph(what: Direction, from: Tensor, rows: number, pass: Pass): readonly [Tensor, Tensor] {
    if (what === 'sample') {
      const { x, logDensity } = this.flow.sample(from, rows, 0, pass)
      return [x, logDensity]
    }
    if (what === 'forward') {
      const { z, logDet } = this.flow.forward(from, pass)
      return [z, logDet]
    }
    const { x, logDet } = this.flow.inverse(from, pass)
    return [x, logDet]
  }
}

function flowConfig(path: string, network: string | undefined): FlowConfig {
  const config = network === undefined ? undefined : (JSON.parse(network) as { kind?: string; flow?: FlowConfig })
  if (config?.kind !== 'flow' || config.flow === undefined) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${path} holds ${config?.kind === undefined ? 'no network description' : `a network of kind '${config.kind}'`}, not a flow: build the flow in code and use load`,
    )
  }
  return config.flow
}

/** The batch size of an argument of example shape `shape`. */
function rowsOf(what: Direction, x: HostTensor, shape: Shape): number {
  if (x.dtype !== 'float32' || x.shape.length === 0 || !sameShape(x.shape.slice(1), shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `FlowModel.${what} takes float32 [n,${shape.join(',')}]; got ${x.dtype}${showShape(x.shape)}`,
    )
  }
  return x.shape[0] as number
}

function rowRange(x: HostTensor, from: number, to: number): HostTensor {
  const each = sizeOf(x.shape.slice(1))
  return hostTensor(x.data.subarray(from * each, to * each), [to - from, ...x.shape.slice(1)])
}
