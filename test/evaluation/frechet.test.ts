import { describe, expect, it } from 'vitest'
import { semidefiniteFactor, symmetricEigenvalues } from '../../lib/evaluation/eigenvalues.ts'
import { frechetBetween, frechetDistance, type Moments, momentsOf } from '../../lib/evaluation/frechet.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { floats, normals } from './random.ts'

const gaussian = (mean: number[], covariance: number[]): Moments => ({
  count: 1000,
  dimensions: mean.length,
  mean: Float64Array.from(mean),
  covariance: Float64Array.from(covariance),
})

/** A random symmetric matrix, and G'G of an r x n one. */
function symmetric(n: number, seed: number): Float64Array {
  const next = normals(seed)
  const a = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = next()
  return a
}
function gram(n: number, r: number, seed: number): Float64Array {
  const g = Float64Array.from({ length: r * n }, normals(seed))
  const a = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) for (let k = 0; k < r; k++) a[i * n + j]! += g[k * n + i]! * g[k * n + j]!
  return a
}

describe('symmetricEigenvalues', () => {
  it('knows the second-difference matrix: 2 - 2 cos(πk/(n+1))', () => {
    const n = 31
    const a = new Float64Array(n * n)
    for (let i = 0; i < n; i++) {
      a[i * n + i] = 2
      if (i > 0) a[i * n + i - 1] = a[(i - 1) * n + i] = -1
    }
    const e = symmetricEigenvalues(a, n)
    for (let k = 0; k < n; k++) expect(e[k]).toBeCloseTo(2 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)), 12)
  })

  it('keeps trace and sum of squares, ascends, and reads the lower triangle', () => {
    for (const n of [1, 2, 3, 17, 64]) {
      const a = symmetric(n, n)
      const e = symmetricEigenvalues(a, n)
      let trace = 0
      for (let i = 0; i < n; i++) trace += a[i * n + i]!
      expect(e.reduce((s, v) => s + v, 0)).toBeCloseTo(trace, 9)
      expect(e.reduce((s, v) => s + v * v, 0)).toBeCloseTo(
        a.reduce((s, v) => s + v * v, 0),
        8,
      )
      expect([...e]).toEqual([...e].sort((x, y) => x - y))
      const lower = a.map((v, at) => (at % n > Math.floor(at / n) ? Number.NaN : v))
      expect([...symmetricEigenvalues(lower, n)]).toEqual([...e])
    }
  })

  it('takes zeros, equal values and wide ranges', () => {
    expect([...symmetricEigenvalues(new Float64Array(9), 3)]).toEqual([0, 0, 0])
    expect([...symmetricEigenvalues(new Float64Array(0), 0)]).toEqual([])
    const a = Float64Array.from([1e-12, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1e12])
    const e = symmetricEigenvalues(a, 4)
    expect(e[3]! / 1e12).toBeCloseTo(1, 12)
    expect(Math.abs(e[1]! - 1)).toBeLessThan(1e-2)
  })
})

describe('semidefiniteFactor', () => {
  it('gives A back, with the rank of A', () => {
    for (const [n, r] of [
      [1, 1],
      [5, 5],
      [12, 4],
      [30, 29],
    ] as const) {
      const a = gram(n, r, 10 * n + r)
      const { rank, factor } = semidefiniteFactor(a, n)
      expect(rank).toBe(r)
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          let v = 0
          for (let k = 0; k < rank; k++) v += factor[i * rank + k]! * factor[j * rank + k]!
          expect(v).toBeCloseTo(a[i * n + j]!, 9)
        }
      }
    }
    expect(semidefiniteFactor(new Float64Array(4), 2).rank).toBe(0)
  })
})

describe('Frechet distance', () => {
  it('has its closed form for diagonal covariances: Σ (Δμ)² + (σ - τ)²', () => {
    const a = gaussian([1, 2, 3], [4, 0, 0, 0, 9, 0, 0, 0, 0])
    const b = gaussian([0, 2, 5], [1, 0, 0, 0, 16, 0, 0, 0, 25])
    expect(frechetDistance(a, b)).toBeCloseTo(1 + 4 + 1 + 1 + 25, 10)
  })

  it('has its closed form in two dimensions: tr √(AB) = √(tr AB + 2 √det AB)', () => {
    const A = [2, 0.7, 0.7, 1]
    const B = [1, -0.4, -0.4, 3]
    const traceAB = 2 * 1 + 0.7 * -0.4 * 2 + 1 * 3
    const detAB = (2 - 0.49) * (3 - 0.16)
    const expected = 3 + 4 - 2 * Math.sqrt(traceAB + 2 * Math.sqrt(detAB))
    expect(frechetDistance(gaussian([0, 0], A), gaussian([0, 0], B))).toBeCloseTo(expected, 10)
  })

  it('of two samples nears the closed form as they grow', () => {
    const next = normals(4)
    const n = 40_000
    const x = floats(n * 2, next)
    const y = Float32Array.from({ length: n * 2 }, (_, i) => (i % 2 === 0 ? 1 + 2 * next() : -0.5 * next()))
    // (1² + 0²) + (1 - 2)² + (1 - ½)²
    expect(Math.abs(frechetBetween(hostTensor(x, [n, 2]), hostTensor(y, [n, 2])) - 2.25)).toBeLessThan(0.08)
  })

  it('is zero to itself, symmetric, and unmoved by a common shift, sign or order', () => {
    const next = normals(8)
    const x = floats(50 * 6, next)
    const y = floats(40 * 6, () => 2 * next() + 0.25)
    const dist = (a: Float32Array, b: Float32Array) =>
      frechetBetween(hostTensor(a, [a.length / 6, 6]), hostTensor(b, [b.length / 6, 2, 3]))
    const d = dist(x, y)
    expect(d).toBeGreaterThan(1)
    expect(dist(x, x)).toBeLessThan(1e-9)
    expect(dist(y, x)).toBeCloseTo(d, 8)
    expect(
      dist(
        x.map((v) => v + 8),
        y.map((v) => v + 8),
      ),
    ).toBeCloseTo(d, 4)
    expect(
      dist(
        x.map((v) => -3 * v),
        y.map((v) => -3 * v),
      ),
    ).toBeCloseTo(9 * d, 3)
    expect(dist(x.slice().reverse(), y.slice().reverse())).toBeCloseTo(d, 8)
  })

  it('takes fewer samples than dimensions, against the trace by a small eigenproblem', () => {
    const next = normals(12)
    const [n, m, d] = [5, 7, 24]
    const x = floats(n * d, next)
    const y = floats(m * d, () => next() * 1.5 + 0.5)
    const a = momentsOf(hostTensor(x, [n, d]))
    const b = momentsOf(hostTensor(y, [m, d]))
    // Σ√λ(AB) is the nuclear norm of X Y' of the centred, scaled rows: here from the n x n matrix (XY')(XY')'.
    const c = (v: Float32Array, rows: number, mom: Moments) =>
      Float64Array.from(v, (e, i) => (e - mom.mean[i % d]!) / Math.sqrt(rows - 1))
    const [cx, cy] = [c(x, n, a), c(y, m, b)]
    const k = Array.from({ length: n * m }, (_, at) => {
      let s = 0
      for (let j = 0; j < d; j++) s += cx[Math.floor(at / m) * d + j]! * cy[(at % m) * d + j]!
      return s
    })
    const kk = Float64Array.from({ length: n * n }, (_, at) => {
      let s = 0
      for (let j = 0; j < m; j++) s += k[Math.floor(at / n) * m + j]! * k[(at % n) * m + j]!
      return s
    })
    const trace = symmetricEigenvalues(kk, n).reduce((s, e) => s + Math.sqrt(Math.max(0, e)), 0)
    let expected = -2 * trace
    for (let j = 0; j < d; j++) {
      expected += (a.mean[j]! - b.mean[j]!) ** 2 + a.covariance[j * d + j]! + b.covariance[j * d + j]!
    }
    expect(frechetDistance(a, b)).toBeCloseTo(expected, 5)
    expect(frechetDistance(b, a)).toBeCloseTo(expected, 5)
  })

  it('computes unbiased moments', () => {
    const m = momentsOf(hostTensor(Float32Array.from([1, 2, 3, 6, 5, 4]), [3, 2]))
    expect([...m.mean]).toEqual([3, 4])
    expect([...m.covariance]).toEqual([4, 2, 2, 4])
  })

  it('takes 784 dimensions in seconds', () => {
    const next = normals(13)
    const x = hostTensor(floats(1000 * 784, next), [1000, 784])
    const y = hostTensor(floats(900 * 784, next), [900, 784])
    const before = process.cpuUsage()
    const d = frechetBetween(x, y)
    const { user, system } = process.cpuUsage(before)
    expect(d).toBeGreaterThan(100) // the documented bias with n near d
    // Processor seconds, which do not depend on what else the machine is doing: about 2 when this was written.
    expect((user + system) / 1e6).toBeLessThan(15)
  }, 180_000)

  it('says what is wrong', () => {
    expect(() => momentsOf(hostTensor(new Float32Array(3), [1, 3]))).toThrow(/at least 2 vectors; got \[1,3\]/)
    expect(() => momentsOf(hostTensor(Float32Array.from([1, NaN]), [2, 1]))).toThrow(/1 are NaN/)
    expect(() => frechetDistance(gaussian([0], [1]), gaussian([0, 0], [1, 0, 0, 1]))).toThrow(/one length; got 1 and 2/)
  })
})
