/**
 * Linear algebra of symmetric float64 matrices, as much as the Frechet distance needs: eigenvalues and a semi-definite Cholesky factor.
 * No eigenvectors, no general matrices. Matrices are flat, row-major.
 *
 * Eigenvalues come from Householder's tridiagonal form and bisection on Sturm counts (Golub & Van Loan, ch. 8): it cannot fail to
 * converge, and each value is right to a few units of rounding of the largest.
 */

/** Eigenvalues of the symmetric n x n matrix `a`, ascending. Only the lower triangle is read; `a` is not changed. O(4/3 n³). */
export function symmetricEigenvalues(a: Float64Array, n: number): Float64Array {
  if (a.length !== n * n)
    throw new RangeError(`symmetricEigenvalues: ${n} x ${n} needs ${n * n} entries; got ${a.length}`)
  const { diagonal, off } = tridiagonalize(a.slice(), n)
  return bisect(diagonal, off)
}

/**
 * Householder reflections from the last row up: afterwards Q'AQ has `diagonal` and, between i-1 and i, `off[i]`.
 * A reflection H = I - βvv' turns A into A - vw' - wv' with p = βAv and w = p - ½β(p'v)v. Rows are walked, never columns.
 */
function tridiagonalize(a: Float64Array, n: number): { diagonal: Float64Array; off: Float64Array } {
  const diagonal = new Float64Array(n)
  const off = new Float64Array(n)
  const w = new Float64Array(n)
  for (let i = n - 1; i > 0; i--) {
    diagonal[i] = a[i * n + i]!
    const v = a.subarray(i * n, i * n + i)
    let scale = 0
    for (let k = 0; k < i; k++) scale = Math.max(scale, Math.abs(v[k]!))
    if (scale === 0) continue
    let square = 0
    for (let k = 0; k < i; k++) {
      v[k]! /= scale
      square += v[k]! * v[k]!
    }
    const last = v[i - 1]!
    const norm = last > 0 ? -Math.sqrt(square) : Math.sqrt(square)
    off[i] = norm * scale
    v[i - 1] = last - norm
    // v'v/2 = square - norm·last, so β = 1 / that.
    const beta = 1 / (square - norm * last)
    reflect(a, n, i, v, w, beta)
  }
  diagonal[0] = a[0] ?? 0
  return { diagonal, off }
}

/** A <- HAH on the leading m x m block's lower triangle; `w` is scratch. */
function reflect(a: Float64Array, n: number, m: number, v: Float64Array, w: Float64Array, beta: number): void {
  w.fill(0, 0, m)
  for (let i = 0; i < m; i++) {
    const row = i * n
    const vi = v[i]!
    let sum = 0
    for (let j = 0; j < i; j++) {
      const aij = a[row + j]!
      sum += aij * v[j]!
      w[j]! += aij * vi
    }
    w[i]! += sum + a[row + i]! * vi
  }
  let dot = 0
  for (let i = 0; i < m; i++) {
    w[i]! *= beta
    dot += w[i]! * v[i]!
  }
  const half = (beta / 2) * dot
  for (let i = 0; i < m; i++) w[i]! -= half * v[i]!
  for (let i = 0; i < m; i++) {
    const row = i * n
    const vi = v[i]!
    const wi = w[i]!
    for (let j = 0; j <= i; j++) a[row + j]! -= vi * w[j]! + wi * v[j]!
  }
}

/** All eigenvalues of a tridiagonal matrix by bisection, each within rounding of the matrix norm. */
function bisect(diagonal: Float64Array, off: Float64Array): Float64Array {
  const n = diagonal.length
  let low = Infinity
  let high = -Infinity
  for (let i = 0; i < n; i++) {
    // Gershgorin's discs hold the spectrum.
    const radius = Math.abs(off[i]!) + (i + 1 < n ? Math.abs(off[i + 1]!) : 0)
    low = Math.min(low, diagonal[i]! - radius)
    high = Math.max(high, diagonal[i]! + radius)
  }
  const norm = Math.max(Math.abs(low), Math.abs(high))
  const tolerance = 2 * Number.EPSILON * norm
  const tiny = Number.EPSILON * Number.EPSILON * norm || Number.MIN_VALUE
  const squares = off.map((e) => e * e)
  const out = new Float64Array(n)
  const stack = n === 0 ? [] : [{ low: low - tolerance, high: high + tolerance, below: 0, through: n }]
  // An interval that holds the eigenvalues below..through-1 is halved until it is narrow, then they all get its middle.
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    const middle = at.low + (at.high - at.low) / 2
    if (at.high - at.low <= tolerance || middle === at.low || middle === at.high) {
      out.fill(middle, at.below, at.through)
      continue
    }
    const count = Math.min(at.through, Math.max(at.below, sturmCount(diagonal, squares, middle, tiny)))
    if (count > at.below) stack.push({ low: at.low, high: middle, below: at.below, through: count })
    if (count < at.through) stack.push({ low: middle, high: at.high, below: count, through: at.through })
  }
  return out
}

/** Number of eigenvalues below x: negative pivots of the LDL' factorisation of T - xI. */
function sturmCount(diagonal: Float64Array, squares: Float64Array, x: number, tiny: number): number {
  let count = 0
  let pivot = 1
  for (let i = 0; i < diagonal.length; i++) {
    pivot = diagonal[i]! - x - squares[i]! / pivot
    if (Math.abs(pivot) < tiny) pivot = -tiny
    if (pivot < 0) count++
  }
  return count
}

/** A factor of a semi-definite matrix: A ≈ LL', L flat [n, rank]. */
export interface SemidefiniteFactor {
  readonly rank: number
  readonly factor: Float64Array
}

/**
 * Cholesky factor of a symmetric positive semi-definite matrix with diagonal pivoting, cut at the rank where what is left is rounding
 * (largest remaining diagonal below n·ε of the largest at the start). Row i of `factor` belongs to row i of `a`. O(n·rank²).
 */
export function semidefiniteFactor(a: Float64Array, n: number): SemidefiniteFactor {
  if (a.length !== n * n)
    throw new RangeError(`semidefiniteFactor: ${n} x ${n} needs ${n * n} entries; got ${a.length}`)
  const l = new Float64Array(n * n)
  const left = Float64Array.from({ length: n }, (_, i) => a[i * n + i]!)
  const cut = n * Number.EPSILON * left.reduce((m, d) => Math.max(m, d), 0)
  const open = Array.from({ length: n }, (_, i) => i)
  let rank = 0
  for (; open.length > 0; rank++) {
    let best = 0
    for (let k = 1; k < open.length; k++) if (left[open[k]!]! > left[open[best]!]!) best = k
    const p = open[best]!
    if (!(left[p]! > cut)) break
    open[best] = open[open.length - 1]!
    open.pop()
    const pivot = Math.sqrt(left[p]!)
    const rowP = l.subarray(p * n, p * n + rank)
    l[p * n + rank] = pivot
    for (const i of open) {
      const row = i * n
      let sum = a[i * n + p]!
      for (let k = 0; k < rank; k++) sum -= l[row + k]! * rowP[k]!
      const value = sum / pivot
      l[row + rank] = value
      left[i]! -= value * value
    }
  }
  const factor = new Float64Array(n * rank)
  for (let i = 0; i < n; i++) factor.set(l.subarray(i * n, i * n + rank), i * rank)
  return { rank, factor }
}
