import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { fisherDivergence } from '../../lib/evaluation/fisher.ts'
import { heldOutLogLikelihood } from '../../lib/evaluation/likelihood.ts'
import { kernelSteinDiscrepancy, type SteinOptions } from '../../lib/evaluation/stein.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import { pattern } from '../golden/pattern.ts'
import { normals } from './random.ts'

interface SteinFigures {
  readonly u: number
  readonly v: number
  readonly se: number
}
const { stein: golden } = JSON.parse(readFileSync(new URL('../golden/diagnostics.json', import.meta.url), 'utf8')) as {
  readonly stein: { readonly median: number } & Readonly<Record<string, SteinFigures>>
}

/** n draws of N(mean, std²) in d dimensions. */
function draws(n: number, d: number, seed: number, mean = 0, std = 1): HostTensor {
  const next = normals(seed)
  return hostTensor(
    Float32Array.from({ length: n * d }, () => mean + std * next()),
    [n, d],
  )
}

const standard = (d: number) => defineEnergy({ shape: [d] }, (x) => x.square().sum(-1).mul(0.5))

describe('kernel Stein discrepancy', () => {
  const cases: [string, SteinOptions][] = [
    ['imq', {}],
    ['imq_c2_b03', { kernel: 'imq', c: 2, beta: -0.3 }],
    ['rbf_median', { kernel: 'rbf' }],
    ['rbf_07', { kernel: 'rbf', c: 0.7 }],
  ]
  test.each(cases)('%s, as numpy sums it pair by pair', async (name, options) => {
    const want = golden[name] as SteinFigures
    const got = await kernelSteinDiscrepancy(pattern([40, 3], 1, 2, 0.5), pattern([40, 3], 2, 1.5), options)
    expect(got.uStatistic).toBeCloseTo(want.u, 5)
    expect(got.vStatistic).toBeCloseTo(want.v, 5)
    expect(got.standardError).toBeCloseTo(want.se, 5)
    expect(got.ksd).toBeCloseTo(Math.sqrt(want.v), 5)
    if (name === 'rbf_median') expect(got.c).toBeCloseTo(golden.median, 5)
  })

  test('ragged blocks of rows: as a double loop sums the IMQ kernel', async () => {
    // 2^21 / 1500 = 1398 rows in the first block, 102 in the second.
    const n = 1500
    const x = draws(n, 2, 1)
    let sum = 0
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        if (i === j) continue
        const [a, b, c, d] = [x.data[2 * i]!, x.data[2 * i + 1]!, x.data[2 * j]!, x.data[2 * j + 1]!]
        // The score is -x, so that (s_x - s_y)·(x - y) = -r².
        const r2 = (a - c) ** 2 + (b - d) ** 2
        const q = 1 + r2
        sum += (a * c + b * d) / Math.sqrt(q) - r2 / q ** 1.5 + 2 / q ** 1.5 - (3 * r2) / q ** 2.5
      }
    }
    const got = await kernelSteinDiscrepancy(x, standard(2), { bootstrap: 5 })
    expect(got.uStatistic).toBeCloseTo(sum / (n * (n - 1)), 6)
    expect(got.pValue).toBeGreaterThan(0)
  })

  test('zero on average at the density, and never negative as V', async () => {
    const values: number[] = []
    for (let seed = 0; seed < 30; seed++) {
      const r = await kernelSteinDiscrepancy(draws(150, 2, 100 + seed), standard(2))
      expect(r.vStatistic).toBeGreaterThan(0)
      values.push(r.uStatistic)
    }
    const mean = values.reduce((s, v) => s + v, 0) / 30
    const sd = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / 29)
    expect(Math.abs(mean)).toBeLessThan((4 * sd) / Math.sqrt(30))
    expect(values.some((v) => v < 0)).toBe(true)
  })

  test.each([
    ['shifted', 0.7, 1],
    ['too wide', 0, 1.6],
    ['too narrow', 0, 0.6],
  ])('positive off the density: %s', async (_, mean, std) => {
    const r = await kernelSteinDiscrepancy(draws(300, 2, 5, mean, std), standard(2), { bootstrap: 200 })
    expect(r.uStatistic).toBeGreaterThan(4 * r.standardError)
    expect(r.pValue).toBeLessThan(0.02)
  })

  test('p-values at the density are not small', async () => {
    const small: number[] = []
    for (let seed = 0; seed < 20; seed++) {
      const r = await kernelSteinDiscrepancy(draws(100, 2, 300 + seed), standard(2), { bootstrap: 100, seed })
      if (r.pValue! < 0.05) small.push(r.pValue!)
    }
    // Binomial(20, 0.05): more than 5 has probability 3e-4.
    expect(small.length).toBeLessThanOrEqual(5)
  })

  test('does not change when everything is far from the origin', async () => {
    const near = await kernelSteinDiscrepancy(draws(200, 2, 9), standard(2))
    const far = draws(200, 2, 9, 500)
    const score = hostTensor(far.data.map((v) => 500 - v) as Float32Array, [200, 2])
    const moved = await kernelSteinDiscrepancy(far, score)
    expect(Math.abs(moved.uStatistic - near.uStatistic)).toBeLessThan(1e-3)
  })

  test('bad input is refused', async () => {
    const x = draws(10, 2, 1)
    const run = (options: object, at: HostTensor = x, score: HostTensor = x) =>
      kernelSteinDiscrepancy(at, score, options)
    await expect(run({ kernel: 'imk' })).rejects.toThrow(/Did you mean 'imq'/)
    await expect(run({ beta: 0.5 })).rejects.toThrow(/beta must lie between -1 and 0/)
    await expect(run({ c: 0 })).rejects.toThrow(/c must be a positive number or 'median'/)
    await expect(run({ bootstrap: -1 })).rejects.toThrow(/bootstrap must be/)
    await expect(run({}, x, draws(10, 3, 1))).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(run({}, draws(1, 2, 1))).rejects.toMatchObject({ code: 'E_SHAPE' })
    const broken = hostTensor(new Float32Array(20).fill(Number.NaN), [10, 2])
    await expect(run({}, x, broken)).rejects.toMatchObject({ code: 'E_DATA' })
    const same = hostTensor(new Float32Array(20), [10, 2])
    await expect(run({ kernel: 'rbf' }, same, x)).rejects.toThrow(/median distance between points is 0/)
    await expect(run({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })
})

describe('Fisher divergence', () => {
  test('of a shifted Gaussian is half the squared shift', async () => {
    const shifted = defineEnergy({ shape: [2] }, (x) => x.sub(0.3).square().sum(-1).mul(0.5))
    const r = await fisherDivergence(shifted, draws(500, 2, 3), standard(2))
    expect(r.value).toBeCloseTo(0.5 * 2 * 0.09, 5)
    expect(r.standardError).toBeLessThan(1e-6)
    expect(r.reference).toBeCloseTo(1, 0)
  })

  test('of scores as numbers, over batches', async () => {
    const x = draws(300, 2, 4)
    const score = hostTensor(x.data.map((v) => -v / 4) as Float32Array, [300, 2])
    const r = await fisherDivergence(standard(2), x, score, { batch: 77 })
    const want = Array.from(x.data).reduce((s, v) => s + (0.5 * (0.75 * v) ** 2) / 300, 0)
    expect(r.value).toBeCloseTo(want, 5)
    expect(r.standardError).toBeGreaterThan(0.01)
  })

  test('is zero from itself, and refuses what does not fit', async () => {
    const model = mlp({ inputs: 2, hidden: [8] })
    expect((await fisherDivergence(model, draws(20, 2, 1), model)).value).toBe(0)
    await expect(fisherDivergence(model, draws(20, 2, 1), draws(19, 2, 1))).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(fisherDivergence(model, draws(1, 2, 1), model)).rejects.toThrow(/at least 2 examples/)
  })
})

describe('held-out log likelihood', () => {
  const halfLogTau = 0.5 * Math.log(2 * Math.PI)
  const x = draws(2000, 3, 8)

  test('of a Gaussian is minus its entropy, in nats and in bits', async () => {
    const r = await heldOutLogLikelihood(standard(3), x, { logZ: 3 * halfLogTau, logZStandardError: 0.1 })
    expect(Math.abs(r.mean + 3 * (halfLogTau + 0.5))).toBeLessThan(4 * r.standardError)
    expect(Math.abs(r.standardError / Math.sqrt(1.5 / 2000) - 1)).toBeLessThan(0.1)
    expect(r.totalStandardError).toBeCloseTo(Math.hypot(r.standardError, 0.1), 12)
    expect(r.bitsPerDimension).toBeCloseTo(-r.mean / (3 * Math.LN2), 12)
    expect(r.logDensity).toHaveLength(2000)
  })

  test('the Jacobian of a scaling gives the density of the data before it', async () => {
    // u = 5x: log p(u) = log p(x) - 3 log 5.
    const plain = await heldOutLogLikelihood(standard(3), x, { logZ: 3 * halfLogTau })
    const scaled = await heldOutLogLikelihood(standard(3), x, {
      logZ: 3 * halfLogTau,
      logAbsDet: -3 * Math.log(5),
    })
    expect(scaled.mean).toBeCloseTo(plain.mean - 3 * Math.log(5), 10)
    const direct = defineEnergy({ shape: [3] }, (u) => u.div(5).square().sum(-1).mul(0.5))
    const u = hostTensor(x.data.map((v) => 5 * v) as Float32Array, [2000, 3])
    const wanted = await heldOutLogLikelihood(direct, u, { logZ: 3 * (halfLogTau + Math.log(5)) })
    expect(scaled.mean).toBeCloseTo(wanted.mean, 4)
  })

  test('bad input is refused', async () => {
    await expect(heldOutLogLikelihood(standard(3), x, { logZ: Number.NaN })).rejects.toThrow(/logZ must be finite/)
    await expect(heldOutLogLikelihood(standard(3), x, { logZ: 0, logZStandardError: -1 })).rejects.toThrow(RangeError)
    await expect(heldOutLogLikelihood(standard(2), x, { logZ: 0 })).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(heldOutLogLikelihood(standard(3), draws(1, 3, 1), { logZ: 0 })).rejects.toThrow(/at least 2 examples/)
    const broken = defineEnergy({ shape: [3] }, (v) => v.sum(-1).log())
    await expect(heldOutLogLikelihood(broken, x, { logZ: 0 })).rejects.toMatchObject({ code: 'E_DATA' })
  })
})
