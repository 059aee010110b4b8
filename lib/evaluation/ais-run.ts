/**
 * The annealing program: temperatures, weights and moves as plans over named state, run natively; and the pilot that finds step sizes.
 * Estimates and their bounds are ais.ts's part.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import * as ops from '../ops/index.ts'
import { makeProgram } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, State, zeroTensor } from '../runtime/state.ts'
import type { Distribution } from '../samplers/distributions.ts'
import type { AnnealingPath, AnnealingTransition, Recorded, StepSizeTuning } from './ais-transition.ts'
import { checkCount } from './checks.ts'
import { type LogMean, summarizeLogWeights } from './log-weights.ts'

/** Inverse temperatures β_1 .. β_steps = 1 (β_0 = 0 is the base). @throws LangevinError E_CONFIG, RangeError */
export function annealingSchedule(schedule: 'sigmoid' | 'linear' | readonly number[], steps: number): Float64Array {
  checkCount('AIS: steps', steps, 1)
  if (typeof schedule === 'string') {
    if (schedule === 'linear') return Float64Array.from({ length: steps }, (_, i) => (i + 1) / steps)
    if (schedule === 'sigmoid') return Float64Array.from({ length: steps }, (_, i) => sigmoidBeta((i + 1) / steps))
    throw new LangevinError(
      'E_CONFIG',
      `AIS: schedule '${String(schedule)}' is not known.${suggestion(schedule, ['sigmoid', 'linear'])}`,
    )
  }
  const rises = schedule.every((b, i) => b > (i === 0 ? 0 : schedule[i - 1]!))
  if (!rises || schedule.length !== steps || schedule.at(-1) !== 1) {
    throw new RangeError(
      `AIS: a schedule must hold ${steps} numbers that rise from above 0 to exactly 1; got ${schedule.length}: ${schedule.slice(0, 4).join(', ')} ... ${schedule.at(-1)}`,
    )
  }
  return Float64Array.from(schedule)
}

/** (σ(δ(2t - 1)) - σ(-δ)) / (σ(δ) - σ(-δ)) with δ = 4 (Grosse 2015). */
function sigmoidBeta(t: number): number {
  const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v))
  return t === 1 ? 1 : (sigmoid(4 * (2 * t - 1)) - sigmoid(-4)) / (sigmoid(4) - sigmoid(-4))
}

/** Everything that forward, reverse and pilot share. */
export interface Setup {
  readonly model: Model
  readonly base: Distribution
  readonly path: AnnealingPath
  readonly transition: AnnealingTransition
  readonly transitions: number
  readonly betas: Float64Array
  readonly seed: number
  readonly signal: AbortSignal | undefined
}

/** Parameters of model and base, key, and the width of the base in each dimension, from draws of it. */
export async function stateOf(setup: Setup, seed: bigint): Promise<State> {
  const { model, base, path } = setup
  const state = new State(model.device)
  for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
  for (const [name, value] of base.parameters) await state.put(`base/${name}`, value)
  // Draws of their own: a transition scaled by where its own chains begin would not leave the weights unbiased.
  await state.put('ais/key', keyFromSeed(BigInt(setup.seed) ^ (1n << 61n)))
  const r = new Recorder(state)
  const x = base.sample((name) => r.read(`base/${name}`), r.read('ais/key'), 512, STREAM_START)
  r.write('ais/scale', ops.reshape(ops.sqrt(ops.variance(x, 0)), [...path.shape]))
  await once(await r.compile('scale'))
  await state.get('ais/key').write(keyFromSeed(seed))
  return state
}

const STREAM_START = 8

async function once(stage: Stage): Promise<void> {
  await stage.plan.run(stage.inputs, stage.outputs)
  stage.plan.dispose()
}

export async function drawBase(state: State, { base }: Setup, chains: number): Promise<void> {
  const r = new Recorder(state)
  const key = r.read('ais/key')
  r.write(
    'ais/x',
    base.sample((name) => r.read(`base/${name}`), key, chains, STREAM_START),
  )
  r.write('ais/key', ops.nextKey(key))
  await once(await r.compile('base'))
}

export interface AnnealPlan {
  readonly betas: Float64Array
  /** In the order of the run; absent in the pilot, which finds them. */
  readonly stepSizes?: Float32Array
  readonly reverse?: boolean
  /** Tunes the step size on the way. */
  readonly pilot?: StepSizeTuning
}

export interface Annealed {
  readonly logWeights: Float64Array
  readonly mean: LogMean
  readonly acceptance: number
  readonly samples: HostTensor
}

/** Runs chains that stand at `ais/x` through all temperatures. */
export async function anneal(
  state: State,
  setup: Setup,
  plan: AnnealPlan,
  progress: (done: number) => void,
): Promise<Annealed> {
  const { transition, path, signal } = setup
  const steps = plan.betas.length
  const chains = state.get('ais/x').shape[0] as number
  const begin = new Recorder(state)
  transition.init(begin, path, begin.read('ais/x'))
  await once(await begin.compile('init'))
  await checkSupport(state)
  await putTables(state, plan, chains)
  const recorded = await recordTemperature(state, setup, plan)
  const program = makeProgram(recorded.code)
  const logWeights = new Float64Array(chains)
  let acceptance = 0
  try {
    // Partial sums are short, and are added in float64.
    const chunk = Math.max(1, Math.ceil(steps / 40))
    for (let done = 0; done < steps; ) {
      const result = await program.run(Math.min(chunk, steps - done), { signal })
      done += result.completed
      if (result.cancelled || signal?.aborted) {
        throw new LangevinError('E_CANCELLED', `annealing was cancelled after ${done} of ${steps} temperatures`)
      }
      for (const a of result.metrics) acceptance += a / steps
      const part = (await state.get('ais/logWeight').read()).data
      for (let i = 0; i < chains; i++) logWeights[i]! += part[i]!
      await state.get('ais/logWeight').write(zeroTensor([chains]))
      progress(result.completed)
    }
    const mean = summarizeLogWeights('AIS', logWeights)
    return { logWeights, mean, acceptance, samples: await state.get('ais/x').read() }
  } finally {
    for (const stage of recorded.stages) stage.plan.dispose()
  }
}

async function checkSupport(state: State): Promise<void> {
  const values = (await state.get('ais/logBase').read()).data
  const outside = values.filter((v) => !Number.isFinite(v)).length
  if (outside > 0) {
    throw new LangevinError(
      'E_DATA',
      `AIS: ${outside} of ${values.length} chains begin outside the base's support; choose a base that covers the samples`,
      { outside, count: values.length },
    )
  }
}

/**
 * β and the weights' exponent at each temperature, in the order of the run. β is rounded to float32 first, so that the differences are
 * exact and sum to 1. (Reverse: the exponents are negative.)
 */
async function putTables(state: State, plan: AnnealPlan, chains: number): Promise<void> {
  const { betas, reverse = false } = plan
  const steps = betas.length
  const rounded = Float32Array.from(betas)
  const differences = rounded.map((b, i) => (b - (i === 0 ? 0 : rounded[i - 1]!)) * (reverse ? -1 : 1))
  const order = (table: Float32Array): HostTensor => hostTensor(reverse ? table.toReversed() : table, [steps])
  await state.put('ais/betas', order(rounded))
  await state.put('ais/differences', order(differences))
  await state.put('ais/stepSizes', hostTensor(plan.stepSizes ?? new Float32Array(steps), [steps]))
  await state.put('ais/stepSize', hostTensor(Float32Array.of(plan.pilot?.first ?? 1), []))
  await state.put('ais/index', hostTensor(Int32Array.of(-1), []))
  await state.put('ais/beta', zeroTensor([]))
  await state.put('ais/logWeight', zeroTensor([chains]))
}

/** One temperature: advance, then weigh and move (forward) or move and weigh (reverse). */
async function recordTemperature(state: State, setup: Setup, plan: AnnealPlan): Promise<Recorded> {
  const advance = await recordAdvance(state, plan.pilot !== undefined)
  const weigh = await recordWeigh(state, setup)
  const move = await setup.transition.record(state, setup.path)
  const moves = [{ do: 'repeat', count: setup.transitions, body: move.code }] as const
  const order = plan.reverse ? [...moves, runStage(weigh)] : [runStage(weigh), ...moves]
  const record = { do: 'record', tensors: [state.get('ais/acceptance')] } as const
  const stages = [advance, weigh, ...move.stages]
  if (!plan.pilot) return { stages, code: [runStage(advance), ...order, record] }
  const adapt = await recordAdapt(state, plan.pilot.targetAcceptance)
  return { stages: [...stages, adapt], code: [runStage(advance), ...order, record, runStage(adapt)] }
}

function recordAdvance(state: State, pilot: boolean): Promise<Stage> {
  const r = new Recorder(state)
  const index = ops.add(r.read('ais/index'), 1)
  r.write('ais/index', index)
  r.write('ais/beta', ops.gather(r.read('ais/betas'), index))
  if (!pilot) r.write('ais/stepSize', ops.gather(r.read('ais/stepSizes'), index))
  return r.compile('advance')
}

/** log w += (β - β') (log model - log base), at the point where both temperatures meet. */
function recordWeigh(state: State, setup: Setup): Promise<Stage> {
  const r = new Recorder(state)
  const difference = ops.gather(r.read('ais/differences'), r.read('ais/index'))
  r.write('ais/logWeight', ops.add(r.read('ais/logWeight'), weightChange(r, setup, difference)))
  return r.compile('weigh')
}

function weightChange(r: Recorder, { transition, path }: Setup, difference: Tensor): Tensor {
  if (transition.increment === undefined)
    return ops.mul(difference, ops.sub(r.read('ais/logModel'), r.read('ais/logBase')))
  // β of the table is the upper one in both directions; in reverse the difference is negative.
  const upper = r.read('ais/beta')
  const rise = transition.increment(r, path, r.read('ais/x'), upper, ops.sub(upper, ops.abs(difference)))
  return ops.select(ops.gt(difference, 0), rise, ops.neg(rise))
}

/** Stochastic approximation on log step size; the table keeps what each temperature was left with. */
function recordAdapt(state: State, target: number): Promise<Stage> {
  const r = new Recorder(state)
  const error = ops.sub(r.read('ais/acceptance'), target)
  const next = ops.mul(r.read('ais/stepSize'), ops.exp(ops.mul(error, 0.2)))
  r.write('ais/stepSize', next)
  const row = ops.reshape(r.read('ais/index'), [1])
  r.write('ais/stepSizes', ops.scatterRows(r.read('ais/stepSizes'), row, ops.reshape(next, [1])))
  return r.compile('adapt')
}
