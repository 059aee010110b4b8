/**
 * Chains moved by exported samplers: the state that goes from call to call, and the loop that asks for a few steps, shows them and asks again. The
 * sampler itself (gradients, noise, accept steps) is inside of the ONNX file.
 */
import { nextFrame, showProblem } from './dom.ts'
import type { Engine } from './engine.ts'
import { type Feeds, float32, int32, int64, type Outputs, type PlainTensor, scalar } from './protocol.ts'
import { freshSeed } from './random.ts'

/** A sampler file, and the inputs it takes. */
export interface SamplerFile {
  readonly url: string
  readonly inputs: readonly string[]
  /** What its options stand for, by input. */
  readonly defaults?: { readonly steps?: number; readonly step_size?: number; readonly noise_scale?: number }
}

export interface StepSettings {
  readonly steps: number
  readonly stepSize: number
  /** Standard deviation of the noise of a step; of use where the file has that input. */
  readonly noiseScale?: number
}

export interface ChainState {
  /** [chains, ...shape] */
  readonly x: Float32Array
  /** Class of each chain, for files that take it. */
  readonly y: Int32Array
  readonly step: number
  readonly energies: Float32Array
}

/** Every step of chains that ran in one call. */
export interface Trajectory {
  readonly chains: number
  readonly steps: number
  /** [steps, chains, ...shape] */
  readonly x: Float32Array
  /** [steps, chains] */
  readonly energies: Float32Array
}

type From = { readonly x?: Float32Array; readonly y: Int32Array }

/** Calls of sampler files. Every call has a seed of its own, so the chain's noise never repeats. */
export class SamplerCalls {
  private readonly engine: Engine
  private seed = BigInt(freshSeed())

  constructor(engine: Engine) {
    this.engine = engine
  }

  /** `steps` steps from x0 (or, in a file that draws its own starts, from there). */
  async call(
    file: SamplerFile,
    shape: readonly number[],
    from: From,
    settings: StepSettings,
  ): Promise<{ x: Float32Array; energies: Float32Array }> {
    const outputs = await this.run(file, shape, from, settings, ['samples', 'energies'])
    return { x: floats(outputs.samples), energies: floats(outputs.energies) }
  }

  /** A whole run of a file that draws its own starts, with all that it went through. */
  async watch(file: SamplerFile, shape: readonly number[], chains: number, steps: number): Promise<Trajectory> {
    const from = { y: new Int32Array(chains).fill(-1) }
    const outputs = await this.run(file, shape, from, { steps, stepSize: 0 }, ['trajectory', 'energy_trace'])
    return { chains, steps, x: floats(outputs.trajectory), energies: floats(outputs.energy_trace) }
  }

  private async run(
    file: SamplerFile,
    shape: readonly number[],
    from: From,
    settings: StepSettings,
    wanted: readonly string[],
  ): Promise<Outputs> {
    const chains = from.y.length
    const all: Record<string, PlainTensor> = {
      y: int32(from.y, [chains]),
      steps: int64(settings.steps),
      step_size: scalar(settings.stepSize),
      noise_scale: scalar(settings.noiseScale ?? 0),
      seed: int64(this.seed++),
      ...(from.x && { x0: float32(from.x.slice(), [chains, ...shape]) }),
    }
    const feeds: Feeds = Object.fromEntries(
      file.inputs.map((name) => {
        const value = all[name]
        if (value === undefined) throw new Error(`The sampler wants an input '${name}', which this page does not have.`)
        return [name, value]
      }),
    )
    return (await this.engine.run(file.url, feeds, wanted)).outputs
  }
}

function floats(tensor: PlainTensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data
  throw new Error(
    'The sampler gave no samples and energies as this page wants them; export it as docs/browser.md says.',
  )
}

/** Repeats an asynchronous step, one a frame, while it runs. */
export class FrameLoop {
  private readonly step: () => Promise<void>
  private readonly changed: (running: boolean) => void
  private wanted = false
  private working = false

  constructor(step: () => Promise<void>, changed: (running: boolean) => void) {
    this.step = step
    this.changed = changed
  }

  get running(): boolean {
    return this.wanted
  }

  set running(wanted: boolean) {
    if (wanted === this.wanted) return
    this.wanted = wanted
    this.changed(wanted)
    if (wanted && !this.working) void this.work()
  }

  private async work(): Promise<void> {
    this.working = true
    try {
      while (this.wanted) {
        await this.step()
        await nextFrame()
      }
    } catch (error) {
      this.running = false
      showProblem(error)
    } finally {
      this.working = false
    }
  }
}
