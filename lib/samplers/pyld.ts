/** PYLD (JEM++): inner steps that differentiate the first stage of the network only, under a frozen gradient of the rest. */
import { grad, vjp } from '../autodiff/index.ts'
import { LangevinError } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { times } from './amount.ts'
import { checkBounds, checkCount, checkNonNegative, resolve } from './options.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'
import { clampGradient, keepIn } from './sgld.ts'

/**
 * Proximal YOPO-SGLD (Yang & Ji 2021). `outer` full passes give p = ∂log p/∂h at the first stage's output h = f₀(x); with p frozen,
 * `inner` steps x ← clamp(x + α·clamp(∇x⟨f₀(x), p⟩, ±ε)). Where f₀ is affine and there is no noise, the inner gradient does not change,
 * so the inner loop is exactly one step of size inner·α and is run as such.
 */
export interface PyldOptions {
  readonly kind: 'pyld'
  /** M; default 10. */
  readonly outer?: number
  /** N; default 5. */
  readonly inner?: number
  /** α; default 0.2. */
  readonly stepSize?: number
  /** ε; default 1. */
  readonly gradientClamp?: number | null
  /** Noise inside each inner step; default 0. */
  readonly noise?: number
  /** Default [-1, 1]. */
  readonly bounds?: Bounds
  /** Leading network stages that make f₀; default 1. */
  readonly firstStage?: number
  /** Forces the true inner loop even where the fused form is exact; for tests. */
  readonly fuse?: boolean
}

/** @throws RangeError, LangevinError E_CONFIG for impossible options; E_CONFIG at the first step of a target without stages. */
export function makePyld(given: PyldOptions): Sampler<Required<PyldOptions>> {
  const options = resolve(given, {
    kind: 'pyld',
    outer: 10,
    inner: 5,
    stepSize: 0.2,
    gradientClamp: 1,
    noise: 0,
    bounds: [-1, 1],
    firstStage: 1,
    fuse: true,
  })
  const { outer, inner, stepSize, gradientClamp, noise, bounds, firstStage, fuse } = options
  checkCount('pyld', 'outer', outer)
  checkCount('pyld', 'inner', inner)
  checkNonNegative('pyld', { stepSize, noise, gradientClamp })
  checkBounds('pyld', bounds)
  return {
    kind: 'pyld',
    options,
    steps: outer,
    bounds,
    firstStage,
    gradientsPerStep: 1,
    stateless: true,
    controls: { stepSize, ...(noise > 0 && { noise }) },
    init: (_, x) => ({ x }),
    step(target, state, key, stream) {
      const { x } = state
      const split = target.split
      if (split === undefined) {
        throw new LangevinError(
          'E_CONFIG',
          'sampler pyld needs a network with stages to split; use sgld or proximalSgld for a plain energy',
        )
      }
      const h = split.first(x)
      const logDensity = split.rest(h)
      const [p] = grad(ops.sum(logDensity), [h])
      const frozen = ops.stopGradient(p as Tensor)
      const fused = fuse && split.affine && noise === 0
      const rounds = fused ? 1 : inner
      const size = times(state.stepSize ?? stepSize, fused ? inner : 1)
      let next = x
      for (let i = 0; i < rounds; i++) {
        const out = i === 0 ? h : split.first(next)
        const [g] = vjp([out], [frozen], [next])
        next = ops.add(next, ops.mul(clampGradient(g as Tensor, gradientClamp), size))
        if (noise > 0) next = ops.add(next, ops.mul(ops.normal(key, x.shape, stream + i), state.noise ?? noise))
        next = keepIn(next, bounds)
      }
      return { state: { ...state, x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(logDensity)) }
    },
  }
}
