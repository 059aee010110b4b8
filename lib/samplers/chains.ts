/**
 * Markov chains for any model or energy: n chains on the device, advanced natively k steps at a time. The sampler's state (x, key) stays
 * between calls; info tells energies and whether a chain left the finite numbers.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import { Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, State } from '../runtime/state.ts'
import type { Sampler } from './sampler.ts'
import { makeSampler, type SamplerOptions } from './samplers.ts'
import { drawStart, partsOf, type StartOptions } from './starts.ts'
import { networkTarget } from './target.ts'

export interface ChainsOptions {
  /** Default SGLD with JEM's settings. */
  readonly sampler?: SamplerOptions
  /** Number of chains; ignored when `start` is a tensor. Default 100. */
  readonly chains?: number
  /** Starting points [chains, ...shape], or where to draw them (uniform, normal or a mixture of these). Default uniform on [-1, 1]. */
  readonly start?: HostTensor | StartOptions
  /** Only p(x|y) of this class. */
  readonly class?: number
  /** Default 0. */
  readonly seed?: number
  /** Batch-norm statistics in the chain; default 'running'. */
  readonly norm?: 'batch' | 'running'
}

/** What a run of chains reports. */
export interface ChainInfo {
  /** Steps done since the chains began. */
  readonly steps: number
  /** Mean energy over the chains at each step of this run, before the step: float32 [steps]. */
  readonly energy: Float32Array
  /** Share of proposals accepted; 1 for samplers without an accept step. */
  readonly acceptance: number
  /** Chains that are not finite now. */
  readonly divergent: number
}

export interface AdvanceOptions {
  /** Keeps x after every so many steps; default none. */
  readonly record?: number
  readonly signal?: AbortSignal
}

const STREAM_START = 40
const STREAM_NOISE = 1000

/** Chains on the device; make them with {@link Chains.start}. */
export class Chains {
  readonly model: Model
  readonly sampler: Sampler
  readonly count: number
  private readonly state: State
  private readonly program: Program
  private readonly release: () => void
  private steps = 0

  private constructor(
    model: Model,
    sampler: Sampler,
    count: number,
    state: State,
    program: Program,
    release: () => void,
  ) {
    this.model = model
    this.sampler = sampler
    this.count = count
    this.state = state
    this.program = program
    this.release = release
  }

  /** Places the chains and compiles the step. @throws RangeError, LangevinError E_SHAPE, E_CONFIG for what does not fit. */
  static async start(model: Model, options: ChainsOptions = {}): Promise<Chains> {
    const sampler = makeSampler(options.sampler ?? { kind: 'sgld' })
    const { network } = model
    const start = options.start ?? { kind: 'uniform' }
    const given = 'data' in start ? start : undefined
    const count = given === undefined ? (options.chains ?? 100) : (given.shape[0] ?? 0)
    if (!Number.isInteger(count) || count < 1)
      throw new RangeError(`Chains: chains must be a positive integer; got ${count}`)
    if (given !== undefined && (given.dtype !== 'float32' || !sameShape(given.shape.slice(1), network.shape))) {
      throw new LangevinError(
        'E_SHAPE',
        `Chains: start must be float32 [n,${network.shape.join(',')}]; got ${given.dtype}${showShape(given.shape)}`,
      )
    }
    const state = new State(model.device)
    for (const v of network.variables) await state.put(v.name, model.value(v.name))
    await state.put('key', keyFromSeed(options.seed ?? 0))
    if (given !== undefined) await state.put('x', given)
    else await drawStarts(state, start as StartOptions, count, network.shape)
    const stage = await recordStep(state, model, sampler, options, count)
    const program = makeProgram([
      { do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs },
      { do: 'record', tensors: [state.get('energy')] },
    ])
    return new Chains(model, sampler, count, state, program, () => stage.plan.dispose())
  }

  /** Advances all chains; cancelling leaves them at a step boundary and throws E_CANCELLED. */
  async advance(
    steps: number,
    options: AdvanceOptions = {},
  ): Promise<ChainInfo & { readonly trajectory: readonly HostTensor[] }> {
    if (!Number.isSafeInteger(steps) || steps < 0)
      throw new RangeError(`Chains.advance: steps must be an integer ≥ 0; got ${steps}`)
    const every = options.record ?? steps
    const energies: number[] = []
    const trajectory: HostTensor[] = []
    for (let done = 0; done < steps; ) {
      const n = Math.min(Math.max(1, every), steps - done)
      const result = await this.program.run(n, options.signal ? { signal: options.signal } : {})
      energies.push(...result.metrics)
      done += result.completed
      this.steps += result.completed
      if (result.cancelled) throw new LangevinError('E_CANCELLED', `sampling was cancelled after ${this.steps} steps`)
      if (options.record !== undefined) trajectory.push(await this.read())
    }
    const divergent = countDivergent(await this.read())
    return { steps: this.steps, energy: Float32Array.from(energies), acceptance: 1, divergent, trajectory }
  }

  /** The chains' present points: [chains, ...shape]. */
  read(): Promise<HostTensor> {
    return this.state.get('x').read()
  }

  /** Frees native memory. */
  dispose(): void {
    this.release()
    this.state.dispose()
  }
}

async function drawStarts(state: State, start: StartOptions, count: number, shape: readonly number[]): Promise<void> {
  const unfit = partsOf(start).find((p) => p.kind === 'data' || p.kind === 'classGaussians')
  if (unfit !== undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `Chains: start '${unfit.kind}' needs a data set; draw the points yourself and give them as a tensor, or sample from a run`,
    )
  }
  const r = new Recorder(state)
  const key = r.read('key')
  const none = (): never => {
    throw new LangevinError('E_INTERNAL', 'internal: a start without data asked for data')
  }
  const classes = ops.iota([count], 0)
  const x = drawStart(start, {
    count,
    shape,
    key,
    stream: STREAM_START,
    classes,
    mask: ops.ge(classes, 0),
    tensor: none,
    dataRows: none,
  })
  r.write('x', x)
  r.write('key', ops.nextKey(key))
  const stage = await r.compile('start')
  await stage.plan.run(stage.inputs, stage.outputs)
  stage.plan.dispose()
}

async function recordStep(state: State, model: Model, sampler: Sampler, options: ChainsOptions, count: number) {
  const { network } = model
  const wanted = options.class
  if (wanted !== undefined) {
    network.needClasses('Chains: class')
    if (!Number.isInteger(wanted) || wanted < 0 || wanted >= network.classes) {
      throw new RangeError(`Chains: class must be an integer in 0..${network.classes - 1}; got ${wanted}`)
    }
    await state.put('classes', hostTensor(new Int32Array(count).fill(wanted), [count]))
  }
  const r = new Recorder(state)
  const pass = { variables: new Variables((v) => r.read(v.name)), norm: options.norm ?? 'running' } as const
  const conditional = wanted === undefined ? {} : { classes: r.read('classes') }
  const target = networkTarget(network, pass, { firstStage: sampler.firstStage, ...conditional })
  const step = sampler.step(target, { x: r.read('x') }, r.read('key'), STREAM_NOISE)
  r.write('x', step.state.x)
  r.write('key', step.key)
  r.write('energy', ops.mean(step.info.energy))
  return r.compile('step')
}

function countDivergent(x: HostTensor): number {
  const each = sizeOf(x.shape.slice(1))
  let bad = 0
  for (let i = 0; i < (x.shape[0] ?? 0); i++) {
    if (!(x.data as Float32Array).subarray(i * each, (i + 1) * each).every(Number.isFinite)) bad++
  }
  return bad
}
