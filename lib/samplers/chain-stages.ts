/**
 * The plans of chains over named state: start, first state, step, warm-up, and the buffer that draws are kept in. The order in which
 * they run, and what users see of it, is chains.ts's part.
 */
import { LangevinError } from '../graph/errors.ts'
import { type Shape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { DeviceTensor } from '../runtime/device.ts'
import type { Instruction } from '../runtime/program.ts'
import { Recorder, type Stage, type State } from '../runtime/state.ts'
import { selectRows } from './rows.ts'
import { finiteRows, type Sampler, type SamplerState, type StepResult } from './sampler.ts'
import { drawStart, partsOf, type StartOptions } from './starts.ts'
import type { Target } from './target.ts'

/** First streams of the starts' draws and of the samplers'. */
export const STREAM_START = 40
export const STREAM_NOISE = 1000

/** Prefix of the sampler's own tensors; `chain/x` is where the chains are. */
export const CHAIN = 'chain/'
export const KEY = 'rng/chain'
/** Given starting points, for schedules that begin there again. */
export const START = 'start/x'
/** int32 [n]: the count of transitions at which each chain waits for the others. */
export const GOAL = 'info/goal'
export const NO_GOAL = 2 ** 31 - 1
/** Scalars of each step, in the order in which they are recorded. */
export const RECORDED = ['info/energy', 'info/acceptance', 'info/divergent'] as const
/** Sums over steps since they were last set to zero. */
export const SUMS = { steps: 'info/steps', acceptance: 'info/acceptances', detail: 'info/detail/' } as const
/** float32 []: chains that are not finite now. */
export const NOT_FINITE = 'info/notFinite'

/** What the recording of every plan needs. */
export interface ChainContext {
  readonly state: State
  readonly sampler: Sampler
  readonly target: (r: Recorder) => Target
  readonly count: number
}

/** Draws `chain/x` anew from a start that needs no data. @throws LangevinError E_CONFIG for one that does */
export function recordStart(state: State, start: StartOptions, count: number, shape: Shape): Promise<Stage> {
  const unfit = partsOf(start).find((p) => p.kind === 'data' || p.kind === 'classGaussians')
  if (unfit !== undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `Chains: start '${unfit.kind}' needs a data set; draw the points yourself and give them as a tensor, or sample from a run`,
    )
  }
  const r = new Recorder(state)
  const key = r.read(KEY)
  const none = (): never => {
    throw new LangevinError('E_INTERNAL', 'internal: a start without data asked for data')
  }
  const classes = ops.iota([count], 0)
  const mask = ops.ge(classes, 0)
  const context = { count, shape, key, stream: STREAM_START, classes, mask, tensor: none, dataRows: none }
  r.write(`${CHAIN}x`, drawStart(start, context))
  r.write(KEY, ops.nextKey(key))
  return r.compile('start')
}

/** The sampler's first state at `chain/x`. Later stages find its names with {@link chainNames}. */
export function recordInit({ state, sampler, target }: ChainContext): Promise<Stage> {
  const r = new Recorder(state)
  const key = r.read(KEY)
  const first = sampler.init(target(r), r.read(`${CHAIN}x`), key, STREAM_NOISE)
  for (const [name, t] of Object.entries(first)) r.write(CHAIN + name, t)
  r.write(KEY, ops.nextKey(key))
  r.write(NOT_FINITE, notFinite(first.x))
  return r.compile('init')
}

/** One step: the sampler's own, or the one that adapts. Leaves the scalars {@link RECORDED} and adds to {@link SUMS}. */
export function recordStep(context: ChainContext, kind: 'step' | 'adapt'): Promise<Stage> {
  const { state, sampler, target, count } = context
  const r = new Recorder(state)
  const before = readChain(r, state)
  const stepped = stepOf(sampler, kind)(target(r), before, r.read(KEY), STREAM_NOISE)
  const after = kind === 'step' ? holdFinished(sampler, before, stepped.state, () => r.read(GOAL)) : stepped.state
  for (const [name, t] of Object.entries(after)) if (t !== before[name]) r.write(CHAIN + name, t)
  r.write(KEY, stepped.key)
  writeInfo(r, state, stepped, completed(sampler, before, after, count))
  r.write(NOT_FINITE, notFinite(after.x))
  return r.compile(kind)
}

/** The state with its tuned values fixed, after warm-up. */
export function recordFinish({ state, sampler }: ChainContext): Promise<Stage> {
  const r = new Recorder(state)
  const before = readChain(r, state)
  for (const [name, t] of Object.entries(sampler.adaptation?.finish(before) ?? before)) r.write(CHAIN + name, t)
  return r.compile('finish')
}

function stepOf(sampler: Sampler, kind: 'step' | 'adapt'): Sampler['step'] {
  const { adaptation } = sampler
  if (kind === 'step' || adaptation === undefined) return (...a) => sampler.step(...a)
  return (...a) => adaptation.step(...a)
}

/** Names of the sampler's state, once `init` has been recorded. */
export function chainNames(state: State): string[] {
  return state
    .names()
    .filter((n) => n.startsWith(CHAIN))
    .map((n) => n.slice(CHAIN.length))
}

function readChain(r: Recorder, state: State): SamplerState {
  const entries = chainNames(state).map((name) => [name, r.read(CHAIN + name)] as const)
  return Object.fromEntries(entries) as unknown as SamplerState
}

/**
 * Where steps are less than transitions, chains that have made as many as asked for wait in place, so that their next transition is the
 * next one kept however long the others take. `goal`: int32 [n] or [].
 */
export function holdFinished(
  sampler: Sampler,
  before: SamplerState,
  after: SamplerState,
  goal: () => Tensor,
): SamplerState {
  if (sampler.transitions === undefined) return after
  const n = before.x.shape[0]
  const held = ops.ge(before[sampler.transitions] as Tensor, goal())
  const kept = Object.entries(after).map(([name, t]) => {
    const old = before[name]
    return [name, old === undefined || old === t || t.shape[0] !== n ? t : selectRows(held, old, t)] as const
  })
  return Object.fromEntries(kept) as unknown as SamplerState
}

/** float32 [n]: transitions that each chain completed in this step. */
export function completed(sampler: Sampler, before: SamplerState, after: SamplerState, n: number): Tensor {
  const name = sampler.transitions
  if (name === undefined) return ops.ones([n])
  return ops.cast(ops.sub(after[name] as Tensor, before[name] as Tensor), 'float32')
}

function writeInfo(r: Recorder, state: State, { info }: StepResult, transitions: Tensor): void {
  const sum = (name: string, value: Tensor) => {
    if (!state.has(name)) state.create(name, value.shape, 'float32', false)
    r.write(name, ops.add(r.read(name), value))
  }
  // Chains without a transition in this step count for nothing; selected, not multiplied, since theirs may be NaN.
  const counted = (v: Tensor) => ops.select(ops.gt(transitions, 0), v, 0)
  r.write('info/energy', ops.mean(info.energy))
  r.write('info/acceptance', ops.mean(info.acceptance))
  r.write('info/divergent', ops.sum(counted(ops.cast(info.divergent, 'float32'))))
  sum(SUMS.acceptance, counted(info.acceptance))
  sum(SUMS.steps, transitions)
  for (const [name, value] of Object.entries(info.details ?? {})) sum(SUMS.detail + name, value)
}

function notFinite(x: Tensor): Tensor {
  return ops.sum(ops.sub(1, ops.cast(finiteRows(x), 'float32')))
}

/**
 * Draws kept on the device, written inside the program: [chains · draws + 1, ...shape], chain by chain; the last row takes what is not kept.
 */
export class DrawBuffer {
  readonly instruction: Instruction
  private readonly plan: CompiledPlan
  private readonly rows: DeviceTensor
  private readonly counter: DeviceTensor

  private constructor(plan: CompiledPlan, rows: DeviceTensor, counter: DeviceTensor, read: readonly DeviceTensor[]) {
    this.plan = plan
    this.rows = rows
    this.counter = counter
    this.instruction = { do: 'run', plan, inputs: [rows, counter, ...read], outputs: [rows, counter] }
  }

  /**
   * Room for `draws` draws of each chain, x after every `thin` of its steps or, where those are counted, transitions from now on. The
   * instruction runs after every step.
   */
  static async make({ state, sampler, count }: ChainContext, draws: number, thin: number): Promise<DrawBuffer> {
    const x = state.get(`${CHAIN}x`)
    const rows = count * draws + 1
    if (rows * sizeOf(x.shape.slice(1)) >= 2 ** 31) {
      throw new RangeError(
        `Chains.draw: ${count} chains x ${draws} draws of [${x.shape.slice(1).join(',')}] are too many numbers for one tensor; draw in several calls`,
      )
    }
    const buffer = ops.input('draws', [rows, ...x.shape.slice(1)])
    const at = ops.input('x', x.shape)
    const chains = ops.mul(ops.iota([count], 0), draws)
    const transitions = sampler.transitions === undefined ? undefined : state.get(CHAIN + sampler.transitions)
    // Steps so far, or the transitions that each chain had made at the beginning.
    const counter = ops.input('counter', transitions === undefined ? [] : [count], 'int32')
    const made = ops.input('transitions', [count], 'int32')
    const next = transitions === undefined ? ops.add(counter, 1) : counter
    const since = transitions === undefined ? ops.broadcast(next, [count]) : ops.sub(made, counter)
    const slot = everyNth(since, thin)
    const known = ops.logicalAnd(ops.ge(slot, 0), ops.lt(slot, draws))
    const index = ops.select(known, ops.add(chains, slot), rows - 1)
    const inputs = [buffer, counter, at, ...(transitions ? [made] : [])]
    const outputs = [
      { tensor: ops.scatterRows(buffer, index, at), alias: 0 },
      { tensor: next, alias: 1 },
    ]
    const { device } = state
    const plan = await compileGraph(device, inputs, outputs)
    const memory = DeviceTensor.empty(device, 'float32', buffer.shape)
    const begin = DeviceTensor.empty(device, 'int32', counter.shape)
    if (transitions) await begin.copyFrom(transitions)
    return new DrawBuffer(plan, memory, begin, transitions ? [x, transitions] : [x])
  }

  /** The draws, chain by chain: chains · draws rows. */
  async read(): Promise<Float32Array> {
    const { data } = await this.rows.read()
    return (data as Float32Array).subarray(0, data.length - sizeOf(this.rows.shape.slice(1)))
  }

  dispose(): void {
    this.plan.dispose()
    this.rows.dispose()
    this.counter.dispose()
  }
}

/** Which draw x is after so many steps: 0, 1, ... at thin, 2·thin, ...; -1 in between. */
function everyNth(steps: Tensor, thin: number): Tensor {
  const whole = ops.eq(ops.rem(steps, thin), 0)
  return ops.select(whole, ops.sub(ops.div(steps, thin), 1), -1)
}
