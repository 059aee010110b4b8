/**
 * A model: a network with numbers. Evaluates logits, energies and scores on the device in batches, and reads and writes
 * PyTorch-named state_dicts as safetensors. Training and sampling are not its part.
 */
import { grad } from '../autodiff/index.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { type Device, DeviceTensor } from '../runtime/device.ts'
import { readSafetensors, writeSafetensors } from '../runtime/safetensors.ts'
import { checkLevel } from './conditioning.ts'
import { initialize } from './initialize.ts'
import type { Network } from './network.ts'
import { type VariableSpec, Variables } from './variables.ts'

export { initialize } from './initialize.ts'

/** What a model can compute for a batch x [n, ...shape]: logits [n, classes], energy [n], score ∇x log p(x) [n, ...shape]. */
export type ModelOutput = 'logits' | 'energy' | 'score'

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
  readonly signal?: AbortSignal
}

/** One native call. */
interface Part {
  readonly output: ModelOutput
  readonly norm: 'running' | 'batch'
  readonly x: HostTensor
  readonly sigma: HostTensor | undefined
}

interface Compiled {
  readonly plan: CompiledPlan
  readonly x: DeviceTensor
  readonly sigma: DeviceTensor | undefined
  readonly out: DeviceTensor
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
  constructor(
    network: Network,
    options: {
      readonly seed?: number
      readonly device?: Device
      readonly values?: ReadonlyMap<string, HostTensor>
    } = {},
  ) {
    this.network = network
    this.device = options.device ?? 'cpu'
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

  /** ∇x log p(x) = -∇x E(x): the shape of x. */
  score(x: HostTensor, options?: EvaluateOptions): Promise<HostTensor> {
    return this.evaluate('score', x, options)
  }

  /** The graph of an output for a batch; the exporter uses the same. `sigma`: noise levels [n] or a scalar. */
  graph(
    output: ModelOutput,
    x: Tensor,
    variables: Variables,
    norm: 'running' | 'batch' = 'running',
    sigma?: Tensor,
  ): Tensor {
    const pass = { variables, norm, ...(sigma && { sigma }) }
    if (output === 'logits') return this.network.logits(x, pass)
    const energy = this.network.energy(x, pass)
    if (output === 'energy') return energy
    return grad(ops.neg(ops.sum(energy)), [x])[0] as Tensor
  }

  async evaluate(output: ModelOutput, x: HostTensor, options: EvaluateOptions = {}): Promise<HostTensor> {
    const { batch = 256, norm = 'running', signal } = options
    const n = x.shape[0] ?? 0
    if (x.dtype !== 'float32' || !sameShape(x.shape.slice(1), this.network.shape)) {
      throw new LangevinError(
        'E_SHAPE',
        `Model.${output}: x must be float32 [n,${this.network.shape.join(',')}]; got ${x.dtype}${showShape(x.shape)}`,
      )
    }
    if (!Number.isInteger(batch) || batch < 1)
      throw new RangeError(`Model.${output}: batch must be a positive integer; got ${batch}`)
    const levels = this.levels(output, n, options.sigma)
    const each = sizeOf(this.network.shape)
    const data = x.data as Float32Array
    let result: Float32Array | undefined
    let shape: readonly number[] = []
    for (let at = 0; at < n; at += batch) {
      signal?.throwIfAborted()
      const rows = Math.min(batch, n - at)
      const part = await this.evaluateBatch({
        output,
        norm,
        x: hostTensor(data.subarray(at * each, (at + rows) * each), [rows, ...this.network.shape]),
        sigma: levels && hostTensor(levels.subarray(at, at + rows), [rows]),
      })
      result ??= new Float32Array((part.data.length / rows) * n)
      result.set(part.data as Float32Array, (at * part.data.length) / rows)
      shape = part.shape.slice(1)
    }
    if (result !== undefined) return hostTensor(result, [n, ...shape])
    const empty = output === 'logits' ? [this.network.classes] : output === 'score' ? this.network.shape : []
    return hostTensor(new Float32Array(0), [0, ...empty])
  }

  /** The noise level of each of n examples, or undefined where none is given. */
  private levels(output: string, n: number, sigma: number | HostTensor | undefined): Float32Array | undefined {
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
    return all.data as Float32Array
  }

  private async evaluateBatch({ output, norm, x, sigma }: Part): Promise<HostTensor> {
    const weights = await this.upload()
    const key = `${output}/${norm}/${x.shape[0]}/${sigma === undefined ? '' : 'sigma'}`
    let pending = this.plans.get(key)
    if (pending === undefined) {
      pending = this.compile(output, x.shape, norm, sigma !== undefined)
      this.plans.set(key, pending)
    }
    const { plan, x: xIn, sigma: sigmaIn, out } = await pending
    // Queued back to back on the one native worker, so concurrent calls do not mix.
    const work: Promise<unknown>[] = [xIn.write(x)]
    if (sigma !== undefined) work.push((sigmaIn as DeviceTensor).write(sigma))
    work.push(plan.run([xIn, ...(sigmaIn ? [sigmaIn] : []), ...weights.values()], [out]))
    const read = out.read()
    await Promise.all([...work, read])
    return read
  }

  private async compile(
    output: ModelOutput,
    shape: readonly number[],
    norm: 'running' | 'batch',
    withSigma: boolean,
  ): Promise<Compiled> {
    const x = ops.input('x', shape, 'float32')
    const rows = shape.slice(0, 1)
    const sigma = withSigma ? ops.input('sigma', rows, 'float32') : undefined
    const inputs = this.network.variables.map((v) => ops.input(v.name, v.shape, 'float32'))
    const byName = new Map(inputs.map((t, i) => [(this.network.variables[i] as VariableSpec).name, t]))
    const result = this.graph(output, x, new Variables((v) => byName.get(v.name) as Tensor), norm, sigma)
    const plan = await compileGraph([x, ...(sigma ? [sigma] : []), ...inputs], [{ tensor: result }])
    return {
      plan,
      x: DeviceTensor.empty(this.device, 'float32', shape),
      sigma: sigma && DeviceTensor.empty(this.device, 'float32', rows),
      out: DeviceTensor.empty(this.device, 'float32', result.shape),
    }
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
      const { plan, x, sigma, out } = await pending
      plan.dispose()
      x.dispose()
      sigma?.dispose()
      out.dispose()
    }
    this.plans.clear()
  }
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
