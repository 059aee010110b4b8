/**
 * Markov chains of any sampler for any model or energy: n chains on the device, advanced natively k steps at a time. What the sampler
 * carries stays there between calls; info tells energies, acceptance and divergences. Plans are chain-stages.ts's part, diagnostics of
 * draws (R-hat, effective sample size) lib/evaluation's.
 */
import { checkInteger } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape } from '../graph/shape.ts'
import { checkPrecision, type Precision } from '../runtime/compile.ts'
import { type Instruction, makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, runStage, type Stage, State } from '../runtime/state.ts'
import {
  type AdvanceOptions,
  type ChainInfo,
  type DrawOptions,
  type Draws,
  RunLog,
  type RunOptions,
} from './chain-info.ts'
import * as stages from './chain-stages.ts'
import { checkDiscrete } from './discrete-check.ts'
import type { Sampler } from './sampler.ts'
import { makeSampler, type SamplerOptions } from './samplers.ts'
import { bindSource, type DensitySource, deviceOf, type SourceOptions, shapeOf } from './source.ts'
import type { StartOptions } from './starts.ts'
import type { TemperedOptions } from './tempering.ts'

export interface ChainsOptions extends SourceOptions {
  /** Default NUTS, which is exact and tunes itself (`warmup`). */
  readonly sampler?: SamplerOptions
  /** Number of chains; ignored when `start` is a tensor. Default 100. */
  readonly chains?: number
  /** Starting points [chains, ...shape], or where to draw them (uniform, normal or a mixture of these). Default the sampler's own, mostly uniform on [-1, 1]. */
  readonly start?: HostTensor | StartOptions
  /** Every random number follows from it. Default 0. */
  readonly seed?: number
  /** 'bfloat16': the model's products and convolutions multiply bfloat16, x and energies stay float32; see `CompileOptions`. Default 'float32'. */
  readonly precision?: Precision
}

export type { AdvanceOptions, ChainInfo, DrawOptions, Draws, RunOptions } from './chain-info.ts'

/** The two stages that advance chains. */
type Kind = 'step' | 'adapt'

/** Chains on the device; make them with {@link Chains.start}. */
export class Chains {
  readonly source: DensitySource
  readonly sampler: Sampler
  readonly count: number
  private readonly context: stages.ChainContext
  private readonly begin: readonly Instruction[]
  private readonly made = new Map<string, Promise<Stage>>()
  private steps = 0
  private divergences = 0

  private constructor(source: DensitySource, context: stages.ChainContext, begin: readonly Instruction[]) {
    this.source = source
    this.sampler = context.sampler
    this.count = context.count
    this.context = context
    this.begin = begin
  }

  /**
   * Places the chains and compiles the step. A model's numbers are taken as they are now; later training does not reach these chains.
   * @throws RangeError, LangevinError E_SHAPE, E_CONFIG for what does not fit.
   */
  static async start(source: DensitySource, options: ChainsOptions = {}): Promise<Chains> {
    checkNames(options)
    const sampler: Sampler = makeSampler(options.sampler ?? { kind: 'nuts' })
    if ('network' in source) checkDiscrete(sampler, source.network)
    const start = options.start ?? sampler.start ?? { kind: 'uniform' }
    const given = 'data' in start ? start : undefined
    const shape = shapeOf('Chains', source, given?.shape)
    const count = given === undefined ? (options.chains ?? 100) : (given.shape[0] ?? 0)
    checkStart(count, given, shape)
    checkPrecision(options.precision)
    const state = new State(deviceOf(source), options.precision)
    let chains: Chains | undefined
    try {
      await state.put(stages.KEY, keyFromSeed(options.seed ?? 0))
      const { firstStage } = sampler
      const target = await bindSource('Chains', state, source, { ...options, firstStage })
      const context = { state, sampler, target, count }
      chains = new Chains(source, context, await prepareStart(context, start, shape))
      await chains.restart()
      await chains.stage('step')
      return chains
    } catch (error) {
      if (chains === undefined) state.dispose()
      else chains.dispose()
      throw error
    }
  }

  /**
   * Advances all chains by so many steps (NUTS: so many transitions of each chain). A schedule goes on where it stands, and after its end
   * changes nothing.
   */
  async advance(
    steps: number,
    options: AdvanceOptions = {},
  ): Promise<ChainInfo & { readonly trajectory: readonly HostTensor[] }> {
    checkInteger('Chains.advance: steps', steps, 0)
    const { record } = options
    if (record !== undefined) checkInteger('Chains.advance: record', record, 1)
    const run = await RunLog.begin(this.context, options.signal)
    const trajectory: HostTensor[] = []
    const every = record ?? Math.max(1, steps)
    for (let done = 0; done < steps; ) {
      const n = Math.min(every, steps - done)
      const report = (part: number): void => options.onProgress?.(done + part, steps)
      await this.runSteps(run, 'step', n, report)
      done += n
      if (record !== undefined) trajectory.push(await this.read())
    }
    return { ...(await this.told(run)), trajectory }
  }

  /**
   * Warm-up: tunes step size and scales where the sampler does that, and then fixes them; else a plain burn-in. Default steps: as many as the
   * sampler's windows are laid out for. These steps are not draws.
   * @throws LangevinError E_CONFIG for schedules, which have no use for it, and for samplers that do not adapt if `steps` is left out
   */
  async warmup(
    steps: number | undefined = this.sampler.adaptation?.steps,
    options: RunOptions = {},
  ): Promise<ChainInfo> {
    const { kind, adaptation, schedule } = this.sampler
    if (schedule)
      throw new LangevinError(
        'E_CONFIG',
        `Chains.warmup: sampler ${kind} runs a schedule and has no warm-up; leave it out`,
      )
    if (steps === undefined)
      throw new LangevinError(
        'E_CONFIG',
        `Chains.warmup: sampler ${kind} does not adapt; give the number of burn-in steps`,
      )
    checkInteger('Chains.warmup: steps', steps, 0)
    const run = await RunLog.begin(this.context, options.signal)
    const before = this.divergences
    await this.runSteps(run, adaptation ? 'adapt' : 'step', steps, (done) => options.onProgress?.(done, steps))
    if (adaptation && steps > 0) await this.once(runStage(await this.stage('finish')))
    this.divergences = before
    return this.told(run)
  }

  /** Goes on and keeps `draws` draws of every chain, `thin` steps apart. Schedules run once from a fresh start for each draw. */
  async draw(options: DrawOptions = {}): Promise<Draws> {
    const { draws = 1, thin = 1 } = options
    checkInteger('Chains.draw: draws', draws, 1)
    checkInteger('Chains.draw: thin', thin, 1)
    const { sampler, count } = this
    if (sampler.schedule && options.thin !== undefined)
      throw new LangevinError(
        'E_CONFIG',
        `Chains.draw: sampler ${sampler.kind} runs its whole schedule for each draw; leave thin out`,
      )
    const run = await RunLog.begin(this.context, options.signal)
    const buffer = await stages.DrawBuffer.make(this.context, draws, thin)
    try {
      const report = (done: number): void => options.onProgress?.(done, draws)
      if (sampler.schedule) await this.drawSchedules(run, buffer, draws, report)
      else await this.runSteps(run, 'step', draws * thin, (n) => report(Math.floor(n / thin)), buffer)
      const shape = this.context.state.get(`${stages.CHAIN}x`).shape.slice(1)
      return { ...(await this.told(run)), draws: hostTensor(await buffer.read(), [count, draws, ...shape]) }
    } finally {
      buffer.dispose()
    }
  }

  /** The chains' present points (NUTS: each chain's last draw): [chains, ...shape]. */
  read(): Promise<HostTensor> {
    return this.context.state.get(`${stages.CHAIN}x`).read()
  }

  /** A tensor that the sampler carries: momentum, scales, every temperature's points. @throws RangeError naming those there are. */
  async readState(name: string): Promise<HostTensor> {
    const names = stages.chainNames(this.context.state)
    if (!names.includes(name))
      throw new RangeError(
        `Chains.readState: sampler ${this.sampler.kind} carries no '${name}'; it carries ${names.join(', ')}`,
      )
    return this.context.state.get(stages.CHAIN + name).read()
  }

  /**
   * The sampler's options with the step size and the scales as they are now, after warm-up: other chains, and exported ones, then begin tuned.
   * Those of the inner sampler for parallel tempering; samplers that tune nothing have their options as they were given.
   */
  async tunedOptions(): Promise<SamplerOptions> {
    const { adaptation, options } = this.sampler
    const given = options as SamplerOptions
    if (adaptation === undefined) return given
    const [stepSize, scale] = [await this.readState('stepSize'), await this.readState('scale')]
    const tuned = { stepSize: stepSize.data[0] as number, scale: Array.from(scale.data) }
    return given.kind === 'parallelTempering'
      ? { ...given, inner: { kind: 'mala', ...given.inner, ...tuned } as TemperedOptions }
      : ({ ...given, ...tuned } as SamplerOptions)
  }

  /** Frees native memory. */
  dispose(): void {
    for (const pending of this.made.values()) void pending.then((s) => s.plan.dispose(), ignore)
    this.made.clear()
    for (const i of this.begin) if (i.do === 'run') i.plan.dispose()
    this.context.state.dispose()
  }

  private stage(name: Kind | 'init' | 'finish'): Promise<Stage> {
    let stage = this.made.get(name)
    if (stage === undefined) {
      const { context } = this
      stage =
        name === 'init'
          ? stages.recordInit(context)
          : name === 'finish'
            ? stages.recordFinish(context)
            : stages.recordStep(context, name)
      this.made.set(name, stage)
    }
    return stage
  }

  /** Puts the chains at their start, with the sampler's first state there. */
  private async restart(): Promise<void> {
    await makeProgram(this.begin).run(1)
    await this.once(runStage(await this.stage('init')))
  }

  private told(run: RunLog): Promise<ChainInfo> {
    return run.end({ steps: this.steps, divergences: this.divergences })
  }

  private async once(instruction: Instruction): Promise<void> {
    await makeProgram([instruction]).run(1)
  }

  private async runProgram(run: RunLog, program: Program, n: number): Promise<void> {
    const result = await program.run(n, { signal: run.signal })
    this.divergences += run.add(result.metrics, result.completed)
    this.steps += result.completed
    if (result.cancelled || run.signal?.aborted)
      throw new LangevinError('E_CANCELLED', `sampling was cancelled after ${this.steps} steps`)
  }

  /** `n` steps of every chain, or `n` transitions where those are counted: then pieces run until the slowest chain has made them. */
  private async runSteps(
    run: RunLog,
    kind: Kind,
    n: number,
    report: (done: number) => void,
    buffer?: stages.DrawBuffer,
  ): Promise<void> {
    const program = makeProgram([...(await this.stepAndRecord(kind)), ...(buffer ? [buffer.instruction] : [])])
    if (this.sampler.transitions === undefined) {
      await inPieces(n, report, (part) => this.runProgram(run, program, part))
      return
    }
    const begin = await this.transitions()
    const from = run.steps
    // A chain that has made its transitions waits in place; warm-up, which all chains share, lets it go on and counts their mean.
    const goals = Int32Array.from(begin, (made) => (kind === 'adapt' ? stages.NO_GOAL : made + n))
    await this.context.state.get(stages.GOAL).write(hostTensor(goals, [this.count]))
    for (let done = 0; done < n; ) {
      await this.runProgram(run, program, pieceOf(run.steps - from, done, n))
      const made = (await this.transitions()).map((t, i) => t - (begin[i] as number))
      done =
        kind === 'adapt'
          ? Math.floor(made.reduce((a, b) => a + b, 0) / made.length)
          : made.reduce((a, b) => Math.min(a, b))
      report(Math.min(done, n))
    }
  }

  private async transitions(): Promise<number[]> {
    return Array.from((await this.context.state.get(stages.CHAIN + this.sampler.transitions).read()).data)
  }

  private async stepAndRecord(kind: Kind): Promise<Instruction[]> {
    const { state } = this.context
    const step = runStage(await this.stage(kind))
    return [step, { do: 'record', tensors: stages.RECORDED.map((name) => state.get(name)) }]
  }

  private async drawSchedules(
    run: RunLog,
    buffer: stages.DrawBuffer,
    draws: number,
    report: (done: number) => void,
  ): Promise<void> {
    const program = makeProgram(await this.stepAndRecord('step'))
    for (let i = 0; i < draws; i++) {
      await this.restart()
      await this.runProgram(run, program, this.sampler.steps)
      await this.once(buffer.instruction)
      report(i + 1)
    }
  }
}

/** What could not be compiled has nothing to dispose of; whoever asked for it has had the error. */
function ignore(): void {}

/** The plan or copy that puts chains at their start. */
async function prepareStart(
  { state, count }: stages.ChainContext,
  start: HostTensor | StartOptions,
  shape: Shape,
): Promise<Instruction[]> {
  const x = state.create(`${stages.CHAIN}x`, [count, ...shape])
  await state.put(stages.GOAL, hostTensor(new Int32Array(count).fill(stages.NO_GOAL), [count]))
  if (!('data' in start)) return [runStage(await stages.recordStart(state, start, count, shape))]
  await state.put(stages.START, start)
  return [{ do: 'copy', from: [state.get(stages.START)], to: [x] }]
}

function checkStart(count: number, given: HostTensor | undefined, shape: Shape): void {
  checkInteger('Chains: chains', count, 1)
  if (given !== undefined && (given.dtype !== 'float32' || !sameShape(given.shape.slice(1), shape))) {
    throw new LangevinError(
      'E_SHAPE',
      `Chains: start must be float32 [n,${shape.join(',')}]; got ${given.dtype}${showShape(given.shape)}`,
    )
  }
}

/** About twenty pieces, so that progress is seen; one where nobody looks would do as well, and gives the same numbers. */
async function inPieces(
  n: number,
  report: (done: number) => void,
  run: (part: number) => Promise<void>,
): Promise<void> {
  const piece = Math.max(1, Math.ceil(n / 20))
  for (let done = 0; done < n; ) {
    const part = Math.min(piece, n - done)
    await run(part)
    done += part
    report(done)
  }
}

/** Steps until the slowest chain may be done, from what transitions took so far. Waiting chains cost steps, so not too many at once. */
function pieceOf(steps: number, done: number, wanted: number): number {
  const each = done > 0 ? steps / done : 4
  return Math.min(512, Math.max(8, Math.ceil((wanted - done) * each)))
}

const optionNames = ['sampler', 'chains', 'start', 'seed', 'class', 'norm', 'sigma', 'temperature', 'precision']

/** A misspelled option would be left out in silence. */
function checkNames(options: ChainsOptions): void {
  const wrong = Object.keys(options).find((name) => !optionNames.includes(name))
  if (wrong !== undefined)
    throw new LangevinError('E_CONFIG', `Chains: option '${wrong}' is not known.${suggestion(wrong, optionNames)}`)
}
