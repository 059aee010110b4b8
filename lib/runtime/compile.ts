/** From a graph to a plan that runs: lib/plan writes it, the addon compiles it. */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { DType, Shape, TensorType } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { SerializedPlan } from '../plan/format.ts'
import { makePlan, type Precision } from '../plan/index.ts'
import { addon, type NativePlan, native, type PlanStats, type StepProfile } from './addon.ts'
import { DeviceTensor } from './device.ts'
import { checkDevice, type Device } from './devices.ts'

/** One result of a plan. With `alias`, the result may be bound to the very tensor of that input (a position), which it then overwrites. */
export interface PlanOutput {
  readonly tensor: Tensor
  readonly alias?: number
}

/** A plan compiled for a device: kernels with their memory, for fixed shapes. */
export class CompiledPlan {
  readonly device: Device
  readonly inputs: readonly TensorType[]
  readonly outputs: readonly TensorType[]
  /** The plan before compilation, as text for people. */
  readonly text: string
  private handle: NativePlan | undefined

  constructor(
    device: Device,
    handle: NativePlan,
    inputs: readonly TensorType[],
    outputs: readonly TensorType[],
    text: string,
  ) {
    this.device = device
    this.handle = handle
    this.inputs = inputs
    this.outputs = outputs
    this.text = text
  }

  /** The addon's plan, for lib/runtime. @throws LangevinError E_DEVICE after `dispose`. */
  get native(): NativePlan {
    if (this.handle === undefined) throw new LangevinError('E_DEVICE', 'the plan has been disposed of')
    return this.handle
  }

  /** Memory, kernels and layouts. */
  get stats(): PlanStats {
    return this.native.stats
  }

  /** From here on, in plain runs and in programs, each kernel is timed (from zero); or no longer. */
  setProfiling(on: boolean): Promise<void> {
    return native('profile', () => this.native.setProfiling(on))
  }

  /** What each step has cost, in the order of running; empty where profiling was never on. */
  profile(): Promise<StepProfile[]> {
    return native('profile', () => this.native.profile())
  }

  /**
   * Queues one run. Outputs are overwritten; an output must not be a tensor that is an input, except its alias.
   * @throws LangevinError E_SHAPE, E_DTYPE (rejecting) where tensors do not fit the plan; E_DEVICE for disposed ones and those on another device.
   */
  async run(inputs: readonly DeviceTensor[], outputs: readonly DeviceTensor[]): Promise<void> {
    await native('run', () =>
      this.native.run(
        inputs.map((t) => t.native),
        outputs.map((t) => t.native),
      ),
    )
  }

  /** Runs once on numbers: uploads, runs, downloads. For tests and occasional use; repeated work keeps device tensors. */
  async call(inputs: readonly HostTensor[]): Promise<HostTensor[]> {
    const made: DeviceTensor[] = []
    const track = (t: DeviceTensor): DeviceTensor => {
      made.push(t)
      return t
    }
    try {
      const bound = inputs.map((t) => track(DeviceTensor.empty(this.device, t.dtype, t.shape)))
      const results = this.outputs.map((t) => track(DeviceTensor.empty(this.device, t.dtype, t.shape)))
      const writes = bound.map((t, i) => t.write(inputs[i] as HostTensor))
      const [, , read] = await Promise.all([
        Promise.all(writes),
        this.run(bound, results),
        Promise.all(results.map((t) => t.read())),
      ])
      return read
    } finally {
      for (const t of made) t.dispose()
    }
  }

  /** Frees the plan once queued work is done with it; programs that hold it go on. */
  dispose(): void {
    this.handle?.dispose()
    this.handle = undefined
  }
}

export type { Precision } from '../plan/index.ts'
export { checkPrecision } from '../plan/index.ts'

export interface CompileOptions {
  /**
   * 'bfloat16': matrix products and convolutions round their operands to bfloat16 (8 bits of mantissa) and sum in float32, and large
   * intermediates between them may be kept in bfloat16. Inputs, outputs, statistics, reductions and random numbers stay float32. Needs a
   * GPU, or a processor with AVX512-BF16 (`addonInfo().bfloat16`). Default 'float32'.
   */
  readonly precision?: Precision
}

/**
 * Compiles the graph of `outputs` as a function of `inputs` (op `input`; tensors bound in this order) for a device, where all its tensors live.
 * @throws LangevinError E_GRAPH for a graph that does not fit, E_CONFIG for an unknown precision, E_PLAN or E_DEVICE from the compiler
 * (E_DEVICE too where the device is not here or has no bfloat16).
 */
export async function compileGraph(
  device: Device,
  inputs: readonly Tensor[],
  outputs: readonly PlanOutput[],
  options: CompileOptions = {},
): Promise<CompiledPlan> {
  checkDevice(device)
  const { precision = 'float32' } = options
  const plan = makePlan(inputs, outputs, { precision, convolutionBias: device === 'cpu' })
  return compileSerialized(
    device,
    plan,
    inputs.map(typeOf),
    outputs.map((o) => typeOf(o.tensor)),
  )
}

/** Compiles a plan that has been serialised. The types are those of its inputs and outputs. */
export async function compileSerialized(
  device: Device,
  plan: SerializedPlan,
  inputs: readonly TensorType[],
  outputs: readonly TensorType[],
): Promise<CompiledPlan> {
  const handle = await native('compile', () => addon().compile(plan.json, plan.constants, device))
  return new CompiledPlan(device, handle, inputs, outputs, plan.text)
}

function typeOf(t: { readonly shape: Shape; readonly dtype: DType }): TensorType {
  return { shape: t.shape, dtype: t.dtype }
}
