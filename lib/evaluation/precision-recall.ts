/**
 * Whether samples are like the data (precision, density) and whether all of the data is met (recall, coverage), by balls that reach
 * from each point to its k-th nearest neighbour: Kynkäänniemi et al. 2019 and Naeem et al. 2020. In feature space for images.
 */

import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { DeviceOption } from '../runtime/devices.ts'
import { checkCount } from './checks.ts'
import { pooledCentred, sameRow, squaredDistances, twoSamples } from './pairs.ts'
import { overRows, type RowRun, rowRun } from './row-blocks.ts'
import { sliceRows } from './rows.ts'

export interface PrecisionRecallOptions extends DeviceOption {
  /** Neighbours that make a ball: 1..50, less than the points of either set. Default 3 (Kynkäänniemi); Naeem's figures use 5. */
  readonly k?: number
  /** Stops between blocks with the signal's reason. */
  readonly signal?: AbortSignal
}

export interface PrecisionRecall {
  /** Share of generated points within the ball of any real one. */
  readonly precision: number
  /** Share of real points within the ball of any generated one. */
  readonly recall: number
  /** Real balls that a generated point lies in, over k, on average: near 1 for equal distributions, may exceed it. */
  readonly density: number
  /** Share of real points whose own ball holds a generated point. */
  readonly coverage: number
  readonly k: number
}

/**
 * Precision, recall, density and coverage of `generated` [m, ...] against `real` [n, ...] (float32, flattened). Balls are closed.
 * Recall is unkind to small samples and precision to outliers among the real; compare only figures of equal counts. O((n + m)² d), native.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA; RangeError for k.
 */
export async function precisionRecall(
  real: HostTensor,
  generated: HostTensor,
  options: PrecisionRecallOptions = {},
): Promise<PrecisionRecall> {
  const { k = 3 } = options
  const run = rowRun(options)
  const both = twoSamples('precisionRecall', real, generated)
  const { n, m } = both
  checkCount('precisionRecall: k', k, 1)
  if (k >= Math.min(n, m) || k > 50) {
    throw new RangeError(
      `precisionRecall: k must be at most 50 and less than the points of either set, ${n} and ${m}; got ${k}`,
    )
  }
  const pooled = pooledCentred(both)
  const [x, y] = [sliceRows(pooled, 0, n), sliceRows(pooled, n, n + m)]
  const [ofX, ofY] = [await ballRadii(x, k, run), await ballRadii(y, k, run)]
  const generatedIn = await ballsAround(y, x, ofX, run)
  const realIn = await ballsAround(x, y, ofY, run)
  const share = (values: ArrayLike<number>, holds: (v: number, i: number) => boolean) =>
    Array.from(values).filter(holds).length / values.length
  return {
    precision: share(generatedIn.count.data, (c) => c > 0),
    recall: share(realIn.count.data, (c) => c > 0),
    density: (generatedIn.count.data as Float32Array).reduce((s, c) => s + c, 0) / (k * m),
    coverage: share(realIn.nearest.data, (d, i) => d <= (ofX.data[i] ?? 0)),
    k,
  }
}

/** The squared distance of each point of x [n, d] to its k-th nearest other point: [n]. */
async function ballRadii(x: HostTensor, k: number, run: RowRun): Promise<HostTensor> {
  const n = x.shape[0] ?? 0
  const { radius } = await overRows({ ...run, tensors: { x }, rows: n, columns: n }, (index, read) => {
    const others = ops.select(sameRow(index, n), Infinity, squaredDistances(ops.gather(read('x'), index), read('x')))
    return { radius: kthSmallest(others, k) }
  })
  return radius
}

/** The k-th smallest of each row of d [p, q], equal ones counted apart: the smallest, one at a time, makes room for the next. */
function kthSmallest(d: Tensor, k: number): Tensor {
  let left = d
  for (let i = 1; i < k; i++) left = ops.select(sameRow(ops.argmax(ops.neg(left)), d.shape[1] ?? 0), Infinity, left)
  return ops.min(left, 1)
}

/** For each point of a [p, d]: how many balls around points of b [q, d] hold it, and the squared distance to the nearest of b. */
function ballsAround(a: HostTensor, b: HostTensor, radii: HostTensor, run: RowRun) {
  const [rows = 0, columns = 0] = [a.shape[0], b.shape[0]]
  const tensors = { a, b, radii: hostTensor(radii.data, [1, columns]) }
  return overRows({ ...run, tensors, rows, columns }, (index, read) => {
    const squared = squaredDistances(ops.gather(read('a'), index), read('b'))
    const held = ops.cast(ops.le(squared, read('radii')), 'float32')
    return { count: ops.sum(held, 1), nearest: ops.min(squared, 1) }
  })
}
