/**
 * What a sampler is: graphs of its start and of one step over all chains, pure in (state, key). So one definition is repeated natively,
 * runs inside a training step, can be differentiated, and becomes the body of an ONNX Loop. The samplers themselves stand one a file.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { StartOptions } from './starts.ts'
import type { Target } from './target.ts'

/** Box that x is kept in after each step; null for none. */
export type Bounds = readonly [low: number, high: number] | null

/**
 * The tensors that a chain carries from step to step: `x` [n, ...shape], and what the sampler keeps beside it by name (cached energy [n] and
 * score, momentum, step size, mass, counters). Caches belong to the parameters the target had: after those change, `init` again.
 * Tensors per chain have the chains on axis 0. A Metropolis sampler that parallel tempering may use inside keeps nothing per chain but
 * `x`, `energy` [n] and `score` [n, ...shape] (of x under the target); one that adapts keeps its step size in `stepSize` [].
 */
export interface SamplerState {
  readonly x: Tensor
  readonly [name: string]: Tensor
}

/** What each step tells, per chain. */
export interface StepInfo {
  /** float32 [n]: the energy that the step knows without another pass: of the new x for Metropolis samplers and `underdamped`, of the x it left for SGLD, its kin and PYLD. */
  readonly energy: Tensor
  /** float32 [n] in [0, 1]: probability with which the proposal was accepted (the mean over a trajectory for NUTS); 1 without an accept step. */
  readonly acceptance: Tensor
  /** bool [n]: the chain is not finite, or its trajectory left the region where the integrator is stable. */
  readonly divergent: Tensor
  /** More of this step that users should see the mean of over steps: float32 vectors or scalars by name (swap acceptance per pair). */
  readonly details?: Readonly<Record<string, Tensor>>
}

export interface StepResult {
  readonly state: SamplerState
  /** The key after the step's draws. */
  readonly key: Tensor
  readonly info: StepInfo
}

/** Warm-up of a sampler that tunes itself. Chains are not valid draws while it runs. */
export interface Adaptation {
  /** Transitions of each chain that the schedule of windows is laid out for: how long a warm-up should be. */
  readonly steps: number
  /** A step that also tunes step size and mass, in the state. */
  step(target: Target, state: SamplerState, key: Tensor, stream: number): StepResult
  /** The state with the tuned values fixed, for sampling. */
  finish(state: SamplerState): SamplerState
}

/** `stepSize` as the options define it, and `noise`, the standard deviation of the noise where that is a setting of its own. */
export interface Controls {
  readonly stepSize?: number
  readonly noise?: number
}

export interface Sampler<Options extends { readonly kind: string } = { readonly kind: string }> {
  readonly kind: Options['kind']
  /** The options with every default filled in: what a checkpoint keeps. */
  readonly options: Options
  /** Graph steps in one round of a training chain. */
  readonly steps: number
  readonly bounds: Bounds
  /** Leading network stages that PYLD treats as its first; 1 for all others. */
  readonly firstStage: number
  /** Passes through the target that one step of one chain costs (a gradient with its energy, or an energy alone: `rwm`); `init` not counted. */
  readonly gradientsPerStep: number
  /** Carries nothing but x from step to step, as it was given: `init` may be left out, also when the target has changed. */
  readonly stateless?: true
  /**
   * Settings, with the options' values, that a state may bring along as float32 scalars of these names: the step then reads them there and leaves
   * them as they are. So an exported chain takes them when it runs. Samplers that tune themselves have `stepSize` in their state at all times.
   */
  readonly controls?: Controls
  /**
   * Set where one step is less than a transition (NUTS: one leapfrog, so that no chain waits for another): the name of the state tensor,
   * int32 [n], that counts the transitions each chain has completed. `x` is then each chain's last completed draw at all times, and only
   * the sequence of x by this count is a Markov chain with the target's distribution: x at a fixed number of *steps* favours
   * points with long trajectories. So draws are kept by count, not by step. `info` tells of the last completed transition.
   */
  readonly transitions?: string
  /** The chain's first state at x; may evaluate the target. Draws come from streams `stream`, `stream + 1`, ... */
  init(target: Target, x: Tensor, key: Tensor, stream: number): SamplerState
  /** One step of all chains; draws come from `key` at streams `stream`, `stream + 1`, ... (up to 999 of them). */
  step(target: Target, state: SamplerState, key: Tensor, stream: number): StepResult
  readonly adaptation?: Adaptation
  /**
   * The chain is a schedule of `steps` steps, which ends there: a draw is one whole run from a fresh start (annealed Langevin,
   * predictor-corrector, probability flow). Further steps change nothing.
   */
  readonly schedule?: true
  /** Where chains begin unless the user says so; uniform on [-1, 1] by default. */
  readonly start?: StartOptions
}

/** Info of a step without accept-reject that left `x` with the energies `energy`. */
export function plainInfo(x: Tensor, energy: Tensor): StepInfo {
  const n = x.shape[0] as number
  return { energy, acceptance: ops.broadcast(ops.constant(1), [n]), divergent: ops.logicalNot(finiteRows(x)) }
}

/** bool [n]: rows of x [n, ...] that hold finite numbers only. */
export function finiteRows(x: Tensor): Tensor {
  const axes = x.shape.slice(1).map((_, i) => i + 1)
  const ok = ops.cast(ops.isFinite(x), 'float32')
  return ops.gt(axes.length === 0 ? ok : ops.min(ok, axes), 0)
}
