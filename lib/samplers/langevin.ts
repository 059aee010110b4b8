/** Unadjusted Langevin: plain, with fixed scales, and with RMSprop's scales (pSGLD). No accept step, so a bias of order stepSize. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { times } from './amount.ts'
import { checkBetween, checkBounds, checkChoice, checkCount, checkPositive, resolve } from './options.ts'
import { checkScale, evaluateTarget, type Scale, scaleTensor } from './rows.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'
import { keepIn, langevinNoise } from './sgld.ts'

/**
 * x ← x + stepSize·∇x log p(x) + √(2·stepSize)·ε (Parisi 1981; Roberts & Tweedie 1996): sgld with `noise: 'langevin'` is the same chain. On
 * N(0, s²) its stationary variance is s²/(1 - stepSize/(2s²)); `mala` is its exact form. Defaults: step size 0.01, 20 steps, no bounds (x is clamped to them).
 */
export interface UlaOptions {
  readonly kind: 'ula'
  readonly steps?: number
  readonly stepSize?: number
  readonly bounds?: Bounds
}

/**
 * x ← x + h·G·∇x log p(x) + √(2h·G)·ε with a diagonal G. `fixed`: G = scale², which leaves the target the same for h → 0. `rmsprop` (pSGLD, Li 2016):
 * G = 1/(epsilon + √V) with V ← decay·V + (1 - decay)·(∇log p)², for each chain; as there, the term with ∂G/∂x is left out, a bias of its own that
 * shrinks as decay → 1. V starts at the square of the first gradient. Our h is half of the paper's.
 */
export interface PreconditionedLangevinOptions {
  readonly kind: 'preconditionedLangevin'
  /** Default 20. */
  readonly steps?: number
  /** h; default 0.01. */
  readonly stepSize?: number
  /** Default 'rmsprop'. */
  readonly preconditioner?: 'fixed' | 'rmsprop'
  /** Standard deviation of each coordinate, for 'fixed'; default 1. */
  readonly scale?: Scale
  /** Default 0.99. */
  readonly decay?: number
  /** Default 1e-5. */
  readonly epsilon?: number
  /** x is clamped to them; default null. */
  readonly bounds?: Bounds
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeUla(given: UlaOptions): Sampler<Required<UlaOptions>> {
  const options = resolve(given, { kind: 'ula', steps: 20, stepSize: 0.01, bounds: null })
  const { steps, stepSize, bounds } = options
  checkCount('ula', 'steps', steps)
  checkPositive('ula', { stepSize })
  checkBounds('ula', bounds)
  return {
    kind: 'ula',
    options,
    steps,
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    stateless: true,
    controls: { stepSize },
    init: (_, x) => ({ x }),
    step(target, state, key, stream) {
      const size = state.stepSize ?? stepSize
      const { energy, score } = evaluateTarget(target, state.x)
      const noise = ops.mul(ops.normal(key, state.x.shape, stream), langevinNoise(size))
      const x = keepIn(ops.add(ops.add(state.x, ops.mul(score, size)), noise), bounds)
      return { state: { ...state, x }, key: ops.nextKey(key), info: plainInfo(x, energy) }
    },
  }
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makePreconditionedLangevin(
  given: PreconditionedLangevinOptions,
): Sampler<Required<PreconditionedLangevinOptions>> {
  const kind = 'preconditionedLangevin'
  const options = resolve(given, {
    kind,
    steps: 20,
    stepSize: 0.01,
    preconditioner: 'rmsprop',
    scale: 1,
    decay: 0.99,
    epsilon: 1e-5,
    bounds: null,
  })
  const { steps, stepSize, preconditioner, scale, decay, epsilon, bounds } = options
  checkCount(kind, 'steps', steps)
  checkPositive(kind, { stepSize, epsilon })
  checkChoice(kind, 'preconditioner', preconditioner, ['fixed', 'rmsprop'])
  checkScale(kind, scale)
  checkBetween(kind, 'decay', decay, 0, 1, true)
  checkBounds(kind, bounds)
  const square = (target: Parameters<Sampler['init']>[0], x: Tensor) => ops.square(evaluateTarget(target, x).score)
  return {
    kind,
    options,
    steps,
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    ...(preconditioner === 'fixed' && { stateless: true }),
    controls: { stepSize },
    init: (target, x) => (preconditioner === 'fixed' ? { x } : { x, squares: square(target, x) }),
    step(target, state, key, stream) {
      const size = state.stepSize ?? stepSize
      const { energy, score } = evaluateTarget(target, state.x)
      let g: Tensor
      let squares: Record<string, Tensor> = {}
      if (preconditioner === 'fixed') {
        g = ops.square(scaleTensor(kind, scale, state.x.shape.slice(1)))
      } else {
        const now = ops.square(score)
        const v = ops.add(ops.mul(state.squares ?? now, decay), ops.mul(now, 1 - decay))
        squares = { squares: v }
        g = ops.reciprocal(ops.add(ops.sqrt(v), epsilon))
      }
      const drift = ops.mul(ops.mul(score, g), size)
      const noise = ops.mul(ops.normal(key, state.x.shape, stream), ops.sqrt(ops.mul(g, times(size, 2))))
      const x = keepIn(ops.add(ops.add(state.x, drift), noise), bounds)
      return { state: { ...state, ...squares, x }, key: ops.nextKey(key), info: plainInfo(x, energy) }
    },
  }
}
