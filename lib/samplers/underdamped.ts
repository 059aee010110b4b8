/** Underdamped (kinetic) Langevin: momenta that are damped and kicked. No accept step; the integrator's bias is O(stepSize²), SGHMC's O(stepSize). */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type Amount, expOf, minus, oneMinusSquare, rootOf, times } from './amount.ts'
import { checkBounds, checkChoice, checkCount, checkPositive, resolve } from './options.ts'
import { cached, checkScale, evaluateTarget, type Scale, scaleTensor } from './rows.ts'
import { type Bounds, plainInfo, type Sampler, type SamplerState } from './sampler.ts'
import { keepIn } from './sgld.ts'

/**
 * dx = s·r dt, dr = s·∇log p(x) dt - friction·r dt + √(2·friction) dW with momenta r in units of √mass and mass 1/s² (s = `scale`). Its
 * distribution is p(x)·N(r; 0, 1). Momenta stay in the state; where they are not given, they are drawn anew. Where x meets the bounds it is
 * clamped and its momentum kept.
 */
export interface UnderdampedOptions {
  readonly kind: 'underdamped'
  /** Steps in one round of a training chain; default 20. */
  readonly steps?: number
  /** dt; default 0.1. */
  readonly stepSize?: number
  /** Per unit of time; default 1. */
  readonly friction?: number
  /**
   * How a step is split (Leimkuhler & Matthews 2013) into B (kick by the score), A (drift) and O (friction and noise, solved exactly):
   * 'baoab' (default; its x is free of bias on Gaussians), 'obabo' (Bussi & Parrinello 2007), or 'sghmc' (Chen 2014: all of it in one Euler
   * step, then the drift).
   */
  readonly integrator?: 'baoab' | 'obabo' | 'sghmc'
  /** Standard deviation of each coordinate, one for all or one each; default 1. */
  readonly scale?: Scale
  /** Default null. */
  readonly bounds?: Bounds
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeUnderdamped(given: UnderdampedOptions): Sampler<Required<UnderdampedOptions>> {
  const kind = 'underdamped'
  const options = resolve(given, {
    kind,
    steps: 20,
    stepSize: 0.1,
    friction: 1,
    integrator: 'baoab',
    scale: 1,
    bounds: null,
  })
  const { steps, stepSize, friction, integrator, scale, bounds } = options
  checkCount(kind, 'steps', steps)
  checkPositive(kind, { stepSize, friction })
  checkChoice(kind, 'integrator', integrator, ['baoab', 'obabo', 'sghmc'])
  checkScale(kind, scale)
  checkBounds(kind, bounds)
  return {
    kind,
    options,
    steps,
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    controls: { stepSize },
    init: (target, x, key, stream) => ({
      x,
      momentum: ops.normal(key, x.shape, stream),
      ...evaluateTarget(target, x),
    }),
    step(target, state, key, stream) {
      const size = scaleTensor(kind, scale, state.x.shape.slice(1))
      const momentum = state.momentum ?? ops.normal(key, state.x.shape, stream + 2)
      const from = { x: state.x, momentum, ...cached(target, state) }
      const dt = state.stepSize ?? stepSize
      const half = times(dt, 1 / 2)
      const b = (r: Tensor, score: Tensor, dt: Amount) => ops.add(r, ops.mul(ops.mul(size, dt), score))
      const a = (x: Tensor, r: Tensor, dt: Amount) => keepIn(ops.add(x, ops.mul(ops.mul(size, dt), r)), bounds)
      /** The Ornstein-Uhlenbeck flow for a time dt. */
      const o = (r: Tensor, dt: Amount, at: number) => {
        const kept = expOf(times(dt, -friction))
        return ops.add(ops.mul(r, kept), ops.mul(ops.normal(key, r.shape, at), rootOf(oneMinusSquare(kept))))
      }
      let next: SamplerState
      if (integrator === 'baoab') {
        const kicked = b(from.momentum, from.score, half)
        const middle = a(from.x, kicked, half)
        const damped = o(kicked, dt, stream)
        const x = a(middle, damped, half)
        const there = evaluateTarget(target, x)
        next = { x, ...there, momentum: b(damped, there.score, half) }
      } else if (integrator === 'obabo') {
        const damped = o(from.momentum, half, stream)
        const kicked = b(damped, from.score, half)
        const x = a(from.x, kicked, dt)
        const there = evaluateTarget(target, x)
        next = { x, ...there, momentum: o(b(kicked, there.score, half), half, stream + 1) }
      } else {
        const noise = ops.mul(ops.normal(key, state.x.shape, stream), rootOf(times(dt, 2 * friction)))
        const damped = ops.mul(from.momentum, minus(1, times(dt, friction)))
        const kicked = ops.add(b(damped, from.score, dt), noise)
        const x = a(from.x, kicked, dt)
        next = { x, ...evaluateTarget(target, x), momentum: kicked }
      }
      const info = plainInfo(next.x, next.energy as Tensor)
      return { state: { ...state, ...next }, key: ops.nextKey(key), info }
    },
  }
}
