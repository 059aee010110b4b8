/**
 * The Frechet distance between two sets of vectors, each seen as a Gaussian (Dowson & Landau 1982; Heusel 2017 on Inception features):
 * d² = ‖μ₁ - μ₂‖² + tr Σ₁ + tr Σ₂ - 2 tr (Σ₁Σ₂)^½. It says nothing about anything but mean and covariance.
 *
 * With a factor Σ₁ = LL' the trace is the sum of the square roots of the eigenvalues of L'Σ₂L, which is symmetric and shares its
 * non-zero eigenvalues with Σ₁Σ₂ and with Σ₁^½Σ₂Σ₁^½. A pivoted Cholesky factor serves, so no eigenvectors are needed
 * and covariances without full rank (fewer samples than dimensions) only make the problem smaller.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { asRows, checkFinite, type Numbers } from './checks.ts'
import { semidefiniteFactor, symmetricEigenvalues } from './eigenvalues.ts'

/** Mean [d] and unbiased covariance [d, d] (divisor n - 1) of n vectors, in float64. */
export interface Moments {
  readonly count: number
  readonly dimensions: number
  readonly mean: Float64Array
  readonly covariance: Float64Array
}

/**
 * Mean and covariance of x [n, ...], n >= 2, trailing dimensions flattened.
 * Throws LangevinError E_SHAPE (n < 2), E_DATA (NaN or infinite values, with counts). O(n·d²), runs on the calling thread.
 */
export function momentsOf(x: HostTensor): Moments {
  const { data, rows, columns } = asRows('momentsOf: x', x)
  if (rows < 2) {
    throw new LangevinError('E_SHAPE', `a covariance needs at least 2 vectors; got ${showShape(x.shape)}`, {
      shape: x.shape,
    })
  }
  checkFinite('momentsOf: x', data)
  const mean = new Float64Array(columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) mean[j]! += data[i * columns + j]!
  for (let j = 0; j < columns; j++) mean[j]! /= rows
  return { count: rows, dimensions: columns, mean, covariance: covarianceOf(data, rows, mean) }
}

/**
 * The squared Frechet distance, the figure that is called FID when the vectors are Inception features. Units: those of
 * the vectors, squared.
 *
 * **Biased upwards with few samples**, by an amount that depends on the model: even two draws of one distribution differ by about
 * d·(1/n₁ + 1/n₂) times the mean variance and more when n < d. Compare only figures with equal counts, and prefer n well above d.
 * Up to about 800 dimensions take seconds, 2048 a minute or so, on the calling thread.
 */
export function frechetDistance(a: Moments, b: Moments): number {
  if (a.dimensions !== b.dimensions) {
    throw new LangevinError(
      'E_SHAPE',
      `Frechet distance: both sets must have vectors of one length; got ${a.dimensions} and ${b.dimensions}`,
      { dimensions: [a.dimensions, b.dimensions] },
    )
  }
  const d = a.dimensions
  let distance = 0
  for (let i = 0; i < d; i++) {
    const shift = a.mean[i]! - b.mean[i]!
    distance += shift * shift + a.covariance[i * d + i]! + b.covariance[i * d + i]!
  }
  // The set with fewer samples has the smaller factor.
  const trace = a.count <= b.count ? traceOfRoot(a, b) : traceOfRoot(b, a)
  // Rounding may leave a distance of 0 just below it.
  return Math.max(0, distance - 2 * trace)
}

/** {@link frechetDistance} of two sets of vectors [n, ...] and [m, ...]; n, m >= 2. */
export function frechetBetween(x: HostTensor, y: HostTensor): number {
  return frechetDistance(momentsOf(x), momentsOf(y))
}

function traceOfRoot(a: Moments, b: Moments): number {
  const { rank, factor } = semidefiniteFactor(a.covariance, a.dimensions)
  const inner = congruence(factor, rank, b.covariance, b.dimensions)
  const eigenvalues = symmetricEigenvalues(inner, rank)
  // Eigenvalues that are rounding would add their square root, 1e-8 for 1e-16: what is below the matrix's own rounding counts as 0.
  const cut = rank * Number.EPSILON * (eigenvalues[rank - 1] ?? 0)
  return eigenvalues.reduce((sum, e) => (e > cut ? sum + Math.sqrt(e) : sum), 0)
}

/** Rows per block: their products are summed in registers before the covariance is touched. */
const block = 4

/** Σ (x_i - μ)(x_i - μ)' / (n - 1), lower triangle first, then mirrored. */
function covarianceOf(data: Numbers, rows: number, mean: Float64Array): Float64Array {
  const d = mean.length
  const out = new Float64Array(d * d)
  const centred = new Float64Array(block * d)
  for (let start = 0; start < rows; start += block) {
    for (let r = 0; r < block; r++) {
      const row = start + r
      for (let j = 0; j < d; j++) centred[r * d + j] = row < rows ? data[row * d + j]! - mean[j]! : 0
    }
    addOuterProducts(out, centred, d)
  }
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) out[j * d + i] = out[i * d + j]! /= rows - 1
  }
  return out
}

function addOuterProducts(out: Float64Array, x: Float64Array, d: number): void {
  for (let i = 0; i < d; i++) {
    const a = x[i]!
    const b = x[d + i]!
    const c = x[2 * d + i]!
    const e = x[3 * d + i]!
    const row = i * d
    for (let j = 0; j <= i; j++) {
      out[row + j]! += a * x[j]! + b * x[d + j]! + c * x[2 * d + j]! + e * x[3 * d + j]!
    }
  }
}

/** L'CL, of size rank x rank, for L flat [d, rank] and C symmetric [d, d]. */
function congruence(l: Float64Array, rank: number, c: Float64Array, d: number): Float64Array {
  const out = new Float64Array(rank * rank)
  const cl = new Float64Array(rank)
  for (let i = 0; i < d; i++) {
    cl.fill(0)
    for (let k = 0; k < d; k++) {
      const cik = c[i * d + k]!
      if (cik === 0) continue
      const row = k * rank
      for (let j = 0; j < rank; j++) cl[j]! += cik * l[row + j]!
    }
    for (let p = 0; p < rank; p++) {
      const lip = l[i * rank + p]!
      if (lip === 0) continue
      const row = p * rank
      for (let j = 0; j <= p; j++) out[row + j]! += lip * cl[j]!
    }
  }
  return out
}
