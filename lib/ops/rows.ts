/** Batches row by row: one number an example beside examples of any shape. Composites of ops, for the library's own graphs. */
import type { Tensor } from '../graph/tensor.ts'
import { sum } from './reduce.ts'
import { reshape } from './shape.ts'

/** v [n] as [n, 1, ...], to broadcast over examples of the shape of those of `like` [.., ...shape]. */
export function perRow(v: Tensor, like: Tensor): Tensor {
  return reshape(v, [v.size, ...like.shape.slice(1).map(() => 1)])
}

/** The sum of each row: x [n, ...shape] to [n]. */
export function rowSum(x: Tensor): Tensor {
  const axes = x.shape.map((_, i) => i).slice(1)
  return axes.length === 0 ? x : sum(x, axes)
}
