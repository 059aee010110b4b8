/**
 * Chains moved by exported samplers: the state that goes from call to call, and the loop that asks for a few steps, shows them and asks again. The
 * sampler itself (gradients, noise, accept steps) is inside of the ONNX file.
 */
import { nextFrame, showProblem } from './dom.ts'
import type { Engine } from './engine.ts'
import { type Feeds, float32, int32, int64, type PlainTensor, scalar } from './protocol.ts'
import { freshSeed } from './random.ts'

/** A sampler file, and the inputs it takes. */
export interface SamplerFile {
  readonly url: string
  readonly inputs: readonly string[]
  /** What its options stand for, by input. */
  readonly defaults?: { readonly step_size?: number; readonly noise_scale?: number }
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

/** One call of a sampler file. Every call has a seed of its own, so the chain's noise never repeats. */
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
    from: { readonly x?: Float32Array; readonly y: Int32Array },
    settings: StepSettings,
  ): Promise<{ x: Float32Array; energies: Float32Array }> {
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
    const { outputs } = await this.engine.run(file.url, feeds, ['samples', 'energies'])
    return { x: floats(outputs.samples), energies: floats(outputs.energies) }
  }
}

function floats(tensor: PlainTensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data
  throw new Error('The sampler gave no samples and energies; is it a file of langevin?')
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
