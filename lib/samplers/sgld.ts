/** SGLD and proximal SGLD: a step up the score and noise whose size is a setting of its own, as JEM and its kin train with. Without an accept step. */
import { grad } from '../autodiff/index.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type Amount, rootOf, times } from './amount.ts'
import { checkBounds, checkCount, checkNonNegative, resolve } from './options.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'

interface StepSettings {
  /** Graph steps in one round of a training chain. */
  readonly steps?: number
  /** Coefficient of the score. */
  readonly stepSize?: number
  /** Standard deviation of the noise added at each step; 'langevin' is √(2·stepSize), for which the chain targets p(x) itself (then it is `ula`). */
  readonly noise?: number | 'langevin'
  /** The gradient is clamped to [-gradientClamp, gradientClamp]; null for none. */
  readonly gradientClamp?: number | null
  readonly bounds?: Bounds
}

/** x ← clamp(x + stepSize·∇x log p(x) + noise·ε). JEM's values are the defaults: 20 steps of size 1, noise 0.01, no clamps (Grathwohl 2020). */
export interface SgldOptions extends StepSettings {
  readonly kind: 'sgld'
}

/** SGLD with the gradient clamped to [-1, 1] and x kept in [-1, 1] (JEM++'s proximal SGLD, Yang & Ji 2021); 10 steps, no noise by default. */
export interface ProximalSgldOptions extends StepSettings {
  readonly kind: 'proximalSgld'
}

type Settings = Required<SgldOptions> | Required<ProximalSgldOptions>

/** @throws RangeError, LangevinError E_CONFIG for impossible options. */
export function makeSgld(given: SgldOptions | ProximalSgldOptions): Sampler<Settings> {
  const options: Settings =
    given.kind === 'sgld'
      ? resolve(given, { kind: 'sgld', steps: 20, stepSize: 1, noise: 0.01, gradientClamp: null, bounds: null })
      : resolve(given, {
          kind: 'proximalSgld',
          steps: 10,
          stepSize: 1,
          noise: 0,
          gradientClamp: 1,
          bounds: [-1, 1],
        })
  const { steps, stepSize, gradientClamp, bounds } = options
  const ownNoise = options.noise === 'langevin' ? undefined : options.noise
  checkCount(options.kind, 'steps', steps)
  checkNonNegative(options.kind, { stepSize, noise: ownNoise ?? 0, gradientClamp })
  checkBounds(options.kind, bounds)
  return {
    kind: options.kind,
    options,
    steps,
    bounds,
    firstStage: 1,
    gradientsPerStep: 1,
    stateless: true,
    controls: { stepSize, ...(ownNoise !== undefined && ownNoise > 0 && { noise: ownNoise }) },
    init: (_, x) => ({ x }),
    step(target, state, key, stream) {
      const { x } = state
      const size = state.stepSize ?? stepSize
      const noise = ownNoise === undefined ? langevinNoise(size) : (state.noise ?? ownNoise)
      const logDensity = target.logDensity(x)
      const [score] = grad(ops.sum(logDensity), [x])
      let next = ops.add(x, ops.mul(clampGradient(score as Tensor, gradientClamp), size))
      if (noise !== 0) next = ops.add(next, ops.mul(ops.normal(key, x.shape, stream), noise))
      next = keepIn(next, bounds)
      return { state: { ...state, x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(logDensity)) }
    },
  }
}

/** √(2h): the noise for which steps of size h up the score target the density itself. */
export function langevinNoise(stepSize: Amount): Amount {
  return rootOf(times(stepSize, 2))
}

/** The gradient within ±limit. */
export function clampGradient(g: Tensor, limit: number | null): Tensor {
  return limit === null ? g : ops.clamp(g, -limit, limit)
}

/** x moved into the box: not what a Metropolis sampler may do. */
export function keepIn(x: Tensor, bounds: Bounds): Tensor {
  return bounds === null ? x : ops.clamp(x, bounds[0], bounds[1])
}
