/**
 * The maximum mean discrepancy between two samples (Gretton et al. 2012, "A kernel two-sample test"): the unbiased estimate of MMD²,
 * its standard error, and a permutation test. All kernel matrices are computed natively, block by block. KID is in kid.ts.
 */

import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { DeviceOption } from '../runtime/devices.ts'
import { HostRandom } from '../runtime/host-random.ts'
import { checkCount } from './checks.ts'
import { medianDistance, pooledCentred, sameRow, squaredDistances, type TwoSamples, twoSamples } from './pairs.ts'
import { overRows, type RowRun, rowRun } from './row-blocks.ts'

interface DistanceKernel {
  /** `rbf` (default): exp(-‖x - y‖² / 2σ²). `imq`: (1 + ‖x - y‖² / σ²)^-½, whose heavy tails see far modes. */
  readonly kernel?: 'rbf' | 'imq'
  /**
   * σ, in units of x: a number, several (the kernel is then their mean), or `median` (default), the median distance between the points
   * of both samples (at most 1000 of them).
   */
  readonly bandwidth?: 'median' | number | readonly number[]
}

/** (x·y · scale + offset)^degree; not characteristic: it compares moments up to `degree`. */
export interface PolynomialKernel {
  readonly kernel: 'polynomial'
  /** Default 3. */
  readonly degree?: number
  /** Default 1/d. */
  readonly scale?: number
  /** Default 1. */
  readonly offset?: number
}

/** Kernel and test. */
export type MmdOptions = (DistanceKernel | PolynomialKernel) &
  DeviceOption & {
    /** Random relabellings for the p-value; 0 for none. Default 200. */
    readonly permutations?: number
    /** Default 0. */
    readonly seed?: number
    /** Stops between blocks with the signal's reason. */
    readonly signal?: AbortSignal
  }

export interface MmdResult {
  /** The unbiased estimate of MMD². Its mean is 0 for equal distributions, so it may be negative. */
  readonly squared: number
  /**
   * Standard error of `squared` to first order, 2·√(Var h(x)/n + Var h(y)/m) with h the witness function. Meant for different
   * distributions: for equal ones the estimate is degenerate and the permutation test is what to trust.
   */
  readonly standardError: number
  /** (1 + relabellings with an estimate at least as large) / (1 + permutations); absent without permutations. */
  readonly pValue?: number
  /** The σ of the kernel; empty for the polynomial one. */
  readonly bandwidths: readonly number[]
}

/**
 * MMD² between x [n, ...] and y [m, ...] (float32, n, m >= 2; trailing dimensions flattened). O((n + m)² (d + permutations)), native.
 * Throws LangevinError E_SHAPE, E_DTYPE, E_DATA (values, or a median of 0), E_CONFIG (an unknown kernel); RangeError for an option.
 * @example (await mmd(data, samples)).pValue
 */
export async function mmd(x: HostTensor, y: HostTensor, options: MmdOptions = {}): Promise<MmdResult> {
  const both = twoSamples('mmd', x, y)
  const { permutations = 200, seed = 0 } = options
  const run = rowRun(options)
  checkCount('mmd: permutations', permutations, 0)
  const { pooled, kernel, bandwidths } = await prepare(both, options, seed, run)
  const sums = await rowSums(both, pooled, kernel, run)
  const { squared, standardError } = estimate(both, sums)
  if (permutations === 0) return { squared, standardError, bandwidths }
  const pValue = await permutationTest(both, pooled, kernel, sums, new HostRandom(seed), permutations, run)
  return { squared, standardError, pValue, bandwidths }
}

/** Kernel values [p, q] of the rows of a [p, d] and b [q, d]. */
export type Kernel = (a: Tensor, b: Tensor) => Tensor

async function prepare(both: TwoSamples, options: MmdOptions, seed: number, run: RowRun) {
  switch (options.kernel) {
    case 'polynomial': {
      if ('bandwidth' in options) {
        throw new LangevinError('E_CONFIG', "mmd: the polynomial kernel has no bandwidth; use 'scale', or kernel 'rbf'")
      }
      const data = new Float32Array((both.n + both.m) * both.dimensions)
      data.set(both.x.data as Float32Array)
      data.set(both.y.data as Float32Array, both.x.data.length)
      const pooled = hostTensor(data, [both.n + both.m, both.dimensions])
      return { pooled, kernel: polynomialKernel('mmd', options, both.dimensions), bandwidths: [] }
    }
    case undefined:
    case 'rbf':
    case 'imq': {
      const pooled = pooledCentred(both)
      const { bandwidth = 'median' } = options
      const bandwidths =
        bandwidth === 'median'
          ? [await medianDistance("mmd: bandwidth 'median'", pooled, seed, run)]
          : checkBandwidths(bandwidth)
      return { pooled, kernel: distanceKernel(options.kernel ?? 'rbf', bandwidths), bandwidths }
    }
    default: {
      const kind = String((options as { kernel: unknown }).kernel)
      throw new LangevinError(
        'E_CONFIG',
        `mmd: kernel '${kind}' is not known.${suggestion(kind, ['rbf', 'imq', 'polynomial'])}`,
      )
    }
  }
}

function checkBandwidths(bandwidth: 'median' | number | readonly number[]): readonly number[] {
  const list = typeof bandwidth === 'object' ? bandwidth : [bandwidth]
  if (list.length > 0 && list.every((s): s is number => typeof s === 'number' && s > 0 && Number.isFinite(s)))
    return list
  throw new RangeError(
    `mmd: bandwidth must be 'median', a positive number or a list of such; got ${JSON.stringify(bandwidth)}`,
  )
}

/** The mean of one kernel per bandwidth, so k(x, x) = 1. */
function distanceKernel(kind: 'rbf' | 'imq', bandwidths: readonly number[]): Kernel {
  return (a, b) => {
    const squared = squaredDistances(a, b)
    const values = bandwidths.map((s) =>
      kind === 'rbf' ? ops.exp(ops.mul(squared, -0.5 / s ** 2)) : ops.rsqrt(ops.add(ops.mul(squared, 1 / s ** 2), 1)),
    )
    return ops.mul(
      values.reduce((sum, v) => ops.add(sum, v)),
      1 / values.length,
    )
  }
}

/** The kernel of {@link PolynomialKernel}; a whole power is multiplied out, so that negative bases are right. */
export function polynomialKernel(what: string, options: Omit<PolynomialKernel, 'kernel'>, dimensions: number): Kernel {
  const { degree = 3, scale = 1 / dimensions, offset = 1 } = options
  if (!Number.isInteger(degree) || degree < 1 || degree > 10) {
    throw new RangeError(`${what}: degree must be an integer in 1..10; got ${degree}`)
  }
  if (!(scale > 0 && Number.isFinite(scale))) throw new RangeError(`${what}: scale must be positive; got ${scale}`)
  if (!(offset >= 0 && Number.isFinite(offset))) throw new RangeError(`${what}: offset must be >= 0; got ${offset}`)
  return (a, b) => {
    const base = ops.add(ops.mul(ops.matmul(a, b, { transposeB: true }), scale), offset)
    return Array.from({ length: degree - 1 }).reduce<Tensor>((power) => ops.mul(power, base), base)
  }
}

/** Sums of each row of the kernel matrix of the pooled points, its diagonal left out: over the columns of x and of y. */
interface RowSums {
  readonly overX: ArrayLike<number>
  readonly overY: ArrayLike<number>
}

async function rowSums({ n, m }: TwoSamples, pooled: HostTensor, kernel: Kernel, run: RowRun): Promise<RowSums> {
  const total = n + m
  const work = { ...run, tensors: { z: pooled }, rows: total, columns: total }
  const { overX, overY } = await overRows(work, (index, read) => {
    const k = ops.select(sameRow(index, total), 0, kernel(ops.gather(read('z'), index), read('z')))
    const ofX = ops.lt(ops.iota([1, total], 1), n)
    return { overX: ops.sum(ops.select(ofX, k, 0), 1), overY: ops.sum(ops.select(ofX, 0, k), 1) }
  })
  return { overX: overX.data, overY: overY.data }
}

function estimate({ n, m }: TwoSamples, { overX, overY }: RowSums): { squared: number; standardError: number } {
  // The witness at each point, without the point itself: E k(·, x) - E k(·, y), with the sign that makes it large on its own side.
  const ofX = Float64Array.from({ length: n }, (_, i) => overX[i]! / (n - 1) - overY[i]! / m)
  const ofY = Float64Array.from({ length: m }, (_, j) => overY[n + j]! / (m - 1) - overX[n + j]! / n)
  const [a, b] = [meanAndVariance(ofX), meanAndVariance(ofY)]
  return { squared: a.mean + b.mean, standardError: 2 * Math.sqrt(a.variance / n + b.variance / m) }
}

/** Mean and unbiased variance. */
export function meanAndVariance(values: Float64Array): { mean: number; variance: number } {
  const mean = values.reduce((s, v) => s + v, 0) / values.length
  const squares = values.reduce((s, v) => s + (v - mean) ** 2, 0)
  return { mean, variance: values.length > 1 ? squares / (values.length - 1) : 0 }
}

/**
 * Relabels the pooled points. With a the indicator of the points called x, q = a'Ka, t = a'K1 and S = 1'K1 give every sum that MMD²
 * needs, so all relabellings together are one product K·A a block. A constant taken from K off the diagonal leaves MMD² as it is;
 * without its mean the sums stay small and float32 suffices. Column 0 holds the true labels, so that both sides are rounded alike.
 */
async function permutationTest(
  { n, m }: TwoSamples,
  pooled: HostTensor,
  kernel: Kernel,
  { overX, overY }: RowSums,
  random: HostRandom,
  permutations: number,
  run: RowRun,
): Promise<number> {
  const total = n + m
  const columns = permutations + 1
  const row = Float64Array.from({ length: total }, (_, i) => overX[i]! + overY[i]!)
  const shift = row.reduce((s, v) => s + v, 0) / (total * (total - 1))
  const labels = new Float32Array(total * columns)
  const t = new Float64Array(columns)
  for (let p = 0; p < columns; p++) {
    const order = p === 0 ? undefined : random.permutation(total)
    for (let i = 0; i < n; i++) {
      const point = order?.[i] ?? i
      labels[point * columns + p] = 1
      t[p]! += row[point]! - shift * (total - 1)
    }
  }
  const work = {
    ...run,
    tensors: { z: pooled, labels: hostTensor(labels, [total, columns]) },
    rows: total,
    columns: Math.max(total, columns),
  }
  const { inside } = await overRows(work, (index, read) => {
    const k = ops.sub(kernel(ops.gather(read('z'), index), read('z')), shift)
    const products = ops.matmul(ops.select(sameRow(index, total), 0, k), read('labels'))
    return { inside: ops.mul(products, ops.gather(read('labels'), index)) }
  })
  const q = new Float64Array(columns)
  for (let i = 0; i < inside.data.length; i++) q[i % columns]! += inside.data[i]!
  // S is 0 after the shift.
  const value = Float64Array.from(
    q,
    (v, p) => v / (n * (n - 1)) + (v - 2 * t[p]!) / (m * (m - 1)) - (2 * (t[p]! - v)) / (n * m),
  )
  const atLeast = value.subarray(1).reduce((count, v) => count + (v >= value[0]! ? 1 : 0), 0)
  return (1 + atLeast) / columns
}
