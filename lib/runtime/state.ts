/**
 * Everything a run owns, as named device tensors. Persistent ones make up a checkpoint; the others are scratch or can be made again.
 * Also `Recorder`, which records one plan that reads and writes tensors of the state by name.
 */
import { internalError, LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor, zeros } from '../graph/host-tensor.ts'
import { type DType, type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { input } from '../ops/index.ts'
import { type CompiledPlan, compileGraph, type Precision } from './compile.ts'
import { DeviceTensor } from './device.ts'
import type { Device } from './devices.ts'
import type { RunInstruction } from './program.ts'

interface Entry {
  readonly tensor: DeviceTensor
  readonly persistent: boolean
}

/** Named device tensors. Names of parameters and statistics are the network's; others carry a prefix (`optimizer/`, `rng/`, `chain/`, ...). */
export class State {
  readonly device: Device
  /** Of the plans that are recorded over this state; the tensors themselves are float32 always. */
  readonly precision: Precision
  private readonly entries = new Map<string, Entry>()

  constructor(device: Device, precision: Precision = 'float32') {
    this.device = device
    this.precision = precision
  }

  /** Creates a tensor of zeros. */
  create(name: string, shape: Shape, dtype: DType = 'float32', persistent = true): DeviceTensor {
    if (this.entries.has(name)) throw internalError(`state ${name} is created twice`)
    const tensor = DeviceTensor.empty(this.device, dtype, shape)
    this.entries.set(name, { tensor, persistent })
    return tensor
  }

  /** Creates a tensor with the given contents. */
  async put(name: string, value: HostTensor, persistent = true): Promise<void> {
    await this.create(name, value.shape, value.dtype, persistent).write(value)
  }

  has(name: string): boolean {
    return this.entries.has(name)
  }

  get(name: string): DeviceTensor {
    const entry = this.entries.get(name)
    if (entry === undefined) throw internalError(`state ${name} does not exist`)
    return entry.tensor
  }

  names(persistentOnly = false): string[] {
    return [...this.entries].filter(([, e]) => !persistentOnly || e.persistent).map(([n]) => n)
  }

  /** Numbers of the named tensors (default: all persistent ones). */
  async read(names: readonly string[] = this.names(true)): Promise<Map<string, HostTensor>> {
    const out = new Map<string, HostTensor>()
    for (const name of names) out.set(name, await this.get(name).read())
    return out
  }

  /** Overwrites every persistent tensor; refuses, before changing anything, a set with other names, shapes or dtypes. */
  async restore(values: ReadonlyMap<string, HostTensor>, source: string): Promise<void> {
    for (const name of this.names(true)) {
      const value = values.get(name)
      const have = this.get(name)
      if (value === undefined) {
        throw new LangevinError(
          'E_CHECKPOINT',
          `${source} has no tensor '${name}': it belongs to another network or to other trainer settings`,
        )
      }
      if (!sameShape(value.shape, have.shape) || value.dtype !== have.dtype) {
        throw new LangevinError(
          'E_CHECKPOINT',
          `${source}: tensor '${name}' is ${value.dtype}${showShape(value.shape)}, this run needs ${have.dtype}${showShape(have.shape)}: it belongs to another network or to other trainer settings`,
        )
      }
    }
    for (const name of this.names(true)) await this.get(name).write(values.get(name) as HostTensor)
  }

  dispose(): void {
    for (const { tensor } of this.entries.values()) tensor.dispose()
    this.entries.clear()
  }
}

/** A compiled plan with the state tensors that it reads and writes: one `run` of a program. */
export interface Stage {
  readonly name: string
  readonly plan: CompiledPlan
  readonly inputs: readonly DeviceTensor[]
  readonly outputs: readonly DeviceTensor[]
}

/** The instruction that runs a stage. */
export function runStage({ plan, inputs, outputs }: Stage): RunInstruction {
  return { do: 'run', plan, inputs, outputs }
}

/** Records one plan over the state: `read` gives graph inputs, `write` says which state tensors the results go to. */
export class Recorder {
  private readonly state: State
  private readonly reads = new Map<string, Tensor>()
  private readonly writes = new Map<string, Tensor>()

  constructor(state: State) {
    this.state = state
  }

  /** The graph tensor that holds the state tensor `name` as it is when the plan starts. */
  read(name: string): Tensor {
    let t = this.reads.get(name)
    if (t === undefined) {
      const { shape, dtype } = this.state.get(name)
      t = input(name, shape, dtype)
      this.reads.set(name, t)
    }
    return t
  }

  /** Stores `value` in the state tensor `name`, which is created (as scratch) if it does not exist. */
  write(name: string, value: Tensor): void {
    if (this.writes.has(name)) throw internalError(`stage writes ${name} twice`)
    if (!this.state.has(name)) this.state.create(name, value.shape, value.dtype, false)
    const have = this.state.get(name)
    if (!sameShape(have.shape, value.shape) || have.dtype !== value.dtype) {
      throw internalError(`stage writes ${value.toString()} to ${name}, which is ${have.dtype}${showShape(have.shape)}`)
    }
    this.writes.set(name, value)
  }

  async compile(name: string): Promise<Stage> {
    const inputNames = [...this.reads.keys()]
    const outputs = [...this.writes].map(([n, tensor]) => {
      const alias = inputNames.indexOf(n)
      return alias < 0 ? { tensor } : { tensor, alias }
    })
    const { device, precision } = this.state
    const plan = await compileGraph(device, [...this.reads.values()], outputs, { precision })
    return {
      name,
      plan,
      inputs: inputNames.map((n) => this.state.get(n)),
      outputs: [...this.writes.keys()].map((n) => this.state.get(n)),
    }
  }
}

/** An int32 key [seed low, seed high, step low, step high] from an integer seed. @throws RangeError for a seed that is no integer */
export function keyFromSeed(seed: number | bigint, step = 0): HostTensor {
  if (typeof seed === 'number' && !Number.isSafeInteger(seed))
    throw new RangeError(`seed must be an integer within ±(2^53 - 1); got ${String(seed)}`)
  const s = BigInt.asUintN(64, BigInt(seed))
  const words = [Number(s & 0xffffffffn), Number(s >> 32n), step >>> 0, Math.floor(step / 2 ** 32)]
  return hostTensor(new Int32Array(words.map((w) => w | 0)), [4])
}

/** Zeros of a shape. */
export function zeroTensor(shape: Shape, dtype: DType = 'float32'): HostTensor {
  return hostTensor(zeros(dtype, sizeOf(shape)), shape, dtype)
}
