/**
 * A model: a network with numbers. Evaluates logits, energies and scores on the device in batches, and reads and writes
 * PyTorch-named state_dicts as safetensors. Training and sampling are not its part.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { DeviceTensor } from '../runtime/device.ts'
import { chosenDevice, type Device } from '../runtime/devices.ts'
import { readSafetensors, writeSafetensors } from '../runtime/safetensors.ts'
import { checkLevel } from './conditioning.ts'
import { initialize } from './initialize.ts'
import type { Network } from './network.ts'
import { inputsOf, type ModelOutput, needOutput, type OutputInput, outputGraph } from './outputs.ts'
import { type VariableSpec, Variables } from './variables.ts'

export { initialize } from './initialize.ts'
export type { ModelOutput } from './outputs.ts'

export interface EvaluateOptions {
  /** Examples per native call; default 256. */
  readonly batch?: number
  /** Batch-norm statistics: 'running' (default) or each batch's own. */
  readonly norm?: 'running' | 'batch'
  /**
   * Noise level in units of x, one for all or float32 [n], for a noise-conditioned network; default its smallest.
   * @throws LangevinError E_CONFIG for a network that takes none, E_SHAPE and RangeError for levels that do not fit or are not positive
   */
  readonly sigma?: number | HostTensor
  /**
   * The class y that each score is of: one for all or int32 [n]; for `class_score` only.
   * @throws LangevinError E_CONFIG for a model without classes, E_SHAPE and RangeError for classes that do not fit
   */
  readonly classes?: number | HostTensor
  readonly signal?: AbortSignal
}

/** One native call: what it computes, and the inputs of its graph by name in the order of the plan. */
interface Call {
  readonly output: ModelOutput
  readonly norm: 'running' | 'batch'
  readonly inputs: ReadonlyMap<CallInput, HostTensor>
}
type CallInput = OutputInput | 'sigma'

interface Compiled {
  readonly plan: CompiledPlan
  readonly inputs: ReadonlyMap<CallInput, DeviceTensor>
  readonly out: DeviceTensor
}

export interface ModelOptions {
  /** Initial values follow from it; default 0. */
  readonly seed?: number | undefined
  /** Default: the default device, `setDefaultDevice`. */
  readonly device?: Device | undefined
  /** All variables by name, in place of initial values. */
  readonly values?: ReadonlyMap<string, HostTensor>
}

/** A network and the values of its variables. */
export class Model {
  readonly network: Network
  readonly device: Device
  private readonly values = new Map<string, HostTensor>()
  private uploaded: Promise<Map<string, DeviceTensor>> | undefined
  private readonly plans = new Map<string, Promise<Compiled>>()

  /**
   * Initial values follow from `seed` and the variable's name alone, so adding a layer leaves the others' as they were. With `values` (all
   * variables by name) they are those instead. @throws LangevinError E_CHECKPOINT for values that do not fit
   */
  constructor(network: Network, options: ModelOptions = {}) {
    this.network = network
    this.device = chosenDevice(options.device)
    if (options.values !== undefined) checkValues(network, options.values, 'the given values', () => false)
    for (const v of network.variables) {
      this.values.set(v.name, options.values?.get(v.name) ?? initialize(v, options.seed ?? 0))
    }
  }

  /** Number of trained numbers. */
  get parameterCount(): number {
    return this.network.variables.filter((v) => v.role === 'parameter').reduce((n, v) => n + sizeOf(v.shape), 0)
  }

  /** The present value of a variable; a copy is not made. */
  value(name: string): HostTensor {
    const v = this.values.get(name)
    if (v === undefined)
      throw new RangeError(`Model: no variable '${name}'. Known: ${[...this.values.keys()].join(', ')}`)
    return v
  }

  /** All variables by name, as a state_dict. */
  stateDict(): ReadonlyMap<string, HostTensor> {
    return this.values
  }

  /** Replaces values; every variable must be there with its shape. Other names are refused unless `ignore` accepts them. */
  async setValues(
    values: ReadonlyMap<string, HostTensor>,
    source = 'the given values',
    ignore: (name: string) => boolean = () => false,
  ): Promise<void> {
    checkValues(this.network, values, source, ignore)
    for (const v of this.network.variables) this.values.set(v.name, values.get(v.name) as HostTensor)
    for (const [name, t] of (await this.uploaded) ?? []) await t.write(this.value(name))
  }

  /** Class logits [n, classes]. */
  async logits(x: HostTensor, options?: EvaluateOptions): Promise<HostTensor> {
    this.network.needClasses('logits')
    return this.evaluate('logits', x, options)
  }

  /** E(x) = -log p(x) + constant: [n]. */
  async energy(x: HostTensor, options?: EvaluateOptions): Promise<Float32Array> {
    return (await this.evaluate('energy', x, options)).data as Float32Array
  }

  /** ∇x log p(x) = -∇x E(x), the shape of x; with `classes` ∇x log p(x|y). */
  score(x: HostTensor, options?: EvaluateOptions): Promise<HostTensor> {
    return this.evaluate(options?.classes === undefined ? 'score' : 'class_score', x, options)
  }

  /** What the last linear layer reads, [n, d]. @throws LangevinError E_CONFIG for a network that does not end in one */
  async features(x: HostTensor, options?: EvaluateOptions): Promise<HostTensor> {
    return this.evaluate('features', x, options)
  }

  /**
   * The graph of an output for a batch x [n, ...shape] (of `sample`: z); the exporter uses the same. `sigma`: noise levels [n] or a scalar;
   * `y`: classes int32 [n] of `class_score`.
   */
  graph(
    output: ModelOutput,
    x: Tensor,
    variables: Variables,
    norm: 'running' | 'batch' = 'running',
    sigma?: Tensor,
    y?: Tensor,
  ): Tensor {
    const given = { [mainInput(output)]: x, ...(y && { y }) }
    return outputGraph(this.network, output, given, { variables, norm, ...(sigma && { sigma }) })
  }

  /**
   * Any output by name for x float32 [n, ...shape]; for `sample` x is base noise z [n, ...baseShape].
   * @throws LangevinError E_CONFIG for an output that the model has not, E_SHAPE for inputs that do not fit
   */
  async evaluate(output: ModelOutput, x: HostTensor, options: EvaluateOptions = {}): Promise<HostTensor> {
    const { batch = 256, norm = 'running', signal } = options
    const what = `Model.${output}`
    needOutput(this.network, output, 'Model')
    const n = x.shape[0] ?? 0
    const shape = output === 'sample' ? (this.network.baseShape as Shape) : this.network.shape
    if (x.dtype !== 'float32' || !sameShape(x.shape.slice(1), shape)) {
      throw new LangevinError(
        'E_SHAPE',
        `${what}: ${mainInput(output)} must be float32 [n,${shape.join(',')}]; got ${x.dtype}${showShape(x.shape)}`,
      )
    }
    if (!Number.isInteger(batch) || batch < 1)
      throw new RangeError(`${what}: batch must be a positive integer; got ${batch}`)
    const inputs = new Map<CallInput, HostTensor>([[mainInput(output), x]])
    const y = this.classes(output, n, options.classes)
    const sigma = this.levels(output, n, options.sigma)
    if (y !== undefined) inputs.set('y', y)
    if (sigma !== undefined) inputs.set('sigma', sigma)
    let result: Float32Array | undefined
    let each: Shape = []
    for (let at = 0; at < n; at += batch) {
      signal?.throwIfAborted()
      const part = await this.call({ output, norm, inputs: rowsOf(inputs, at, Math.min(n, at + batch)) })
      each = part.shape.slice(1)
      result ??= new Float32Array(n * sizeOf(each))
      result.set(part.data as Float32Array, at * sizeOf(each))
    }
    if (result === undefined) each = this.trace({ output, norm, inputs }, 1).result.shape.slice(1)
    return hostTensor(result ?? new Float32Array(0), [n, ...each])
  }

  /** The noise level of each of n examples, or undefined where none is given. */
  private levels(output: string, n: number, sigma: number | HostTensor | undefined): HostTensor | undefined {
    if (sigma === undefined) return undefined
    this.network.needSigma(`Model.${output} with sigma`)
    const all = typeof sigma === 'number' ? hostTensor(new Float32Array(n).fill(sigma), [n]) : sigma
    if (all.dtype !== 'float32' || !sameShape(all.shape, [n])) {
      throw new LangevinError(
        'E_SHAPE',
        `Model.${output}: sigma must be a number or float32 [${n}], one level an example; got ${all.dtype}${showShape(all.shape)}`,
      )
    }
    for (const v of all.data) checkLevel(`Model.${output}`, 'sigma', v)
    return all
  }

  /** The class of each of n examples, for the one output that takes classes. */
  private classes(output: ModelOutput, n: number, classes: number | HostTensor | undefined): HostTensor | undefined {
    const takes = inputsOf(output).includes('y')
    if (!takes && classes === undefined) return undefined
    if (!takes || classes === undefined) {
      const why = takes ? 'needs classes: a number for all, or int32 [n]' : 'takes no classes; they are for class_score'
      throw new LangevinError('E_CONFIG', `Model.${output} ${why}`)
    }
    const all =
      typeof classes === 'number'
        ? hostTensor(
            Int32Array.from({ length: n }, () => classes),
            [n],
          )
        : classes
    const given = typeof classes === 'number' ? [classes] : all.data
    if (all.dtype !== 'int32' || !sameShape(all.shape, [n])) {
      throw new LangevinError(
        'E_SHAPE',
        `Model.${output}: classes must be a number or int32 [${n}]; got ${all.dtype}${showShape(all.shape)}`,
      )
    }
    for (const c of given) {
      if (!Number.isInteger(c) || c < 0 || c >= this.network.classes)
        throw new RangeError(`Model.${output}: classes must be in 0..${this.network.classes - 1}; got ${c}`)
    }
    return all
  }

  private async call({ output, norm, inputs }: Call): Promise<HostTensor> {
    const weights = await this.upload()
    const rows = inputs.get(mainInput(output))?.shape[0] as number
    const key = `${output}/${norm}/${rows}/${[...inputs.keys()].join(',')}`
    let pending = this.plans.get(key)
    if (pending === undefined) {
      pending = this.compile({ output, norm, inputs }, rows)
      this.plans.set(key, pending)
    }
    const { plan, inputs: bound, out } = await pending
    // Queued back to back on the one native worker, so concurrent calls do not mix.
    const work: Promise<unknown>[] = [...inputs].map(([name, t]) => (bound.get(name) as DeviceTensor).write(t))
    work.push(plan.run([...bound.values(), ...weights.values()], [out]))
    const read = out.read()
    await Promise.all([...work, read])
    return read
  }

  /** The graph of a call for a number of rows, its inputs and the network's variables. */
  private trace({ output, norm, inputs }: Call, rows: number) {
    const given = new Map(
      [...inputs].map(([name, t]) => [name, ops.input(name, [rows, ...t.shape.slice(1)], t.dtype)] as const),
    )
    const weights = this.network.variables.map((v) => ops.input(v.name, v.shape, 'float32'))
    const byName = new Map(weights.map((t, i) => [(this.network.variables[i] as VariableSpec).name, t]))
    const variables = new Variables((v) => byName.get(v.name) as Tensor)
    const main = given.get(mainInput(output)) as Tensor
    const result = this.graph(output, main, variables, norm, given.get('sigma'), given.get('y'))
    return { given, weights, result }
  }

  private async compile(call: Call, rows: number): Promise<Compiled> {
    const { given, weights, result } = this.trace(call, rows)
    const plan = await compileGraph(this.device, [...given.values(), ...weights], [{ tensor: result }])
    const empty = (t: Tensor): DeviceTensor => DeviceTensor.empty(this.device, t.dtype, t.shape)
    return { plan, inputs: new Map([...given].map(([name, t]) => [name, empty(t)])), out: empty(result) }
  }

  /** The values on the device; concurrent callers wait for the same upload. */
  protected upload(): Promise<Map<string, DeviceTensor>> {
    this.uploaded ??= this.copyToDevice()
    return this.uploaded
  }

  private async copyToDevice(): Promise<Map<string, DeviceTensor>> {
    const made = new Map<string, DeviceTensor>()
    for (const [name, value] of this.values) made.set(name, DeviceTensor.empty(this.device, 'float32', value.shape))
    for (const [name, tensor] of made) await tensor.write(this.value(name))
    return made
  }

  /** Writes the state_dict as safetensors (PyTorch: `safetensors.torch.load_file`). */
  save(path: string, metadata: Record<string, string> = {}): Promise<void> {
    return writeSafetensors(path, this.values, { network: JSON.stringify(this.network.config), ...metadata })
  }

  /** Loads a state_dict, ours or PyTorch's. Of a run's checkpoint it takes the weights as trained; with `ema`, `openRun` gives their average. */
  async load(path: string): Promise<void> {
    const { tensors } = await readSafetensors(path)
    await this.setValues(tensors, path, (n) => n.includes('/'))
  }

  /** Frees device memory; the model stays usable. */
  async dispose(): Promise<void> {
    const uploaded = await this.uploaded
    this.uploaded = undefined
    for (const t of uploaded?.values() ?? []) t.dispose()
    for (const pending of this.plans.values()) {
      const { plan, inputs, out } = await pending
      plan.dispose()
      for (const t of [...inputs.values(), out]) t.dispose()
    }
    this.plans.clear()
  }
}

/** The input that an output is evaluated at. */
function mainInput(output: ModelOutput): 'x' | 'z' {
  return output === 'sample' ? 'z' : 'x'
}

/** Rows `from` to `to` (exclusive) of every input. */
function rowsOf(inputs: Call['inputs'], from: number, to: number): Call['inputs'] {
  return new Map(
    [...inputs].map(([name, t]) => {
      const each = sizeOf(t.shape.slice(1))
      return [name, hostTensor(t.data.subarray(from * each, to * each), [to - from, ...t.shape.slice(1)], t.dtype)]
    }),
  )
}

/** Every variable must be there with its shape; other names are refused unless `ignore` accepts them. */
function checkValues(
  network: Network,
  values: ReadonlyMap<string, HostTensor>,
  source: string,
  ignore: (name: string) => boolean,
): void {
  for (const v of network.variables) {
    const value = values.get(v.name)
    if (value === undefined)
      throw new LangevinError('E_CHECKPOINT', `${source} has no tensor '${v.name}': it belongs to another network`, {
        name: v.name,
      })
    if (!sameShape(value.shape, v.shape) || value.dtype !== 'float32') {
      throw new LangevinError(
        'E_CHECKPOINT',
        `${source}: tensor '${v.name}' is ${value.dtype}${showShape(value.shape)}, the network needs float32${showShape(v.shape)}: it belongs to another network`,
      )
    }
  }
  const known = new Set(network.variables.map((v) => v.name))
  const extra = [...values.keys()].filter((n) => !known.has(n) && !n.endsWith('num_batches_tracked') && !ignore(n))
  if (extra.length > 0) {
    throw new LangevinError(
      'E_CHECKPOINT',
      `${source} has tensors this network does not: ${extra.slice(0, 5).join(', ')}${extra.length > 5 ? ', ...' : ''}`,
    )
  }
}
