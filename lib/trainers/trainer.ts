/**
 * The loop that every trainer shares: state, the step program, reports, snapshots and recovery, checkpoints, resume.
 * What is optimised and where negatives come from is each method's part (`Method`); files of a run folder are run-folder.ts's.
 */
import { grad } from '../autodiff/index.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import { type VariableSpec, Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { makeOptimizer, type Optimizer } from '../optim/optimizers.ts'
import { clipFactor, globalNorm, movingAverage, type ScheduleOptions, scheduleFactor } from '../optim/schedules.ts'
import { type Instruction, makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, type Stage, type State } from '../runtime/state.ts'
import { type CommonOptions, integer, type Recovery, recoveryDefaults } from './options.ts'

/** What a method contributes to the step program. Stages run in the order draw, chains, objective, (guards), update. */
export interface Method {
  /** Creates the method's own state. */
  setup(state: State): Promise<void>
  /** Draws the step's batch and chain starts. */
  draw(r: Recorder): void
  /** Sampler rounds between draw and objective. */
  chains(): readonly ChainRound[]
  /** The loss and its metrics over network variables; batch statistics to fold into the running ones. */
  objective(r: Recorder, variables: Variables): Objective
  /** What is stored back after a good step (replay buffer). Runs within the update stage. */
  after(r: Recorder): void
  /** Makes chains anew: at the start, and with another `seed` after a divergence. */
  reinitialize(state: State, seed: number): Promise<void>
}

export interface ChainRound {
  readonly name: string
  /** Graph steps. */
  readonly steps: number
  /** Records one step; writes its mean starting energy to `chain/<name>Energy`. */
  record(r: Recorder): void
}

export interface Objective {
  readonly loss: Tensor
  /** float32 scalars by name; reported each step. */
  readonly metrics: Readonly<Record<string, Tensor>>
  /** New values of running statistics. */
  readonly statistics: ReadonlyMap<string, Tensor>
  /** Metrics to guard, besides the loss and the gradient norm, with their limits in magnitude. */
  readonly guards: readonly { readonly name: string; readonly limit: number }[]
}

export interface StepPlan {
  readonly stepsPerEpoch: number
  readonly totalSteps: number
}

/** The compiled step of a run. */
export interface StepProgram {
  readonly program: Program
  /** Names of the recorded metrics, in the order of a step's row. */
  readonly metrics: readonly string[]
  readonly stages: readonly Stage[]
  dispose(): void
}

/** Default of {@link CommonOptions.batch}. */
export const DEFAULT_BATCH = 64

/** State names of the parts that this file owns. */
const RATE_SCALE = 'schedule/scale'
const TRAIN_KEY = 'rng/train'
const CHAIN_KEY = 'rng/chain'

/** Frees the stages' plans. */
export function disposeStages(stages: readonly Stage[]): void {
  for (const s of stages) s.plan.dispose()
}

/** Builds and owns the state and the step program of one run. Made by a trainer's `fit`; not reused. */
export class Engine {
  readonly state: State
  readonly model: Model
  readonly optimizer: Optimizer
  readonly recovery: Recovery
  private readonly method: Method
  private readonly options: CommonOptions
  private readonly schedule: ScheduleOptions

  constructor(state: State, model: Model, method: Method, options: CommonOptions) {
    this.state = state
    this.model = model
    this.method = method
    this.options = options
    this.optimizer = makeOptimizer(options.optimizer ?? { kind: 'sgd' })
    this.schedule = options.schedule ?? { kind: 'constant' }
    this.recovery = recoveryDefaults(options.recovery)
    integer('batch', options.batch ?? DEFAULT_BATCH, 1)
    const { ema, gradientClip } = options
    if (ema != null && !(ema >= 0 && ema < 1)) throw new RangeError(`ema must be in [0, 1) or null; got ${ema}`)
    if (gradientClip != null && !(gradientClip > 0))
      throw new RangeError(`gradientClip must be positive or null; got ${gradientClip}`)
  }

  get seed(): number {
    return this.options.seed ?? 0
  }

  private get parameters(): VariableSpec[] {
    return this.model.network.variables.filter((v) => v.role === 'parameter')
  }

  /** Creates every tensor the run owns, with the model's present values. */
  async setup(): Promise<void> {
    const { state, model } = this
    for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
    for (const p of this.parameters) {
      for (const slot of this.optimizer.slots) state.create(`optimizer/${slot}/${p.name}`, p.shape)
      if (this.options.ema != null) await state.put(`ema/${p.name}`, model.value(p.name))
    }
    await state.put(TRAIN_KEY, keyFromSeed(this.seed))
    await state.put(CHAIN_KEY, keyFromSeed(this.seed))
    await state.put(RATE_SCALE, hostTensor(new Float32Array([1]), []))
    await this.method.setup(state)
  }

  /** Updates done so far. */
  async stepsDone(): Promise<number> {
    const key = (await this.state.get(TRAIN_KEY).read()).data
    return ((key[2] as number) >>> 0) + ((key[3] as number) >>> 0) * 2 ** 32
  }

  /** Records and compiles the step. */
  async compile(plan: StepPlan): Promise<StepProgram> {
    const code: Instruction[] = []
    const stages: Stage[] = []
    const stage = async (name: string, record: (r: Recorder) => void): Promise<Instruction> => {
      const r = new Recorder(this.state)
      record(r)
      const s = await r.compile(name)
      stages.push(s)
      return { do: 'run', plan: s.plan, inputs: s.inputs, outputs: s.outputs }
    }
    code.push(await stage('draw', (r) => this.method.draw(r)))
    for (const round of this.method.chains()) {
      const step = await stage(`chain ${round.name}`, (r) => round.record(r))
      const energy = this.state.get(`chain/${round.name}Energy`)
      const start = this.state.create(`chain/${round.name}StartEnergy`, [], 'float32', false)
      code.push(step, { do: 'copy', from: [energy], to: [start] })
      if (round.steps > 1) code.push({ do: 'repeat', count: round.steps - 1, body: [step] })
    }
    let objective: Objective | undefined
    code.push(
      await stage('gradient', (r) => {
        objective = this.recordGradient(r)
      }),
    )
    const { lossLimit } = this.recovery
    const guards = [
      { name: 'loss', limit: lossLimit },
      { name: 'gradientNorm', limit: Number.MAX_VALUE },
      ...(objective as Objective).guards,
    ]
    for (const { name, limit } of guards)
      code.push({ do: 'guard', name, tensor: this.state.get(`metric/${name}`), limit })
    // Here an all-reduce of grad/* and stat/* will stand.
    code.push(await stage('update', (r) => this.recordUpdate(r, objective as Objective, plan)))
    const metrics = ['loss', ...Object.keys((objective as Objective).metrics), 'gradientNorm', 'learningRate']
    code.push({ do: 'record', tensors: metrics.map((m) => this.state.get(`metric/${m}`)) })
    const program = makeProgram(code)
    return { program, metrics, stages, dispose: () => disposeStages(stages) }
  }

  private recordGradient(r: Recorder): Objective {
    const variables = new Variables((v) => r.read(v.name))
    const objective = this.method.objective(r, variables)
    const parameters = this.parameters
    const gradients = grad(
      objective.loss,
      parameters.map((p) => variables.get(p)),
    )
    parameters.forEach((p, i) => {
      r.write(`grad/${p.name}`, gradients[i] as Tensor)
    })
    for (const [name, value] of objective.statistics) r.write(`stat/${name}`, value)
    for (const [name, value] of Object.entries(objective.metrics)) r.write(`metric/${name}`, value)
    r.write('metric/loss', objective.loss)
    r.write('metric/gradientNorm', globalNorm(gradients))
    return objective
  }

  private recordUpdate(r: Recorder, objective: Objective, plan: StepPlan): void {
    const key = r.read(TRAIN_KEY)
    const step = ops.reshape(ops.cast(ops.slice(key, [2], [3]), 'float32'), [])
    const factor = scheduleFactor(this.schedule, { step, ...plan })
    const learningRate = ops.mul(ops.mul(factor, this.optimizer.learningRate), r.read(RATE_SCALE))
    const context = { learningRate, count: ops.add(step, 1) }
    const { gradientClip, ema } = this.options
    const clip = gradientClip == null ? undefined : clipFactor(r.read('metric/gradientNorm'), gradientClip)
    for (const { name } of this.parameters) {
      const g = r.read(`grad/${name}`)
      const slotNames = this.optimizer.slots.map((s) => `optimizer/${s}/${name}`)
      const slots = slotNames.map((s) => r.read(s))
      const next = this.optimizer.update(r.read(name), clip === undefined ? g : ops.mul(g, clip), slots, context)
      r.write(name, next.parameter)
      slotNames.forEach((s, i) => {
        r.write(s, next.slots[i] as Tensor)
      })
      if (ema != null) r.write(`ema/${name}`, movingAverage(r.read(`ema/${name}`), next.parameter, ema))
    }
    for (const name of objective.statistics.keys()) r.write(name, r.read(`stat/${name}`))
    this.method.after(r)
    r.write('metric/learningRate', learningRate)
    r.write(TRAIN_KEY, ops.nextKey(key))
  }

  /** What a snapshot of the last good state holds: all but the chains and what they start from. */
  snapshotNames(): string[] {
    return this.state.names(true).filter((n) => !n.startsWith('chain/') && !n.startsWith('start/'))
  }

  /** Makes the chains anew. */
  fillChains(seed: number): Promise<void> {
    return this.method.reinitialize(this.state, seed)
  }

  /** Writes a snapshot back. */
  async restore(snapshot: ReadonlyMap<string, HostTensor>): Promise<void> {
    for (const [name, value] of snapshot) await this.state.get(name).write(value)
  }

  /** Goes back to a snapshot, lowers the rate, and makes the chains anew. */
  async recover(snapshot: ReadonlyMap<string, HostTensor>, attempt: number): Promise<void> {
    const scale = ((await this.state.get(RATE_SCALE).read()).data[0] as number) * this.recovery.rateFactor
    await this.restore(snapshot)
    await this.state.get(RATE_SCALE).write(hostTensor(new Float32Array([scale]), []))
    await this.method.reinitialize(this.state, this.seed + attempt)
  }

  /** Copies the parameters (their moving average where there is one) and statistics into the model. */
  async syncModel(): Promise<void> {
    await this.model.setValues(await this.modelValues())
  }

  private async modelValues(): Promise<Map<string, HostTensor>> {
    const out = new Map<string, HostTensor>()
    for (const v of this.model.network.variables) {
      const source = v.role === 'parameter' && this.options.ema != null ? `ema/${v.name}` : v.name
      out.set(v.name, await this.state.get(source).read())
    }
    return out
  }

  /** Refuses a network that has no trained parameters. */
  checkTrainable(): void {
    if (this.parameters.length === 0) {
      throw new LangevinError(
        'E_CONFIG',
        `network '${this.model.network.config.kind}' has no parameters to train; declare some through the scope`,
      )
    }
  }
}
