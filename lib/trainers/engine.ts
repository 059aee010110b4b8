/**
 * The compiled step of a run: state, plans, programs. What is optimised is the method's part (method.ts), when to stop, report and save is fit.ts's.
 */
import { grad } from '../autodiff/index.ts'
import type { Dataset } from '../data/dataset.ts'
import { checkInteger } from '../graph/checks.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import { initialize, type Model } from '../nn/model.ts'
import { type VariableSpec, Variables } from '../nn/variables.ts'
import * as ops from '../ops/index.ts'
import { makeOptimizer, type Optimizer } from '../optim/optimizers.ts'
import { clipFactor, globalNorm, movingAverage, scheduleFactor } from '../optim/schedules.ts'
import { type Instruction, makeProgram, type Program } from '../runtime/program.ts'
import { keyFromSeed, Recorder, runStage, type Stage, type State } from '../runtime/state.ts'
import type { ChainRound, Method, Module, ModuleVariables, Objective, Phase, Segment, StepPlan } from './method.ts'
import { type CommonOptions, type Recovery, recoveryDefaults } from './options.ts'
import { ascend } from './sharpness.ts'

/** A compiled segment of a run. */
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
export const TRAIN_KEY = 'rng/train'
export const CHAIN_KEY = 'rng/chain'

/** Frees the stages' plans. */
export function disposeStages(stages: readonly Stage[]): void {
  for (const s of stages) s.plan.dispose()
}

/** The state name of a module's variable; the model's own are named as in its network. */
export function stateName(module: string, variable: string): string {
  return module === '' ? variable : `${module}/${variable}`
}

/** A trained variable and its name in the state. */
interface Trained {
  readonly module: string
  readonly spec: VariableSpec
  readonly state: string
}

/** Builds and owns the state and the step programs of one run. Made by a trainer's `fit`; not reused. */
export class Engine {
  readonly state: State
  readonly model: Model
  readonly recovery: Recovery
  private readonly method: Method
  private readonly options: CommonOptions
  private readonly optimizer: Optimizer

  constructor(state: State, model: Model, method: Method, options: CommonOptions) {
    this.state = state
    this.model = model
    this.method = method
    this.options = options
    this.optimizer = makeOptimizer(options.optimizer ?? { kind: 'sgd' })
    this.recovery = recoveryDefaults(options.recovery)
    checkCommon(options)
  }

  get seed(): number {
    return this.options.seed ?? 0
  }

  private get modules(): readonly Module[] {
    return [{ name: '', variables: this.model.network.variables }, ...(this.method.modules ?? [])]
  }

  /** Trained variables of the given modules (default all). */
  private parameters(modules: readonly string[] = this.modules.map((m) => m.name)): Trained[] {
    return this.modules
      .filter((m) => modules.includes(m.name))
      .flatMap(({ name, variables }) =>
        variables
          .filter((v) => v.role === 'parameter')
          .map((spec) => ({ module: name, spec, state: stateName(name, spec.name) })),
      )
  }

  /** Creates every tensor the run owns, with the model's present values and the modules' initial ones. */
  async setup(data: Dataset, plan: StepPlan): Promise<void> {
    const { state, model } = this
    for (const v of model.network.variables) await state.put(v.name, model.value(v.name))
    for (const m of this.method.modules ?? []) {
      for (const v of m.variables)
        await state.put(stateName(m.name, v.name), m.values?.get(v.name) ?? initialize(v, this.seed))
    }
    const phases = this.method.segments(plan).flatMap((s) => s.phases)
    for (const phase of phases) await this.setupOptimizer(phase)
    if (this.options.ema != null) {
      for (const p of this.parameters()) await state.put(`ema/${p.state}`, await state.get(p.state).read())
    }
    const keys = this.method.segments(plan).flatMap((s) => s.phases.map(phaseKey))
    for (const name of [TRAIN_KEY, CHAIN_KEY, ...keys])
      if (!state.has(name)) await state.put(name, keyFromSeed(this.seed))
    await state.put(RATE_SCALE, hostTensor(new Float32Array([1]), []))
    await this.method.setup(state, data)
  }

  private async setupOptimizer(phase: Phase): Promise<void> {
    const { state } = this
    const { slots } = this.optimizerOf(phase)
    const trains = phase.trains ?? ['']
    for (const p of this.parameters(trains)) {
      for (const slot of slots) {
        const name = `optimizer/${slot}/${p.state}`
        if (!state.has(name)) state.create(name, p.spec.shape)
      }
    }
    for (const module of trains) if (!state.has(countName(module))) state.create(countName(module), [])
  }

  private optimizerOf(phase: Phase): Optimizer {
    return phase.optimizer === undefined ? this.optimizer : makeOptimizer(phase.optimizer)
  }

  /** Updates done so far. */
  async stepsDone(): Promise<number> {
    const key = (await this.state.get(TRAIN_KEY).read()).data
    return ((key[2] as number) >>> 0) + ((key[3] as number) >>> 0) * 2 ** 32
  }

  /** The segments of the run. */
  segments(plan: StepPlan): readonly Segment[] {
    return this.method.segments(plan)
  }

  /** Records and compiles the step of a segment (default the last). */
  async compile(plan: StepPlan, segment?: Segment): Promise<StepProgram> {
    const { phases } = segment ?? (this.method.segments(plan).at(-1) as Segment)
    const code: Instruction[] = []
    const stages: Stage[] = []
    const stage = async (name: string, record: (r: Recorder) => void): Promise<Instruction> => {
      const r = new Recorder(this.state)
      record(r)
      const s = await r.compile(name)
      stages.push(s)
      return runStage(s)
    }
    const metrics: string[] = []
    for (const [i, phase] of phases.entries()) {
      const { body, recorded } = await this.compilePhase(phase, i, plan, stage)
      const { repeat = 1 } = phase
      code.push(...(repeat === 1 ? body : [{ do: 'repeat' as const, count: repeat, body }]))
      metrics.push(...recorded)
    }
    metrics.push('learningRate')
    const twice = metrics.find((m, i) => metrics.indexOf(m) < i)
    if (twice !== undefined) throw new LangevinError('E_INTERNAL', `internal: two phases report '${twice}'`)
    code.push({ do: 'record', tensors: metrics.map((m) => this.state.get(`metric/${m}`)) })
    const program = makeProgram(code)
    return { program, metrics, stages, dispose: () => disposeStages(stages) }
  }

  private async compilePhase(
    phase: Phase,
    index: number,
    plan: StepPlan,
    stage: (name: string, record: (r: Recorder) => void) => Promise<Instruction>,
  ): Promise<{ body: Instruction[]; recorded: string[] }> {
    const key = phaseKey(phase, index)
    const label = (what: string) => (phase.name === '' ? what : `${phase.name} ${what}`)
    const body: Instruction[] = [await stage(label('draw'), (r) => phase.draw(r, r.read(key)))]
    for (const round of phase.chains()) body.push(...(await this.compileRound(round, stage)))
    const names = metricNames(phase)
    let objective: Objective | undefined
    body.push(
      await stage(label('gradient'), (r) => {
        objective = this.recordGradient(r, phase, r.read(key))
      }),
    )
    const made = objective as Objective
    const guards = [
      { name: names.loss, limit: this.recovery.lossLimit },
      { name: names.gradientNorm, limit: Number.MAX_VALUE },
      ...(made.guards ?? []),
    ]
    for (const { name, limit } of guards)
      body.push({ do: 'guard', name, tensor: this.state.get(`metric/${name}`), limit })
    // Here an all-reduce of grad/* and stat/* will stand.
    body.push(await stage(label('update'), (r) => this.recordUpdate(r, phase, index, made, plan)))
    return { body, recorded: [names.loss, ...Object.keys(made.metrics), names.gradientNorm] }
  }

  private async compileRound(
    round: ChainRound,
    stage: (name: string, record: (r: Recorder) => void) => Promise<Instruction>,
  ): Promise<Instruction[]> {
    const { name, steps, begin } = round
    const code: Instruction[] = []
    if (begin !== undefined) code.push(await stage(`chain ${name} begin`, (r) => begin.call(round, r)))
    const step = await stage(`chain ${name}`, (r) => round.record(r))
    if (typeof steps !== 'number') {
      code.push({ do: 'repeat', countFrom: this.state.get(steps.from), body: [step] })
      return code
    }
    const start = `chain/${name}StartEnergy`
    if (!this.state.has(start)) this.state.create(start, [], 'float32', false)
    if (steps > 0)
      code.push(step, { do: 'copy', from: [this.state.get(`chain/${name}Energy`)], to: [this.state.get(start)] })
    if (steps > 1) code.push({ do: 'repeat', count: steps - 1, body: [step] })
    return code
  }

  private recordGradient(r: Recorder, phase: Phase, key: Tensor): Objective {
    const parameters = this.parameters(phase.trains ?? [''])
    const variables = moduleVariables((name) => r.read(name))
    const objective = phase.objective(r, variables, key)
    const values = (from: ModuleVariables) => parameters.map((p) => from(p.module).get(p.spec))
    let gradients = grad(objective.loss, values(variables))
    const { sam } = this.options
    if (sam != null) {
      const moved = ascend(values(variables), gradients, sam)
      const byName = new Map(parameters.map((p, i) => [p.state, moved[i] as Tensor]))
      const there = moduleVariables((name) => byName.get(name) ?? r.read(name))
      gradients = grad(phase.objective(r, there, key).loss, values(there))
    }
    parameters.forEach((p, i) => {
      r.write(`grad/${p.state}`, gradients[i] as Tensor)
    })
    const names = metricNames(phase)
    for (const [name, value] of objective.statistics ?? []) r.write(`stat/${name}`, value)
    for (const [name, value] of Object.entries(objective.metrics)) r.write(`metric/${name}`, value)
    for (const [name, value] of objective.leaves ?? []) r.write(name, value)
    if (objective.gate !== undefined) r.write(gateName(phase), objective.gate)
    r.write(`metric/${names.loss}`, objective.loss)
    r.write(`metric/${names.gradientNorm}`, globalNorm(gradients))
    return objective
  }

  private recordUpdate(r: Recorder, phase: Phase, index: number, objective: Objective, plan: StepPlan): void {
    const optimizer = this.optimizerOf(phase)
    const trainKey = r.read(TRAIN_KEY)
    const step = ops.reshape(ops.cast(ops.slice(trainKey, [2], [3]), 'float32'), [])
    const schedule = phase.schedule ?? this.options.schedule ?? { kind: 'constant' }
    const factor = scheduleFactor(schedule, { step, ...plan })
    const learningRate = ops.mul(ops.mul(factor, optimizer.learningRate), r.read(RATE_SCALE))
    const { gradientClip, ema } = this.options
    const norm = `metric/${metricNames(phase).gradientNorm}`
    const clip = gradientClip == null ? undefined : clipFactor(r.read(norm), gradientClip)
    const gate = objective.gate === undefined ? undefined : r.read(gateName(phase))
    const keep = (name: string, value: Tensor) =>
      r.write(name, gate === undefined ? value : ops.select(gate, value, r.read(name)))
    const trains = phase.trains ?? ['']
    const counts = new Map(trains.map((m) => [m, ops.add(r.read(countName(m)), 1)]))
    for (const [module, count] of counts) keep(countName(module), count)
    for (const { state: name, module } of this.parameters(trains)) {
      const g = r.read(`grad/${name}`)
      const slotNames = optimizer.slots.map((s) => `optimizer/${s}/${name}`)
      const slots = slotNames.map((s) => r.read(s))
      const context = { learningRate, count: counts.get(module) as Tensor }
      const next = optimizer.update(r.read(name), clip === undefined ? g : ops.mul(g, clip), slots, context)
      keep(name, next.parameter)
      slotNames.forEach((s, i) => {
        keep(s, next.slots[i] as Tensor)
      })
      if (ema != null) keep(`ema/${name}`, movingAverage(r.read(`ema/${name}`), next.parameter, ema))
    }
    for (const name of objective.statistics?.keys() ?? []) r.write(name, r.read(`stat/${name}`))
    phase.after(r)
    if (index === 0) r.write('metric/learningRate', learningRate)
    const key = phaseKey(phase, index)
    r.write(key, ops.nextKey(r.read(key)))
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
    await this.model.setValues(await this.moduleValues(''))
  }

  /** A module's variables as trained: the moving average of parameters where there is one. */
  async moduleValues(module: string): Promise<Map<string, HostTensor>> {
    const found = this.modules.find((m) => m.name === module)
    const out = new Map<string, HostTensor>()
    for (const v of found?.variables ?? []) {
      const name = stateName(module, v.name)
      out.set(v.name, await this.state.get(trainedName(name, v.role, this.options)).read())
    }
    return out
  }

  /** Refuses a run that would train nothing. */
  checkTrainable(): void {
    if (this.parameters().length === 0) {
      throw new LangevinError(
        'E_CONFIG',
        `network '${this.model.network.config.kind}' has no parameters to train; declare some through the scope`,
      )
    }
  }
}

/** Where the trained value of a variable stands: its moving average if the run keeps one. */
export function trainedName(name: string, role: VariableSpec['role'], options: Pick<CommonOptions, 'ema'>): string {
  return role === 'parameter' && options.ema != null ? `ema/${name}` : name
}

function moduleVariables(read: (stateName: string) => Tensor): ModuleVariables {
  const made = new Map<string, Variables>()
  return (module = '') => {
    let v = made.get(module)
    if (v === undefined) {
      v = new Variables((spec) => read(stateName(module, spec.name)))
      made.set(module, v)
    }
    return v
  }
}

function phaseKey(phase: Phase, index: number): string {
  return index === 0 ? TRAIN_KEY : `rng/${phase.name}`
}

function countName(module: string): string {
  return module === '' ? 'optimizer/updates' : `optimizer/updates/${module}`
}

function gateName(phase: Phase): string {
  return `gate/${phase.name}`
}

function metricNames({ name }: Phase): { loss: string; gradientNorm: string } {
  return name === ''
    ? { loss: 'loss', gradientNorm: 'gradientNorm' }
    : { loss: `${name}Loss`, gradientNorm: `${name}GradientNorm` }
}

function checkCommon({ batch, ema, gradientClip, sam }: CommonOptions): void {
  checkInteger('batch', batch ?? DEFAULT_BATCH, 1)
  if (ema != null && !(ema >= 0 && ema < 1)) throw new RangeError(`ema must be in [0, 1) or null; got ${ema}`)
  if (gradientClip != null && !(gradientClip > 0))
    throw new RangeError(`gradientClip must be positive or null; got ${gradientClip}`)
  if (sam != null && !(sam.rho > 0 && Number.isFinite(sam.rho)))
    throw new RangeError(`sam.rho must be a positive number; got ${sam.rho}`)
}
