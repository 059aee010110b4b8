/**
 * A generator with numbers: draws and means of latents on the device, and files. It has no energy and no density, so it is no Model;
 * training is lib/trainers' part.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { chosenDevice, type Device, type DeviceOption } from '../runtime/devices.ts'
import { readSafetensors, writeSafetensors } from '../runtime/safetensors.ts'
import { keyFromSeed } from '../runtime/state.ts'
import { buildGenerator, type Generator, type GeneratorConfig } from './generator.ts'
import { initialize } from './initialize.ts'
import { type Pass, Variables } from './variables.ts'

export interface GeneratorModelOptions extends DeviceOption {
  /** Initial values follow from it; default 0. */
  readonly seed?: number
  /** All variables by name, in place of initial values. */
  readonly values?: ReadonlyMap<string, HostTensor>
}

export interface GeneratorBatchOptions {
  /** Examples per native call; default 256. */
  readonly batch?: number
  readonly signal?: AbortSignal
}

export interface GeneratorSampleOptions extends GeneratorBatchOptions {
  /** Number of draws. */
  readonly count: number
  /** The draws follow from it and `batch`; default 0. */
  readonly seed?: number
  /** Adds the learned noise σε, without which x is not a draw of q but its mean given z; default true. */
  readonly noise?: boolean
}

/** A generator and the values of its variables. */
export class GeneratorModel {
  readonly generator: Generator
  readonly device: Device
  private readonly values: ReadonlyMap<string, HostTensor>
  private readonly plans = new Map<string, Promise<CompiledPlan>>()

  /**
   * Initial values follow from `seed` (default 0) and the variables' names; with `values` (all variables by name) they are those instead.
   * @throws LangevinError E_CHECKPOINT for values that do not fit
   */
  constructor(generator: Generator, options: GeneratorModelOptions = {}) {
    const { seed = 0, values } = options
    this.device = chosenDevice(options.device)
    this.generator = generator
    this.values = new Map(
      generator.variables.map((v) => {
        const value = values === undefined ? initialize(v, seed) : values.get(v.name)
        if (value === undefined || value.dtype !== 'float32' || !sameShape(value.shape, v.shape)) {
          const got = value === undefined ? 'nothing' : `${value.dtype}${showShape(value.shape)}`
          throw new LangevinError(
            'E_CHECKPOINT',
            `generator: variable '${v.name}' must be float32${showShape(v.shape)}; got ${got}: the values belong to another generator`,
          )
        }
        return [v.name, value]
      }),
    )
  }

  /** The generator that `save` wrote. @throws LangevinError E_CHECKPOINT for a file that holds none */
  static async open(path: string, options: DeviceOption = {}): Promise<GeneratorModel> {
    const { tensors, metadata } = await readSafetensors(path)
    if (metadata.generator === undefined)
      throw new LangevinError('E_CHECKPOINT', `${path} holds no generator; write one with GeneratorModel.save`)
    return new GeneratorModel(buildGenerator(JSON.parse(metadata.generator) as GeneratorConfig), {
      ...options,
      values: tensors,
    })
  }

  /** All variables by name. */
  stateDict(): ReadonlyMap<string, HostTensor> {
    return this.values
  }

  /** Writes the variables, and the config that rebuilds the generator, as safetensors. */
  save(path: string): Promise<void> {
    return writeSafetensors(path, this.values, { generator: JSON.stringify(this.generator.config) })
  }

  /** The learned standard deviation of the noise, in units of x. */
  async sigma(): Promise<number> {
    const [value] = await this.call('sigma', [], (_, pass) => this.generator.sigma(pass))
    return (value as HostTensor).data[0] as number
  }

  /** g(z), the mean of x given z: z float32 [n, latent] to [n, ...shape]. */
  async generate(z: HostTensor, options: GeneratorBatchOptions = {}): Promise<HostTensor> {
    const { latent } = this.generator
    if (z.dtype !== 'float32' || z.shape.length !== 2 || z.shape[1] !== latent) {
      throw new LangevinError(
        'E_SHAPE',
        `GeneratorModel.generate takes float32 [n,${latent}]; got ${z.dtype}${showShape(z.shape)}`,
      )
    }
    return this.inBatches('generate', z.shape[0] as number, options, async (from, rows) => {
      const part = hostTensor(z.data.subarray(from * latent, (from + rows) * latent), [rows, latent])
      const [x] = await this.call('generate', [part], ([latents], pass) =>
        this.generator.generate(latents as Tensor, pass),
      )
      return x as HostTensor
    })
  }

  /** Independent exact draws x [count, ...shape]. */
  async sample(options: GeneratorSampleOptions): Promise<HostTensor> {
    const { count, seed = 0, noise = true } = options
    // Each batch is a step of the key.
    let step = 0
    return this.inBatches('sample', count, options, async (_, rows) => {
      const [x] = await this.call(`sample/${rows}/${noise}`, [keyFromSeed(seed, step++)], ([key], pass) => {
        const drawn = this.generator.sample(key as Tensor, rows, 0, pass)
        return noise ? drawn.x : this.generator.generate(drawn.z, pass)
      })
      return x as HostTensor
    })
  }

  /** Frees native memory; the generator stays usable. */
  async dispose(): Promise<void> {
    for (const pending of this.plans.values()) (await pending).dispose()
    this.plans.clear()
  }

  private async inBatches(
    what: string,
    rows: number,
    { batch = 256, signal }: GeneratorBatchOptions,
    part: (from: number, rows: number) => Promise<HostTensor>,
  ): Promise<HostTensor> {
    for (const [name, value, least] of [
      ['count', rows, 0],
      ['batch', batch, 1],
    ] as const) {
      if (!Number.isInteger(value) || value < least)
        throw new RangeError(`GeneratorModel.${what}: ${name} must be an integer ≥ ${least}; got ${String(value)}`)
    }
    const { shape } = this.generator
    const out = new Float32Array(rows * sizeOf(shape))
    for (let at = 0; at < rows; at += batch) {
      signal?.throwIfAborted()
      const { data } = await part(at, Math.min(batch, rows - at))
      out.set(data as Float32Array, at * sizeOf(shape))
    }
    return hostTensor(out, [rows, ...shape])
  }

  /** Runs a graph of some inputs and the variables, compiled once per name and shapes. */
  private async call(
    name: string,
    inputs: readonly HostTensor[],
    graph: (inputs: readonly Tensor[], pass: Pass) => Tensor,
  ): Promise<HostTensor[]> {
    const key = `${name}/${inputs.map((t) => t.shape.join('x')).join('/')}`
    let pending = this.plans.get(key)
    if (pending === undefined) {
      const given = inputs.map((t, i) => ops.input(`input${i}`, t.shape, t.dtype))
      const weights = this.generator.variables.map((v) => ops.input(v.name, v.shape))
      const byName = new Map(weights.map((t, i) => [this.generator.variables[i]?.name, t]))
      const variables = new Variables((v) => byName.get(v.name) as Tensor)
      pending = compileGraph(
        this.device,
        [...given, ...weights],
        [{ tensor: graph(given, { variables, norm: 'running' }) }],
      )
      this.plans.set(key, pending)
    }
    return (await pending).call([...inputs, ...this.values.values()])
  }
}
