/**
 * The little dense linear algebra that class Gaussians need, in float64 on the JavaScript side: products by tiles, Cholesky, symmetric
 * eigenproblems by Jacobi, leading directions by orthogonal iteration. Long loops give the event loop its turn.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LangevinError } from '../graph/errors.ts'
import { HostRandom } from '../runtime/host-random.ts'

/** Multiply-adds done in one go; at about 1 ns each the event loop waits some 10 ms. */
const stride = 1e7

/** Lets other work run between pieces of a long computation, tells how far it is, and stops it on request. */
export class Pace {
  readonly #total: number
  readonly #report: ((fraction: number) => void) | undefined
  readonly #signal: AbortSignal | undefined
  #done = 0
  #since = 0

  /** `total`: multiply-adds of the whole computation; `report` gets the fraction done, in [0, 1]. */
  constructor(total: number, report?: (fraction: number) => void, signal?: AbortSignal) {
    this.#total = total
    this.#report = report
    this.#signal = signal
  }

  /** Call after every piece with its multiply-adds. @throws LangevinError E_CANCELLED once the signal is aborted. */
  async turn(work: number): Promise<void> {
    this.#since += work
    if (this.#since < stride) return
    this.#done += this.#since
    this.#since = 0
    this.#report?.(Math.min(1, this.#done / this.#total))
    await nextTurn()
    if (this.#signal?.aborted) throw new LangevinError('E_CANCELLED', 'the computation was cancelled')
  }
}

/** The least multiple of 4 that holds n: rows of panels come in fours so that tiles need no remainder. */
export function padded(n: number): number {
  return Math.ceil(n / 4) * 4
}

/**
 * c[i][j] += a[i] · b[j] for rows of `length` numbers: all pairs, or those with j <= i where `lower` (a is b; a few beyond the diagonal are
 * computed too). Row counts are multiples of 4. Tiles of 2x4 keep eight sums in registers.
 */
export async function addProducts(
  pace: Pace,
  operands: { a: Float64Array; b: Float64Array; length: number; c: Float64Array; lower?: boolean },
): Promise<void> {
  const { a, b, length, c, lower = false } = operands
  const [rowsA, rowsB] = [a.length / length, b.length / length]
  for (let start = 0; start < rowsA; ) {
    // Of a triangle, rows start..stop-1 take (stop² - start²) / 2 products.
    const reach = lower ? Math.sqrt(start * start + (2 * stride) / length) : start + stride / (rowsB * length)
    const stop = Math.min(rowsA, start + 2 * Math.max(1, Math.floor((reach - start) / 2)))
    addRows(a, b, length, c, rowsB, start, stop, lower)
    await pace.turn((stop - start) * (lower ? (start + stop) / 2 : rowsB) * length)
    start = stop
  }
}

function addRows(
  a: Float64Array,
  b: Float64Array,
  n: number,
  c: Float64Array,
  width: number,
  start: number,
  stop: number,
  lower: boolean,
): void {
  for (let i = start; i < stop; i += 2) {
    const last = lower ? i + 1 : width - 1
    const [u, v] = [i * n, (i + 1) * n]
    for (let j = 0; j <= last; j += 4) {
      let [p0, p1, p2, p3, q0, q1, q2, q3] = [0, 0, 0, 0, 0, 0, 0, 0]
      const [w, x, y, z] = [j * n, (j + 1) * n, (j + 2) * n, (j + 3) * n]
      for (let k = 0; k < n; k++) {
        const s = a[u + k] as number
        const t = a[v + k] as number
        const b0 = b[w + k] as number
        const b1 = b[x + k] as number
        const b2 = b[y + k] as number
        const b3 = b[z + k] as number
        p0 += s * b0
        p1 += s * b1
        p2 += s * b2
        p3 += s * b3
        q0 += t * b0
        q1 += t * b1
        q2 += t * b2
        q3 += t * b3
      }
      const at = i * width + j
      add4(c, at, p0, p1, p2, p3)
      add4(c, at + width, q0, q1, q2, q3)
    }
  }
}

function add4(c: Float64Array, at: number, v0: number, v1: number, v2: number, v3: number): void {
  c[at] = (c[at] as number) + v0
  c[at + 1] = (c[at + 1] as number) + v1
  c[at + 2] = (c[at + 2] as number) + v2
  c[at + 3] = (c[at + 3] as number) + v3
}

/**
 * Replaces the lower triangle of the leading d x d part of `m` (rows of `width` numbers) by its Cholesky factor L, m = L Lᵀ.
 * Returns the first row whose pivot is not positive and the pivot, or undefined if all is well.
 */
export async function cholesky(
  pace: Pace,
  m: Float64Array,
  d: number,
  width: number,
): Promise<{ row: number; pivot: number } | undefined> {
  for (let i = 0; i < d; i += 4) {
    const rows = Math.min(4, d - i)
    if (rows === 4) reduceFourRows(m, i, width)
    else for (let r = i; r < d; r++) reduceRow(m, r, 0, i, width)
    for (let r = i; r < i + rows; r++) {
      reduceRow(m, r, i, r, width)
      const at = r * width
      let pivot = m[at + r] as number
      for (let k = 0; k < r; k++) pivot -= (m[at + k] as number) ** 2
      if (!(pivot > 0)) return { row: r, pivot }
      m[at + r] = Math.sqrt(pivot)
    }
    await pace.turn(rows * (i * i * 0.5 + 3 * i))
  }
  return undefined
}

/** L[r][j] for columns start..stop-1, given those before. */
function reduceRow(m: Float64Array, r: number, start: number, stop: number, width: number): void {
  for (let j = start; j < stop; j++) {
    let sum = m[r * width + j] as number
    for (let k = 0; k < j; k++) sum -= (m[r * width + k] as number) * (m[j * width + k] as number)
    m[r * width + j] = sum / (m[j * width + j] as number)
  }
}

/** The same for rows i..i+3 and columns 0..i-1 at once: each number of row j is loaded once for four products. */
function reduceFourRows(m: Float64Array, i: number, width: number): void {
  const [a, b, c, d] = [i * width, (i + 1) * width, (i + 2) * width, (i + 3) * width]
  for (let j = 0; j < i; j++) {
    const row = j * width
    let [s0, s1, s2, s3] = [0, 0, 0, 0]
    for (let k = 0; k < j; k++) {
      const x = m[row + k] as number
      s0 += x * (m[a + k] as number)
      s1 += x * (m[b + k] as number)
      s2 += x * (m[c + k] as number)
      s3 += x * (m[d + k] as number)
    }
    const pivot = m[row + j] as number
    m[a + j] = ((m[a + j] as number) - s0) / pivot
    m[b + j] = ((m[b + j] as number) - s1) / pivot
    m[c + j] = ((m[c + j] as number) - s2) / pivot
    m[d + j] = ((m[d + j] as number) - s3) / pivot
  }
}

/** Eigenvalues, descending, and eigenvectors (one a row) of a symmetric n x n matrix, by cyclic Jacobi rotations. For small n. */
export function symmetricEigen(matrix: Float64Array, n: number): { values: Float64Array; vectors: Float64Array } {
  const m = matrix.slice()
  const v = new Float64Array(n * n)
  for (let i = 0; i < n; i++) v[i * n + i] = 1
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0
    let all = 0
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const square = (m[i * n + j] as number) ** 2
        all += square
        if (i !== j) off += square
      }
    }
    if (off <= 1e-30 * all) break
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotatePair(m, v, n, p, q)
  }
  const order = Array.from({ length: n }, (_, i) => i).sort(
    (a, b) => (m[b * n + b] as number) - (m[a * n + a] as number),
  )
  const vectors = new Float64Array(n * n)
  for (const [i, from] of order.entries()) vectors.set(v.subarray(from * n, (from + 1) * n), i * n)
  return { values: Float64Array.from(order, (i) => m[i * n + i] as number), vectors }
}

/** The rotation that makes m[p][q] zero (Golub & Van Loan, algorithm 8.5.1). */
function rotatePair(m: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const apq = m[p * n + q] as number
  if (apq === 0) return
  const tau = ((m[q * n + q] as number) - (m[p * n + p] as number)) / (2 * apq)
  const t = (tau >= 0 ? 1 : -1) / (Math.abs(tau) + Math.sqrt(1 + tau * tau))
  const c = 1 / Math.sqrt(1 + t * t)
  const s = t * c
  for (let k = 0; k < n; k++) mix(m, k * n + p, k * n + q, c, s)
  for (let k = 0; k < n; k++) mix(m, p * n + k, q * n + k, c, s)
  for (let k = 0; k < n; k++) mix(v, p * n + k, q * n + k, c, s)
}

function mix(m: Float64Array, i: number, j: number, c: number, s: number): void {
  const x = m[i] as number
  const y = m[j] as number
  m[i] = c * x - s * y
  m[j] = s * x + c * y
}

/** Modified Gram-Schmidt over rows of `d` numbers, twice for accuracy. A row that depends on those before becomes zero. */
function orthonormalize(rows: Float64Array, d: number): void {
  const n = rows.length / d
  for (let i = 0; i < n; i++) {
    const row = rows.subarray(i * d, (i + 1) * d)
    const before = Math.sqrt(dot(row, row))
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = rows.subarray(j * d, (j + 1) * d)
        const share = dot(row, other)
        for (let k = 0; k < d; k++) row[k] = (row[k] as number) - share * (other[k] as number)
      }
    }
    const norm = Math.sqrt(dot(row, row))
    const scale = norm > 1e-12 * before ? 1 / norm : 0
    for (let k = 0; k < d; k++) row[k] = (row[k] as number) * scale
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number)
  return sum
}

/** combine[i][k] rows[k] summed over k: n rows of d from `rows`. */
function combineRows(combine: Float64Array, rows: Float64Array, n: number, d: number): Float64Array {
  const out = new Float64Array(n * d)
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const share = combine[i * n + k] as number
      for (let j = 0; j < d; j++) out[i * d + j] = (out[i * d + j] as number) + share * (rows[k * d + j] as number)
    }
  }
  return out
}

/**
 * The `rank` leading eigenvalues and eigenvectors (one a row) of a symmetric positive semidefinite operator on R^d, known by
 * `apply(rows) = rows · C`. Orthogonal iteration with Rayleigh-Ritz and 8 directions to spare, from a fixed random start (Halko, Martinsson
 * & Tropp 2011, doi 10.1137/090771806); stops when no leading eigenvalue changes by more than 1e-5 of the largest, or after 12 rounds:
 * where the spectrum is flat, and directions are a matter of taste, more would only cost time.
 */
export async function leadingEigen(
  d: number,
  rank: number,
  apply: (rows: Float64Array) => Promise<Float64Array>,
): Promise<{ values: Float64Array; vectors: Float64Array }> {
  const n = Math.min(padded(d), padded(rank + 8))
  const random = new HostRandom(1)
  let basis: Float64Array = Float64Array.from({ length: n * d }, () => random.normal())
  orthonormalize(basis, d)
  let before: Float64Array = new Float64Array(rank)
  for (let round = 0; ; round++) {
    const image = await apply(basis)
    const inner = new Float64Array(n * n)
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        const value = dot(basis.subarray(i * d, (i + 1) * d), image.subarray(j * d, (j + 1) * d))
        inner[i * n + j] = value
        inner[j * n + i] = value
      }
    }
    const { values, vectors } = symmetricEigen(inner, n)
    const leading = values.slice(0, rank)
    const tolerance = 1e-5 * Math.max(0, leading[0] as number)
    if (round === 12 || leading.every((value, i) => Math.abs(value - (before[i] as number)) <= tolerance)) {
      return { values: leading, vectors: combineRows(vectors, basis, n, d).subarray(0, rank * d) }
    }
    before = leading
    basis = combineRows(vectors, image, n, d)
    orthonormalize(basis, d)
  }
}
