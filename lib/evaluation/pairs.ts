/**
 * Pairs of points from two samples: the checks that every two-sample figure shares, squared distances as a graph, and the median
 * distance. The figures themselves are in mmd.ts, precision-recall.ts and nearest-neighbour.ts.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { checkFinite, checkTensor } from './checks.ts'
import { overRows, type RowRun } from './row-blocks.ts'

/** Two samples of points with as many numbers each, flattened to [n, d] and [m, d]. */
export interface TwoSamples {
  readonly x: HostTensor
  readonly y: HostTensor
  readonly n: number
  readonly m: number
  readonly dimensions: number
}

/**
 * Checks x [n, ...] and y [m, ...]: float32, at least `least` rows each, equally many numbers a row, all finite.
 * Throws LangevinError E_DTYPE, E_SHAPE, E_DATA.
 */
export function twoSamples(what: string, x: HostTensor, y: HostTensor, least = 2): TwoSamples {
  const [n, m] = [rowsOf(`${what}: x`, x, least), rowsOf(`${what}: y`, y, least)]
  const dimensions = x.data.length / n
  if (dimensions !== y.data.length / m) {
    throw new LangevinError(
      'E_SHAPE',
      `${what}: x and y must hold points of the same size; got ${showShape(x.shape)} and ${showShape(y.shape)}`,
      { x: x.shape, y: y.shape },
    )
  }
  return { x: hostTensor(x.data, [n, dimensions]), y: hostTensor(y.data, [m, dimensions]), n, m, dimensions }
}

function rowsOf(what: string, x: HostTensor, least: number): number {
  checkTensor(what, x)
  if (x.dtype !== 'float32') throw new LangevinError('E_DTYPE', `${what} must be float32; got ${x.dtype}`)
  const rows = x.shape[0] ?? 0
  if (rows < least || x.data.length === 0) {
    throw new LangevinError(
      'E_SHAPE',
      `${what} must have shape [n, ...] with n >= ${least}; got ${showShape(x.shape)}`,
      { shape: x.shape },
    )
  }
  checkFinite(what, x.data)
  return rows
}

/**
 * Both samples under each other, [n + m, d], less their common mean: distances stay as they are, and float32 then loses the least to
 * the cancellation in ‖a‖² + ‖b‖² - 2a·b.
 */
export function pooledCentred({ x, y, n, m, dimensions: d }: TwoSamples): HostTensor {
  const mean = new Float64Array(d)
  for (const { data } of [x, y]) for (let i = 0; i < data.length; i++) mean[i % d]! += data[i]! / (n + m)
  const out = new Float32Array((n + m) * d)
  for (let i = 0; i < x.data.length; i++) out[i] = x.data[i]! - mean[i % d]!
  for (let i = 0; i < y.data.length; i++) out[n * d + i] = y.data[i]! - mean[i % d]!
  return hostTensor(out, [n + m, d])
}

/** Up to this many dimensions the differences are squared one by one: exact for close points, and as fast as the product. */
const directDimensions = 16

/** ‖aᵢ - bⱼ‖² of the rows of a [p, d] and b [q, d]: [p, q], never negative. */
export function squaredDistances(a: Tensor, b: Tensor): Tensor {
  const [p = 0, d = 0] = a.shape
  const q = b.shape[0] ?? 0
  if (d <= directDimensions) {
    const columns = ops.transpose(b)
    const terms = Array.from({ length: d }, (_, j) =>
      ops.square(ops.sub(ops.sliceAxis(a, 1, j, j + 1), ops.sliceAxis(columns, 0, j, j + 1))),
    )
    return terms.reduce((sum, t) => ops.add(sum, t), ops.zeros([p, q]))
  }
  const norms = (t: Tensor) => ops.sum(ops.square(t), 1)
  const apart = ops.add(ops.reshape(norms(a), [p, 1]), ops.reshape(norms(b), [1, q]))
  return ops.maximum(ops.sub(apart, ops.mul(ops.matmul(a, b, { transposeB: true }), 2)), 0)
}

/** True at [i, j] where row number `index[i]` is j: a point met with itself. bool [block, columns]. */
export function sameRow(index: Tensor, columns: number): Tensor {
  const block = index.shape[0] ?? 0
  return ops.eq(ops.reshape(index, [block, 1]), ops.iota([1, columns], 1))
}

/** Points of which all pairs are looked at for the median. */
const medianPoints = 1000

/**
 * The median of the distances between different points of `pooled` [n, d]; of at most 1000 points drawn by `seed` where there are more.
 * `what` asked for it, for messages.
 * Throws LangevinError E_DATA where it is 0: more than half of the pairs are equal.
 */
export async function medianDistance(what: string, pooled: HostTensor, seed: number, run: RowRun): Promise<number> {
  const [rows = 0, d = 0] = pooled.shape
  const n = Math.min(rows, medianPoints)
  const chosen = n === rows ? pooled : takeRows(pooled, new HostRandom(seed).permutation(rows).subarray(0, n))
  const { squared } = await overRows(
    { ...run, tensors: { x: chosen }, rows: n, columns: n * Math.min(d, 4) },
    (i, read) => ({
      squared: squaredDistances(ops.gather(read('x'), i), read('x')),
    }),
  )
  const pairs = new Float32Array((n * (n - 1)) / 2)
  let at = 0
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) pairs[at++] = squared.data[i * n + j]!
  pairs.sort()
  const middle = pairs.length >> 1
  const upper = Math.sqrt(pairs[middle] ?? 0)
  const median = pairs.length % 2 === 1 ? upper : (upper + Math.sqrt(pairs[middle - 1] ?? 0)) / 2
  if (median > 0) return median
  throw new LangevinError(
    'E_DATA',
    `${what}: the median distance between points is 0, as most of them are equal; give a number`,
  )
}

/** Rows of x [n, d] by number, copied. */
export function takeRows(x: HostTensor, rows: ArrayLike<number>): HostTensor {
  const each = x.data.length / (x.shape[0] ?? 1)
  const out = new Float32Array(rows.length * each)
  for (let i = 0; i < rows.length; i++) {
    const from = (rows[i] ?? 0) * each
    out.set(x.data.subarray(from, from + each) as Float32Array, i * each)
  }
  return hostTensor(out, [rows.length, ...x.shape.slice(1)])
}
