/**
 * SGLD, proximal SGLD and PYLD as graphs of one step (sampler.ts says what that is). Running chains is chains.ts's part.
 */
import { grad, vjp } from '../autodiff/index.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type Bounds, plainInfo, type Sampler } from './sampler.ts'

interface StepSettings {
  /** Coefficient of the score. */
  readonly stepSize?: number
  /** Standard deviation of the noise added at each step; 'langevin' is √(2·stepSize), for which the chain targets p(x) itself. */
  readonly noise?: number | 'langevin'
  /** The gradient is clamped to [-gradientClamp, gradientClamp]; null for none. */
  readonly gradientClamp?: number | null
  readonly bounds?: Bounds
}

/** x ← clamp(x + stepSize·∇x log p(x) + noise·ε). JEM's values are the defaults: 20 steps of size 1, noise 0.01, no clamps (Grathwohl 2020). */
export interface SgldOptions extends StepSettings {
  readonly kind: 'sgld'
  /** Steps between a draw from the buffer and its return; default 20. */
  readonly steps?: number
}

/** SGLD with the gradient clamped to [-1, 1] and x kept in [-1, 1] (JEM++'s proximal SGLD, Yang & Ji 2021); 10 steps, no noise by default. */
export interface ProximalSgldOptions extends StepSettings {
  readonly kind: 'proximalSgld'
  readonly steps?: number
}

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

export type SamplerOptions = SgldOptions | ProximalSgldOptions | PyldOptions

/** The sampler that the options describe; unknown kinds and impossible values are refused here. */
export function makeSampler(options: SamplerOptions): Sampler<SamplerOptions> {
  switch (options.kind) {
    case 'sgld':
      return sgld({ steps: 20, stepSize: 1, noise: 0.01, gradientClamp: null, bounds: null, ...defined(options) })
    case 'proximalSgld':
      return sgld({ steps: 10, stepSize: 1, noise: 0, gradientClamp: 1, bounds: [-1, 1], ...defined(options) })
    case 'pyld':
      return pyld({
        outer: 10,
        inner: 5,
        stepSize: 0.2,
        gradientClamp: 1,
        noise: 0,
        bounds: [-1, 1],
        firstStage: 1,
        fuse: true,
        ...defined(options),
      })
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError(
        'E_CONFIG',
        `sampler '${kind}' is not known.${suggestion(kind, ['sgld', 'proximalSgld', 'pyld'])}`,
      )
    }
  }
}

function sgld(options: Required<SgldOptions> | Required<ProximalSgldOptions>): Sampler<SamplerOptions> {
  const { steps, stepSize, gradientClamp, bounds } = options
  const noise = options.noise === 'langevin' ? Math.sqrt(2 * stepSize) : options.noise
  checkCount(options.kind, 'steps', steps)
  checkSettings(options.kind, { stepSize, noise, gradientClamp }, bounds)
  return {
    kind: options.kind,
    options,
    steps,
    bounds,
    firstStage: 1,
    init: (_, x) => ({ x }),
    step(target, { x }, key, stream) {
      const logDensity = target.logDensity(x)
      const [score] = grad(ops.sum(logDensity), [x])
      let next = ops.add(x, ops.mul(clampGradient(score as Tensor, gradientClamp), stepSize))
      if (noise > 0) next = ops.add(next, ops.mul(ops.normal(key, x.shape, stream), noise))
      next = keepIn(next, bounds)
      return { state: { x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(logDensity)) }
    },
  }
}

function pyld(options: Required<PyldOptions>): Sampler<SamplerOptions> {
  const { outer, inner, stepSize, gradientClamp, noise, bounds, firstStage, fuse } = options
  checkCount('pyld', 'outer', outer)
  checkCount('pyld', 'inner', inner)
  checkSettings('pyld', { stepSize, noise, gradientClamp }, bounds)
  return {
    kind: 'pyld',
    options,
    steps: outer,
    bounds,
    firstStage,
    init: (_, x) => ({ x }),
    step(target, { x }, key, stream) {
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
      const size = fused ? inner * stepSize : stepSize
      let next = x
      for (let i = 0; i < rounds; i++) {
        const out = i === 0 ? h : split.first(next)
        const [g] = vjp([out], [frozen], [next])
        next = ops.add(next, ops.mul(clampGradient(g as Tensor, gradientClamp), size))
        if (noise > 0) next = ops.add(next, ops.mul(ops.normal(key, x.shape, stream + i), noise))
        next = keepIn(next, bounds)
      }
      return { state: { x: next }, key: ops.nextKey(key), info: plainInfo(next, ops.neg(logDensity)) }
    },
  }
}

function clampGradient(g: Tensor, limit: number | null): Tensor {
  return limit === null ? g : ops.clamp(g, -limit, limit)
}

function keepIn(x: Tensor, bounds: Bounds): Tensor {
  return bounds === null ? x : ops.clamp(x, bounds[0], bounds[1])
}

function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as T
}

function checkCount(kind: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`sampler ${kind}: ${name} must be a positive integer; got ${value}`)
}

function checkSettings(kind: string, values: Record<string, number | null>, bounds: Bounds): void {
  for (const [name, v] of Object.entries(values)) {
    if (v !== null && (!Number.isFinite(v) || v < 0))
      throw new RangeError(`sampler ${kind}: ${name} must be a finite number ≥ 0; got ${v}`)
  }
  if (bounds !== null && !(bounds[0] < bounds[1])) {
    throw new RangeError(
      `sampler ${kind}: bounds must be [low, high] with low < high; got [${bounds[0]}, ${bounds[1]}]`,
    )
  }
}
