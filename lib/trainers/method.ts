/**
 * What a training method is to the shared loop: its modules, and the phases of a step with what each draws, samples and optimises. How a
 * step is compiled and run is engine.ts's part; a new method is one file that implements `Method` and exports its `MethodDefinition`.
 */
import type { z } from 'zod'
import type { Dataset } from '../data/dataset.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Model } from '../nn/model.ts'
import type { Network } from '../nn/network.ts'
import type { VariableSpec, Variables } from '../nn/variables.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { ScheduleOptions } from '../optim/schedules.ts'
import type { Instruction } from '../runtime/program.ts'
import type { Recorder, Stage, State } from '../runtime/state.ts'
import type { ChainSampling } from './chain-sampling.ts'
import type { DataDescription } from './checkpoint.ts'
import type { CommonOptions } from './options.ts'
import type { SampleOptions } from './sampling.ts'

/** Everything a method is made from; enough to sample from a run long after its training data are gone. */
export interface MethodContext<Options extends CommonOptions = CommonOptions> {
  readonly network: Network
  /** The model as given, for what only its class knows (a flow's map). */
  readonly model?: Model
  /** With the definition's defaults under them. */
  readonly options: Options
  readonly data: DataDescription
}

/** A method under its name in configurations and checkpoints. */
export interface MethodDefinition<Options extends CommonOptions = CommonOptions> {
  readonly name: string
  /** Published settings, or ours where none are published. */
  readonly defaults: Options
  /** Trains log p(y|x) of labelled data: a configuration's network then has their classes, else it is an energy alone. Default false. */
  readonly classifier?: boolean
  /** Passes over the data when neither epochs nor steps are given. */
  readonly epochs: number
  /** Checks options that come as plain data. */
  readonly schema: z.ZodType
  create(context: MethodContext<Options>): Method
}

/**
 * Variables beside the model's own: log Z, a flow, a generator. In the state and in checkpoints they are called `<module>/<variable>`.
 */
export interface Module {
  readonly name: string
  readonly variables: readonly VariableSpec[]
  /** Initial values where they are not those of the variables' own initializers. */
  readonly values?: ReadonlyMap<string, HostTensor>
}

export interface Method {
  /** Default none. */
  readonly modules?: readonly Module[]
  /** Creates the method's own state: the data, the buffer, what noise and starts need. */
  setup(state: State, data: Dataset): Promise<void>
  /** Makes chains anew: at the start, and with another `seed` after a divergence. */
  reinitialize(state: State, seed: number): Promise<void>
  /** The parts of the run, in order; the last one's `until` is Infinity. Most methods have one. */
  segments(plan: StepPlan): readonly Segment[]
  /**
   * Records how samples are drawn: plans over a state that holds the network's variables, the modules', and all that the method keeps
   * (`chain/`, `start/`, ...). Each run of the code leaves a batch in `sample/x` [n, ...shape]; draws come from `sample/key`.
   */
  sampling(state: State, options: SampleOptions): Promise<SamplingCode>
  /** The chain of `sampling` as data; none for methods that only draw exactly. */
  chain?(): ChainSampling
  /** Unless chains are asked for, samples are exact draws of a flow or generator: the model itself, or the module `flow` or `generator`. */
  readonly exact?: boolean
}

export interface SamplingCode {
  readonly code: readonly Instruction[]
  readonly stages: readonly Stage[]
}

/** Phases that make up the steps before step `until`. */
export interface Segment {
  readonly name: string
  readonly until: number
  readonly phases: readonly Phase[]
}

/** Part of a step that ends in an update: draw, chains, gradient, guards, update. The first phase's counter is the run's. */
export interface Phase {
  /** Prefix of its loss and gradient norm in the metrics; '' for the first. */
  readonly name: string
  /** What it trains: '' is the model, others are modules. Default the model. */
  readonly trains?: readonly string[]
  /** Times a step; default 1, and 1 for the first phase. */
  readonly repeat?: number
  /** Default the trainer's. */
  readonly optimizer?: OptimizerOptions
  /** Default the trainer's. Epochs and steps count from the start of the run. */
  readonly schedule?: ScheduleOptions
  /** Draws batch and chain starts. `key` counts the phase's own runs. */
  draw(r: Recorder, key: Tensor): void
  /** Sampler rounds between draw and objective. */
  chains(): readonly ChainRound[]
  /** The loss and its metrics over the variables; may read the state as it is after draw and chains. */
  objective(r: Recorder, variables: ModuleVariables, key: Tensor): Objective
  /** What is stored after a good step (replay buffer). Runs within the update plan. */
  after(r: Recorder): void
}

/** Variables of the model ('') and of the modules as graph tensors. */
export type ModuleVariables = (module?: string) => Variables

export interface ChainRound {
  readonly name: string
  /** Graph steps; or the name of an int32 scalar of the state that says how many. */
  readonly steps: number | { readonly from: string }
  /** Records what comes once before the steps (the sampler's init). */
  begin?(r: Recorder): void
  /** Records one step; writes the chains' mean energy to `chain/<name>Energy`. */
  record(r: Recorder): void
}

export interface Objective {
  readonly loss: Tensor
  /** float32 scalars by name; reported each step. */
  readonly metrics: Readonly<Record<string, Tensor>>
  /** New values of running statistics (state names); default none. */
  readonly statistics?: ReadonlyMap<string, Tensor>
  /** What the rest of the step reads besides (`after`), by state name. */
  readonly leaves?: ReadonlyMap<string, Tensor>
  /** Metrics to guard, besides the loss and the gradient norm, with their limits in magnitude. */
  readonly guards?: readonly { readonly name: string; readonly limit: number }[]
  /** bool scalar: without it, the update of this run of the phase is left out. */
  readonly gate?: Tensor
}

export interface StepPlan {
  readonly stepsPerEpoch: number
  readonly totalSteps: number
}

/** One segment of one phase: what most methods are. */
export function singlePhase(phase: Phase): readonly Segment[] {
  return [{ name: 'training', until: Number.POSITIVE_INFINITY, phases: [phase] }]
}
