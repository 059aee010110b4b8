import { describe, expect, it } from 'vitest'
import { type ClassGaussians, classGaussians } from '../../lib/data/class-gaussians.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { digits } from '../../lib/data/standard.ts'
import { LangevinError } from '../../lib/graph/errors.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { errorOf } from './helpers.ts'

/** Mean and biased covariance of the rows of a class, by the definition. */
function reference(data: Dataset, label: number, rows = Infinity): { mean: number[]; cov: number[][] } {
  const d = data.dimensions
  const x = data.normalized().data
  const own = Array.from({ length: data.count }, (_, i) => i)
    .filter((i) => (data.labels?.[i] ?? 0) === label)
    .slice(0, rows)
  const column = (j: number) => own.map((i) => x[i * d + j] as number)
  const mean = Array.from({ length: d }, (_, j) => column(j).reduce((a, b) => a + b, 0) / own.length)
  const centred = mean.map((m, j) => column(j).map((v) => v - m))
  const dot = (a: number[], b: number[]) => a.reduce((s, v, i) => s + v * (b[i] as number), 0)
  return { mean, cov: centred.map((a) => centred.map((b) => dot(a, b) / own.length)) }
}

/** The covariance that a fitted Gaussian stands for. */
function modelCovariance(g: ClassGaussians, label: number): number[][] {
  const d = g.mean.shape[1] as number
  const r = g.form === 'diagonal' ? 0 : (g.factor.shape[2] as number)
  const f = (i: number, k: number) => (g.form === 'diagonal' ? 0 : (g.factor.data[(label * d + i) * r + k] as number))
  const s = (i: number) => (g.form === 'full' ? 0 : (g.scale.data[label * d + i] as number))
  const entry = (i: number, j: number) => {
    let sum = i === j ? s(i) ** 2 : 0
    for (let k = 0; k < r; k++) sum += f(i, k) * f(j, k)
    return sum
  }
  return Array.from({ length: d }, (_, i) => Array.from({ length: d }, (_, j) => entry(i, j)))
}

function largestDifference(a: number[][], b: number[][]): number {
  return Math.max(...a.flatMap((row, i) => row.map((v, j) => Math.abs(v - (b[i]?.[j] as number)))))
}

function withJitter(cov: number[][], jitter: number): number[][] {
  return cov.map((row, i) => row.map((v, j) => (i === j ? v + jitter : v)))
}

/** Rows z A + noise with d columns, of which one is constant; float32 in [-1, 1]. */
function correlated(n: number, d: number, rank: number, noise: number): Dataset {
  const random = new HostRandom(3)
  const mix = Array.from({ length: rank * d }, (_, i) => random.normal() * 0.1 * 0.8 ** Math.floor(i / d))
  const data = new Float32Array(n * d)
  for (let i = 0; i < n; i++) {
    const z = Array.from({ length: rank }, () => random.normal())
    for (let j = 0; j < d; j++) {
      const value = z.reduce((s, v, k) => s + v * (mix[k * d + j] as number), 0) + noise * random.normal()
      data[i * d + j] = j === 2 ? 0.5 : Math.max(-1, Math.min(1, value))
    }
  }
  return new Dataset({ name: 'correlated', features: hostTensor(data, [n, d]) })
}

/** Error of float32 storage: entries of at most about 1 with 24 bits, summed over some dozens of products. */
const tolerance = 2e-6

describe('classGaussians', () => {
  it('full form of the digits is the definition, class by class', async () => {
    const data = (await digits()).take(700)
    const g = await classGaussians(data)
    expect(g.form === 'full' && [g.mean.shape, g.factor.shape]).toEqual([
      [10, 64],
      [10, 64, 64],
    ])
    expect(g.counts).toEqual(data.classCounts())
    for (const label of [0, 3, 9]) {
      const { mean, cov } = reference(data, label)
      const own = Array.from(g.mean.data.subarray(label * 64, (label + 1) * 64))
      expect(largestDifference([own], [mean])).toBeLessThan(tolerance)
      expect(largestDifference(modelCovariance(g, label), withJitter(cov, 1e-4))).toBeLessThan(tolerance)
    }
    if (g.form !== 'full') throw new Error('expected the full form')
    for (let i = 0; i < 64; i++) {
      expect(g.factor.data[i * 64 + i]).toBeGreaterThan(0)
      for (let j = i + 1; j < 64; j++) expect(g.factor.data[i * 64 + j]).toBe(0)
    }
  })

  it.each([1, 5, 9, 31])('odd sizes, dense data, one class without labels: d = %i', async (d) => {
    const data = correlated(601, d, 3, 0.05)
    const { cov } = reference(data, 0)
    expect(largestDifference(modelCovariance(await classGaussians(data), 0), withJitter(cov, 1e-4))).toBeLessThan(
      tolerance,
    )
    const g = await classGaussians(data, { form: { lowRank: d } })
    expect(largestDifference(modelCovariance(g, 0), withJitter(cov, 1e-4))).toBeLessThan(1e-5)
  })

  it('sparse data (mostly black, or mostly white) gives the same as dense data', async () => {
    const random = new HostRandom(8)
    const pixels = Uint8Array.from({ length: 400 * 12 }, () => (random.uniform() < 0.8 ? 0 : random.int(256)))
    const black = new Dataset({ name: 'black', features: hostTensor(pixels, [400, 1, 3, 4]) })
    for (const data of [black, black.inverted()]) {
      const { mean, cov } = reference(data, 0)
      const g = await classGaussians(data, { jitter: 0.01 })
      expect(largestDifference([Array.from(g.mean.data)], [mean])).toBeLessThan(tolerance)
      expect(largestDifference(modelCovariance(g, 0), withJitter(cov, 0.01))).toBeLessThan(tolerance)
    }
  })

  it('diagonal form', async () => {
    const data = correlated(100, 6, 2, 0.1)
    const g = await classGaussians(data, { form: 'diagonal', jitter: 1e-3 })
    const { cov } = reference(data, 0)
    const diagonal = cov.map((row, i) => row.map((v, j) => (i === j ? v + 1e-3 : 0)))
    expect(g.form).toBe('diagonal')
    expect(largestDifference(modelCovariance(g, 0), diagonal)).toBeLessThan(tolerance)
  })

  it('low rank: exact variances, and the best factor of its rank', async () => {
    // Through the matrix (few columns, many rows) and through the data (the other way round).
    for (const [n, d] of [
      [900, 30],
      [40, 300],
    ] as const) {
      const data = correlated(n, d, 4, 0.01)
      const g = await classGaussians(data, { form: { lowRank: 4 } })
      if (g.form !== 'lowRank') throw new Error('expected the low-rank form')
      const { cov } = reference(data, 0)
      const model = modelCovariance(g, 0)
      for (let i = 0; i < d; i++)
        expect(Math.abs((model[i]?.[i] as number) - (cov[i]?.[i] as number) - 1e-4)).toBeLessThan(tolerance)
      const column = (k: number) => Array.from({ length: d }, (_, i) => g.factor.data[i * 4 + k] as number)
      const dot = (a: number[], b: number[]) => a.reduce((s, v, i) => s + v * (b[i] as number), 0)
      let before = Infinity
      for (let k = 0; k < 4; k++) {
        const f = column(k)
        const value = dot(f, f)
        // An eigenvector: C f = |f|² f, since |f|² is the eigenvalue.
        const residual = f.map((v, i) => dot(cov[i] as number[], f) - value * v)
        expect(Math.sqrt(dot(residual, residual))).toBeLessThan(2e-3 * value ** 1.5 + 1e-6)
        expect(value).toBeLessThanOrEqual(before)
        before = value
      }
      // What four directions leave is noise of variance 1e-4 (d - 4 directions of it).
      const trace = cov.reduce((s, row, i) => s + (row[i] as number), 0)
      const left = trace - [0, 1, 2, 3].reduce((s, k) => s + dot(column(k), column(k)), 0)
      expect(left).toBeLessThan(1.3e-4 * d)
    }
  })

  it('takes products from outside, block by block', async () => {
    const data = correlated(5000, 7, 2, 0.1)
    const blocks: number[] = []
    const gram = async (x: Float32Array, n: number, d: number) => {
      blocks.push(n)
      const out = new Float32Array(d * d)
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < d; j++) {
          for (let k = 0; k < d; k++)
            out[j * d + k] = (out[j * d + k] as number) + (x[i * d + j] as number) * (x[i * d + k] as number)
        }
      }
      return out
    }
    const g = await classGaussians(data, { gram })
    expect(blocks).toEqual([2048, 2048, 904])
    expect(largestDifference(modelCovariance(g, 0), withJitter(reference(data, 0).cov, 1e-4))).toBeLessThan(tolerance)
    const low = await classGaussians(data, { gram, form: { lowRank: 7 } })
    expect(largestDifference(modelCovariance(low, 0), withJitter(reference(data, 0).cov, 1e-4))).toBeLessThan(1e-5)
    await expect(classGaussians(data, { gram: async () => new Float32Array(1) })).rejects.toThrow(
      /gram must return 36 numbers/,
    )
  })

  it('fewer rows than dimensions need the jitter; without it the error says so', async () => {
    const few = (await digits()).take(60)
    const g = await classGaussians(few)
    const { cov } = reference(few, 2)
    expect(largestDifference(modelCovariance(g, 2), withJitter(cov, 1e-4))).toBeLessThan(tolerance)
    expect(await errorOf('E_DATA', classGaussians(few, { jitter: 0 }))).toMatch(
      /class 0 .*not positive definite.*Raise jitter/,
    )
  })

  it('one row: mean is the row, covariance the jitter', async () => {
    const one = new Dataset({ name: 'one', features: hostTensor(Float32Array.of(0.25, -1), [1, 2]) })
    for (const form of ['full', 'diagonal', { lowRank: 1 }] as const) {
      const g = await classGaussians(one, { form })
      expect(g.mean.data).toEqual(Float32Array.of(0.25, -1))
      expect(
        largestDifference(
          modelCovariance(g, 0),
          withJitter(
            [
              [0, 0],
              [0, 0],
            ],
            1e-4,
          ),
        ),
      ).toBeLessThan(1e-9)
    }
  })

  it('limits the rows of each class', async () => {
    const data = await digits()
    const g = await classGaussians(data, { form: 'diagonal', limit: 20 })
    expect(g.counts).toEqual(new Array(10).fill(20))
    const { mean } = reference(data, 4, 20)
    expect(largestDifference([Array.from(g.mean.data.subarray(256, 320))], [mean])).toBeLessThan(tolerance)
  })

  it('an empty class and wrong options are errors', async () => {
    const data = new Dataset({
      name: 'gap',
      features: hostTensor(new Float32Array(2), [2, 1]),
      labels: Int32Array.of(0, 2),
    })
    expect(await errorOf('E_DATA', classGaussians(data))).toMatch(/class 1 \('1'\) of data set 'gap'.*has no rows/)
    const some = correlated(5, 3, 1, 0.1)
    await expect(classGaussians(some, { jitter: -1 })).rejects.toThrow(RangeError)
    await expect(classGaussians(some, { form: { lowRank: 4 } })).rejects.toThrow(
      /lowRank must be a whole number in 1..3/,
    )
    await expect(classGaussians(some, { limit: 0 })).rejects.toThrow(RangeError)
  })

  it('lets the event loop run, reports progress, and stops on request', async () => {
    const data = correlated(3000, 200, 5, 0.1)
    const fractions: number[] = []
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await classGaussians(data, { progress: (f) => fractions.push(f) })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(1)
    expect(fractions.length).toBeGreaterThan(2)
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b))
    expect(fractions.at(-1)).toBe(1)
    const controller = new AbortController()
    const run = classGaussians(data, { signal: controller.signal, progress: () => controller.abort() })
    await expect(run).rejects.toThrow(LangevinError)
    await expect(run).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })
})
