/**
 * What moves annealed chains: a transition that leaves π_β ∝ base^(1-β) · model^β invariant, as plans over named state. Here Hamiltonian
 * Monte Carlo (Duane 1987; Neal 2011), of which MALA is the case of one leapfrog step. Temperatures and weights are ais.ts's part, so a
 * transition for discrete variables needs nothing but this interface.
 */
import { grad } from '../autodiff/index.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Instruction } from '../runtime/program.ts'
import { Recorder, runStage, type Stage, type State } from '../runtime/state.ts'
import { halfSquare, perRow } from '../samplers/rows.ts'
import { checkCount } from './checks.ts'

/** The two ends of the annealing path; graphs read their parameters through the recorder. */
export interface AnnealingPath {
  readonly shape: Shape
  /** Unnormalised log density of the model, -E(x): [n]. */
  logModel(r: Recorder, x: Tensor): Tensor
  /** Normalised log density of the base: [n]. */
  logBase(r: Recorder, x: Tensor): Tensor
}

/** Stages to dispose of, and the instructions that run them once. */
export interface Recorded {
  readonly stages: readonly Stage[]
  readonly code: readonly Instruction[]
}

/**
 * State that the driver owns: `ais/x` [n, ...shape], `ais/key`, `ais/beta` [], `ais/stepSize` [], `ais/scale` [...shape] (typical width of
 * the base in each dimension). State that a transition keeps current: `ais/logModel` and `ais/logBase` [n] at `ais/x`, and
 * `ais/acceptance` [], the mean acceptance probability of the last transition.
 */
export interface AnnealingTransition {
  /** In units of `ais/scale`: fixed, or tuned in a pilot. A transition without one (Gibbs) says 1 and does not read `ais/stepSize`. */
  readonly stepSize: number | StepSizeTuning
  /** Writes what is kept beside x, for x as given; x itself is written by the driver. */
  init(r: Recorder, path: AnnealingPath, x: Tensor): void
  /**
   * log π_upper(x) - log π_lower(x) for inverse temperatures upper > lower, [n], where the intermediate distributions are others than
   * base^(1-β)·model^β (then nothing is kept current after `init`). They must be the base at 0 and exp(-E) at 1.
   */
  increment?(r: Recorder, path: AnnealingPath, x: Tensor, upper: Tensor, lower: Tensor): Tensor
  /** Records one transition at the present temperature. */
  record(state: State, path: AnnealingPath): Promise<Recorded>
}

/** How a pilot anneal tunes the step size: where it begins, and the mean acceptance it aims at. */
export interface StepSizeTuning {
  readonly first: number
  readonly targetAcceptance: number
}

/** `stepSize` in units of the base's width in each dimension; 'adapt' (default) tunes it to the temperature in a pilot anneal. */
export type TransitionOptions =
  /** `leapfrog` steps of Hamiltonian dynamics, default 5, with each chain's step size varied by ±20%. */
  | { readonly kind: 'hmc'; readonly leapfrog?: number; readonly stepSize?: number | 'adapt' }
  /** Metropolis-adjusted Langevin: one leapfrog step. */
  | { readonly kind: 'mala'; readonly stepSize?: number | 'adapt' }
  /** One's own, for example Gibbs sampling of discrete x. */
  | AnnealingTransition

/** @throws LangevinError E_CONFIG, RangeError */
export function makeTransition(options: TransitionOptions, dimensions: number): AnnealingTransition {
  if ('record' in options) return options
  const { stepSize = 'adapt' } = options
  if (stepSize !== 'adapt' && !(Number.isFinite(stepSize) && stepSize > 0)) {
    throw new RangeError(`transition: stepSize must be a positive number or 'adapt'; got ${stepSize}`)
  }
  const tuned = (tuning: StepSizeTuning) => (stepSize === 'adapt' ? tuning : stepSize)
  switch (options.kind) {
    case 'hmc': {
      const { leapfrog = 5 } = options
      checkCount('transition: leapfrog', leapfrog, 1)
      return hamiltonian(leapfrog, tuned({ first: dimensions ** -0.25, targetAcceptance: 0.7 }))
    }
    case 'mala':
      return hamiltonian(1, tuned({ first: dimensions ** (-1 / 6), targetAcceptance: 0.574 }))
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError('E_CONFIG', `transition '${kind}' is not known.${suggestion(kind, ['hmc', 'mala'])}`)
    }
  }
}

const STREAM = { momentum: 1, jitter: 2, accept: 3 } as const

/** Both log densities and their gradients at x. */
function evaluate(r: Recorder, path: AnnealingPath, x: Tensor) {
  const logModel = path.logModel(r, x)
  const logBase = path.logBase(r, x)
  const [modelScore] = grad(ops.sum(logModel), [x]) as [Tensor]
  const [baseScore] = grad(ops.sum(logBase), [x]) as [Tensor]
  return { logModel, logBase, modelScore, baseScore }
}

function writeAll(r: Recorder, prefix: string, values: Readonly<Record<string, Tensor>>): void {
  for (const [name, value] of Object.entries(values)) r.write(`${prefix}/${name}`, value)
}

/**
 * H = -log π_β(x) + ½‖p‖², in coordinates scaled by `ais/scale`. The gradients of both ends stand in the state, so that a change of
 * temperature costs no evaluation: one gradient a leapfrog step is all that is computed.
 */
function hamiltonian(leapfrog: number, stepSize: number | StepSizeTuning): AnnealingTransition {
  return {
    stepSize,
    init(r, path, x) {
      writeAll(r, 'ais', evaluate(r, path, x))
      r.write('ais/acceptance', ops.constant(0))
    },
    async record(state, path) {
      const kept = carried.map((name) => state.get(`ais/${name}`))
      const trial = kept.map((t, i) => state.create(`trial/${carried[i]}`, t.shape, 'float32', false))
      const begin = await recordBegin(state)
      const step = await recordLeapfrog(state, path)
      const accept = await recordAccept(state)
      const code: Instruction[] = [
        { do: 'copy', from: kept, to: trial },
        runStage(begin),
        { do: 'repeat', count: leapfrog, body: [runStage(step)] },
        runStage(accept),
      ]
      return { stages: [begin, step, accept], code }
    },
  }
}

const carried = ['x', 'logModel', 'logBase', 'modelScore', 'baseScore'] as const

/** Fresh momenta, and a step size for each chain. */
function recordBegin(state: State): Promise<Stage> {
  const r = new Recorder(state)
  const x = r.read('ais/x')
  const n = x.shape[0] as number
  const key = r.read('ais/key')
  const momentum = ops.normal(key, x.shape, STREAM.momentum)
  r.write('trial/momentum', momentum)
  r.write('trial/kinetic', halfSquare(momentum))
  const jitter = ops.add(ops.mul(ops.uniform(key, [n], STREAM.jitter), 0.4), 0.8)
  r.write('trial/epsilon', ops.mul(r.read('ais/stepSize'), jitter))
  return r.compile('begin')
}

function recordLeapfrog(state: State, path: AnnealingPath): Promise<Stage> {
  const r = new Recorder(state)
  const x = r.read('trial/x')
  const [beta, scale] = [r.read('ais/beta'), r.read('ais/scale')]
  const epsilon = perRow(r.read('trial/epsilon'), x)
  const force = (model: Tensor, base: Tensor) =>
    ops.mul(scale, ops.add(ops.mul(model, beta), ops.mul(base, ops.sub(1, beta))))
  const half = (p: Tensor, f: Tensor) => ops.add(p, ops.mul(ops.mul(epsilon, 0.5), f))
  const p = half(r.read('trial/momentum'), force(r.read('trial/modelScore'), r.read('trial/baseScore')))
  const moved = ops.add(x, ops.mul(ops.mul(epsilon, scale), p))
  const now = evaluate(r, path, moved)
  const momentum = half(p, force(now.modelScore, now.baseScore))
  writeAll(r, 'trial', { ...now, x: moved, momentum })
  return r.compile('leapfrog')
}

/** Metropolis: u < exp(H - H'). Anything not finite compares false, so a trajectory that leaves the support or blows up is refused. */
function recordAccept(state: State): Promise<Stage> {
  const r = new Recorder(state)
  const [beta, key] = [r.read('ais/beta'), r.read('ais/key')]
  const [model, base] = [r.read('trial/logModel'), r.read('trial/logBase')]
  const change = ops.add(
    ops.mul(ops.sub(model, r.read('ais/logModel')), beta),
    ops.mul(ops.sub(base, r.read('ais/logBase')), ops.sub(1, beta)),
  )
  const momentum = r.read('trial/momentum')
  const difference = ops.add(change, ops.sub(r.read('trial/kinetic'), halfSquare(momentum)))
  const n = difference.shape[0] as number
  // A model that is -infinite where the chain stands (difference +infinite) is left at once.
  const possible = ops.logicalAnd(ops.isFinite(model), ops.isFinite(base))
  const probability = ops.select(possible, ops.exp(ops.minimum(difference, 0)), 0)
  const accept = ops.lt(ops.uniform(key, [n], STREAM.accept), probability)
  for (const name of carried) {
    const [kept, trial] = [r.read(`ais/${name}`), r.read(`trial/${name}`)]
    r.write(`ais/${name}`, ops.select(perRow(accept, kept), trial, kept))
  }
  const defined = ops.select(ops.isFinite(probability), probability, 0)
  r.write('ais/acceptance', ops.mean(defined))
  r.write('ais/key', ops.nextKey(key))
  return r.compile('accept')
}
