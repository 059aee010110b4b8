/**
 * Warm-up of the Metropolis samplers, as graphs over the state: dual averaging of the step size towards an acceptance (Nesterov 2009; Hoffman &
 * Gelman 2014, algorithm 5) and per-coordinate scales by Welford's sums in windows that double (as in Stan). All chains share both: what is
 * averaged is the acceptance of all of them, and the scales are those of all their points together. Not exact while it runs: draws count
 * from `finish` on.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { checkBetween, checkBounds, checkCount, checkPositive } from './options.ts'
import { checkScale, everyChain, perRow, type Scale, scaleTensor, selectRows } from './rows.ts'
import { type Adaptation, type Bounds, finiteRows, type Sampler, type SamplerState } from './sampler.ts'

/** Options that the tuned samplers share. */
export interface TunedOptions {
  /** Step size before warm-up, in units of `scale`. */
  readonly stepSize?: number
  /** Standard deviation of each coordinate, one for all or one each (row-major): the preconditioner, or 1/√mass. Default 1. */
  readonly scale?: Scale
  /** Acceptance that warm-up tunes the step size to. */
  readonly targetAcceptance?: number
  /** Warm-up tunes `scale` too. Default true. */
  readonly adaptScale?: boolean
  /** Transitions that the windows of warm-up are laid out for. Default 300. */
  readonly warmup?: number
  /** Steps in one round of a training chain. Default 20 (hmc: 5). */
  readonly steps?: number
}

/** With a hard wall: proposals with a coordinate outside have no density and are refused. */
export interface WalledOptions extends TunedOptions {
  /** Default null: none. */
  readonly bounds?: Bounds
}

export type Settings = Required<TunedOptions> & { readonly kind: string; readonly bounds?: Bounds }

/** @throws RangeError for values that no tuned sampler can have. */
export function checkTuned(options: Settings): void {
  const { kind, stepSize, scale, targetAcceptance, warmup, steps, bounds = null } = options
  checkPositive(kind, { stepSize })
  checkScale(kind, scale)
  checkBetween(kind, 'targetAcceptance', targetAcceptance, 0, 1)
  checkCount(kind, 'warmup', warmup)
  checkCount(kind, 'steps', steps)
  checkBounds(kind, bounds)
}

/** Constants of Hoffman & Gelman 2014, section 3.2.1. */
const [GAMMA, T0, KAPPA] = [0.05, 10, 0.75]

/** Tensors that tuning keeps in the state: scalars, and two of an example's shape. */
const names = ['count', 'since', 'mu', 'error', 'average', 'n', 'mean', 'square', 'done', 'accepted'] as const
type Tuning = Record<(typeof names)[number], Tensor>

/** `stepSize` [], `scale` [...shape] and the sums of warm-up, for a first state at x [n, ...shape]. */
export function tunedState(options: Settings, x: Tensor): Record<string, Tensor> {
  const shape = x.shape.slice(1)
  const zero = ops.scalar(0)
  const tuning: Tuning = {
    count: zero,
    since: zero,
    mu: ops.scalar(Math.log(10 * options.stepSize)),
    error: zero,
    average: zero,
    n: zero,
    mean: ops.zeros(shape),
    square: ops.zeros(shape),
    done: zero,
    accepted: zero,
  }
  return { ...tunables(options, { x }), ...prefixed(tuning) }
}

/** The state's step size and scale, or the options' where the state was given without them. */
export function tunables(options: Settings, state: SamplerState): { stepSize: Tensor; scale: Tensor } {
  return {
    stepSize: state.stepSize ?? ops.scalar(options.stepSize),
    scale: state.scale ?? scaleTensor(options.kind, options.scale, state.x.shape.slice(1)),
  }
}

/**
 * The adaptation of a sampler with these options. `done` says, float32 [n], which chains completed a transition in a step; default all.
 * The step size moves once as many transitions are complete as there are chains.
 */
export function adaptationOf(
  options: Settings,
  step: Sampler['step'],
  done: (before: SamplerState, after: SamplerState) => Tensor = ({ x }) => everyChain(x.shape[0] as number, 1),
): Adaptation {
  return {
    steps: options.warmup,
    step(target, before, key, stream) {
      const full = before.stepSize === undefined ? { ...before, ...tunedState(options, before.x) } : before
      const result = step(target, full, key, stream)
      const state = tune(options, { ...full, ...result.state }, result.info.acceptance, done(full, result.state))
      return { ...result, state }
    },
    finish(state) {
      const { since, average } = tuningOf(state)
      const { stepSize } = state
      if (stepSize === undefined) return state
      return { ...state, stepSize: ops.select(ops.gt(since, 0), ops.exp(average), stepSize) }
    },
  }
}

/** Counts of updates after which a window of scale estimation ends: the first starts after 15% of warm-up, the last ends at 85%. */
export function windowEnds(warmup: number): { readonly start: number; readonly ends: readonly number[] } {
  const start = Math.round(0.15 * warmup)
  const stop = warmup - Math.round(0.15 * warmup)
  const ends: number[] = []
  let size = Math.max(1, Math.round(0.06 * warmup))
  for (let at = start; at < stop; size *= 2) {
    // A window whose successor would not fit takes the rest.
    at = at + 3 * size > stop ? stop : at + size
    ends.push(at)
  }
  return { start, ends }
}

function tune(options: Settings, state: SamplerState, acceptance: Tensor, done: Tensor): SamplerState {
  const before = tuningOf(state)
  const chains = state.x.shape[0] as number
  const summed = {
    done: ops.add(before.done, ops.sum(done)),
    accepted: ops.add(before.accepted, ops.sum(ops.mul(done, acceptance))),
  }
  const due = ops.ge(summed.done, chains)
  const gathered = options.adaptScale ? welford(options, before, state.x, done) : before
  const stepped = average(options, { ...gathered, ...summed }, chains)
  const { tuning, scale } = options.adaptScale
    ? closeWindow(options, stepped, state.scale as Tensor)
    : { tuning: stepped, scale: state.scale as Tensor }
  const chosen = Object.fromEntries(
    names.map((k) => [k, ops.select(due, tuning[k], { ...gathered, ...summed }[k])]),
  ) as Tuning
  return {
    ...state,
    ...prefixed(chosen),
    stepSize: ops.select(due, ops.exp(logStep(stepped)), state.stepSize as Tensor),
    scale: ops.select(due, scale, state.scale as Tensor),
  }
}

/** One update of dual averaging with the mean acceptance gathered so far; ε = exp(μ - √t/γ·error), its running average in `average`. */
function average(options: Settings, t: Tuning, chains: number): Tuning {
  const since = ops.add(t.since, 1)
  const short = ops.sub(options.targetAcceptance, ops.div(t.accepted, ops.maximum(t.done, chains)))
  const eta = ops.reciprocal(ops.add(since, T0))
  const error = ops.add(ops.mul(t.error, ops.sub(1, eta)), ops.mul(eta, short))
  const weight = ops.pow(since, -KAPPA)
  const next = { ...t, since, error, count: ops.add(t.count, 1), done: ops.scalar(0), accepted: ops.scalar(0) }
  const kept = ops.mul(ops.sub(1, weight), t.average)
  return { ...next, average: ops.add(ops.mul(weight, logStep(next)), kept) }
}

function logStep(t: Tuning): Tensor {
  return ops.sub(t.mu, ops.mul(ops.mul(ops.sqrt(t.since), 1 / GAMMA), t.error))
}

/** Adds the rows that are done to the window's sums (Chan, Golub & LeVeque 1979). */
function welford(options: Settings, t: Tuning, x: Tensor, done: Tensor): Tuning {
  const { start } = windowEnds(options.warmup)
  const open = ops.cast(ops.logicalAnd(ops.ge(t.count, start), ops.lt(t.count, options.warmup)), 'float32')
  const weight = ops.mul(ops.mul(done, ops.cast(finiteRows(x), 'float32')), open)
  const safe = selectRows(ops.gt(weight, 0), x, ops.zerosLike(x))
  const n = ops.sum(weight)
  const mean = ops.div(ops.sum(safe, 0), ops.maximum(n, 1))
  const square = ops.sum(ops.mul(ops.square(ops.sub(safe, mean)), perRow(weight, x)), 0)
  const shift = ops.sub(mean, t.mean)
  const total = ops.add(t.n, n)
  const share = ops.div(n, ops.maximum(total, 1))
  return {
    ...t,
    n: total,
    mean: ops.add(t.mean, ops.mul(shift, share)),
    square: ops.add(t.square, ops.add(square, ops.mul(ops.square(shift), ops.mul(t.n, share)))),
  }
}

/** At the end of a window: the scales of its points, Stan's shrinkage towards small ones for few points, and a new start of both estimates. */
function closeWindow(options: Settings, t: Tuning, scale: Tensor): { tuning: Tuning; scale: Tensor } {
  const { ends } = windowEnds(options.warmup)
  const closing = ends.map((end) => ops.eq(t.count, end)).reduce((a, b) => ops.logicalOr(a, b))
  const fresh = ops.logicalAnd(closing, ops.gt(t.n, 1))
  const variance = ops.div(t.square, ops.maximum(ops.sub(t.n, 1), 1))
  const shrink = ops.reciprocal(ops.add(t.n, 5))
  const shrunk = ops.add(ops.mul(variance, ops.mul(t.n, shrink)), ops.mul(shrink, 5e-3))
  const zero = (v: Tensor) => ops.select(fresh, ops.zerosLike(v), v)
  const mu = ops.add(logStep(t), Math.log(10))
  const tuning = {
    ...t,
    since: zero(t.since),
    error: zero(t.error),
    average: zero(t.average),
    n: zero(t.n),
    mean: zero(t.mean),
    square: zero(t.square),
    mu: ops.select(fresh, mu, t.mu),
  }
  return { tuning, scale: ops.select(fresh, ops.sqrt(shrunk), scale) }
}

function prefixed(tuning: Tuning): Record<string, Tensor> {
  return Object.fromEntries(names.map((k) => [`tune/${k}`, tuning[k]]))
}

function tuningOf(state: SamplerState): Tuning {
  return Object.fromEntries(names.map((k) => [k, state[`tune/${k}`] as Tensor])) as Tuning
}
