/** Small graphs that samplers share: rows of [n, ...shape] chosen, summed and scaled chain by chain; per-coordinate scales. */
import { grad } from '../autodiff/index.ts'
import { type Shape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { perRow, rowSum } from '../ops/rows.ts'
import type { Bounds, SamplerState } from './sampler.ts'
import type { Target } from './target.ts'

export { perRow, rowSum } from '../ops/rows.ts'

/** Row i of a where mask[i], else of b. */
export function selectRows(mask: Tensor, a: Tensor, b: Tensor): Tensor {
  return ops.select(perRow(mask, a), a, b)
}

/** [n]: half the squared norm of each row: the kinetic energy of unit masses, and minus the log of a standard normal. */
export function halfSquare(x: Tensor): Tensor {
  return ops.mul(rowSum(ops.square(x)), 0.5)
}

/** The scalar `value` for each of n chains. */
export function everyChain(n: number, value: number | Tensor): Tensor {
  return ops.broadcast(typeof value === 'number' ? ops.scalar(value) : value, [n])
}

/** E(x) [n] and the score -∇E(x) [n, ...]. */
export interface Evaluated {
  readonly energy: Tensor
  readonly score: Tensor
}

export function evaluateTarget(target: Target, x: Tensor): Evaluated {
  const logDensity = target.logDensity(x)
  return { energy: ops.neg(logDensity), score: scoreOf(logDensity, x) }
}

/** ∇x of each row's log density. */
export function scoreOf(logDensity: Tensor, x: Tensor): Tensor {
  return grad(ops.sum(logDensity), [x])[0] as Tensor
}

/** What the state keeps of the target at x; evaluated where the state was given without it. */
export function cached(target: Target, state: SamplerState): Evaluated {
  const { energy, score } = state
  return energy !== undefined && score !== undefined ? { energy, score } : evaluateTarget(target, state.x)
}

/** bool [n]: all of the row lies in the box. */
export function insideRows(x: Tensor, bounds: NonNullable<Bounds>): Tensor {
  const outside = ops.logicalOr(ops.lt(x, bounds[0]), ops.gt(x, bounds[1]))
  return ops.eq(rowSum(ops.cast(outside, 'float32')), 0)
}

/** Standard deviations of the coordinates as an option: one for all, or one each in row-major order. */
export type Scale = number | readonly number[]

/** `scale` as a tensor of an example's shape. */
export function scaleTensor(kind: string, scale: Scale, shape: Shape): Tensor {
  if (typeof scale === 'number') return ops.full(shape, scale)
  if (scale.length !== sizeOf(shape)) {
    throw new RangeError(
      `sampler ${kind}: scale must be one number or ${sizeOf(shape)} numbers for examples ${showShape(shape)}; got ${scale.length}`,
    )
  }
  return ops.constant(scale, shape)
}

/** Every scale finite and > 0. */
export function checkScale(kind: string, scale: Scale): void {
  const bad = (typeof scale === 'number' ? [scale] : scale).find((s) => !(Number.isFinite(s) && s > 0))
  if (bad !== undefined || (typeof scale !== 'number' && scale.length === 0))
    throw new RangeError(`sampler ${kind}: scale must hold finite numbers > 0; got ${bad ?? 'none'}`)
}
