/**
 * The two ways to digits. From noise: an annealed sampler runs down its noise levels in one call, and every step of that run is then shown. Steering:
 * chains of the classifier's own p(x|y), moved a few steps a call for as long as one likes.
 */
import type { Bundle } from './bundle.ts'
import type { ChainState, SamplerCalls, SamplerFile, Trajectory } from './chains.ts'
import { pause, select, wantsStillness } from './dom.ts'
import { noise } from './random.ts'

/** Milliseconds between two pictures of a run from noise, and between two frames of steered chains. */
const [FRAME, SLOW_FRAME] = [30, 100]
/** Steps after which steered chains rest. */
const REST = 10
/** Where little motion is wanted, a picture shows more steps. */
const FEWER_PICTURES = 10

export interface StepControls {
  steps(): number
  stepSize(): number
  noiseScale(): number
}

export interface SamplingWay {
  /** One line for the page. */
  readonly help: string
  /** Whether the classifier can read the samples before their end. */
  readonly legible: boolean
  /** Whether to stop here until the user goes on. */
  rests(state: ChainState): boolean
  begin(chains: number): Promise<ChainState>
  /** The chains some steps later; undefined at their end. */
  next(state: ChainState): Promise<ChainState | undefined>
}

/** Samples of an annealed sampler with `trajectory`, whose starts are drawn in the file. */
export class FromNoise implements SamplingWay {
  readonly help: string
  readonly legible = false
  private readonly calls: SamplerCalls
  private readonly file: SamplerFile
  private readonly shape: readonly number[]
  private readonly controls: Pick<StepControls, 'steps'>
  private run: Trajectory | undefined

  constructor(calls: SamplerCalls, file: SamplerFile, shape: readonly number[], controls: Pick<StepControls, 'steps'>) {
    this.calls = calls
    this.file = file
    this.shape = shape
    this.controls = controls
    this.help = `A model that learned the score at many noise levels. Its sampler draws noise and lowers the level in ${this.steps} steps; whatever digits come, the classifier of the first tab reads them.`
  }

  private get steps(): number {
    return this.file.defaults?.steps ?? 100
  }

  async begin(chains: number): Promise<ChainState> {
    const run = await this.calls.watch(this.file, this.shape, chains, this.steps)
    this.run = run
    return stateAt(run, 1)
  }

  rests(): boolean {
    return false
  }

  async next({ step }: ChainState): Promise<ChainState | undefined> {
    const { run } = this
    if (run === undefined || step >= run.steps) return undefined
    await pause(FRAME)
    const more = this.controls.steps() * (wantsStillness() ? FEWER_PICTURES : 1)
    return stateAt(run, Math.min(run.steps, step + more))
  }
}

function stateAt({ chains, steps, x, energies }: Trajectory, step: number): ChainState {
  const each = x.length / steps
  return {
    x: x.subarray((step - 1) * each, step * each),
    y: new Int32Array(chains).fill(-1),
    step,
    energies: energies.subarray((step - 1) * chains, step * chains),
  }
}

export interface SteeringFiles {
  /** Chains of p(x|y) from given points. */
  readonly chain: SamplerFile
  /** The same from Gaussians of the classes; without it, starts are those of the bundle's own sampler. */
  readonly gaussians?: SamplerFile | undefined
}

/** Chains of p(x|y) from Gaussians of the classes, which an exported sampler draws (in no steps), or from noise of the page. */
export class Steering implements SamplingWay {
  readonly help =
    'Chains of p(x|y) of the classifier itself. From the Gaussian of a class a few steps make it plainer; many, or noise to begin with, lead to caricatures: what the network finds most like that digit, not what people write.'
  readonly legible = true
  private readonly calls: SamplerCalls
  private readonly bundle: Bundle
  private readonly files: SteeringFiles
  private readonly controls: StepControls
  private readonly random: () => number

  constructor(calls: SamplerCalls, bundle: Bundle, files: SteeringFiles, controls: StepControls, random: () => number) {
    this.calls = calls
    this.bundle = bundle
    this.files = files
    this.controls = controls
    this.random = random
  }

  async begin(chains: number): Promise<ChainState> {
    const { shape, sampler, classes } = this.bundle
    const { chain, gaussians = sampler } = this.files
    const wanted = select('sample-class').value
    const y = Int32Array.from({ length: chains }, () =>
      wanted === '' ? Math.floor(this.random() * classes.length) : Number(wanted),
    )
    const none = { steps: 0, stepSize: this.controls.stepSize() }
    if (select('sample-start').value === 'gaussians' && gaussians !== undefined)
      return { ...(await this.calls.call(gaussians, shape, { y }, none)), y, step: 0 }
    const x = noise(
      shape.reduce((a, b) => a * b, chains),
      -1,
      1,
      this.random,
    )
    return { ...(await this.calls.call(chain, shape, { x, y }, none)), y, step: 0 }
  }

  rests({ step }: ChainState): boolean {
    return step > 0 && step % REST === 0
  }

  async next(state: ChainState): Promise<ChainState> {
    const { controls } = this
    await pause(SLOW_FRAME)
    const steps = Math.min(controls.steps(), REST - (state.step % REST))
    const settings = { steps, stepSize: controls.stepSize(), noiseScale: controls.noiseScale() }
    const moved = await this.calls.call(this.files.chain, this.bundle.shape, state, settings)
    return { ...moved, y: state.y, step: state.step + steps }
  }
}
