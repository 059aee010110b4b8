/** Gaussian and mixture fits: numpy's numbers, EM's monotone likelihood, a known mixture found again, blocks of rows, images, refusals. */

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { fitGaussian } from '../../lib/data/gaussian-fit.ts'
import { fitGaussianMixture } from '../../lib/data/gaussian-mixture.ts'
import { digits } from '../../lib/data/standard.ts'
import { toy, toyDensity } from '../../lib/data/toys.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { gaussianMixture, inlineParameters } from '../../lib/samplers/distributions.ts'
import { testDevice } from '../device.ts'
import { pattern, relativeError } from '../golden/pattern.ts'
import { errorOf } from './helpers.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/distributions.json', import.meta.url), 'utf8')) as {
  data: number[][]
  fits: {
    jitter: number
    mean: number[]
    factor: number[][]
    startFactor: number[][]
    startMeans: number[][]
    history: number[]
    weights: number[]
    means: number[][]
    covariances: number[][][]
  }
}

const points = (rows: number[][]): Dataset =>
  new Dataset({
    name: 'points',
    features: hostTensor(Float32Array.from(rows.flat()), [rows.length, rows[0]?.length ?? 0]),
    range: null,
  })

/** factor factorᵀ of each [d, d] block. */
function covariances(factors: HostTensor): number[] {
  const d = factors.shape.at(-1) as number
  const out: number[] = []
  for (let at = 0; at < factors.data.length; at += d * d) {
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        let sum = 0
        for (let q = 0; q < d; q++)
          sum += (factors.data[at + i * d + q] as number) * (factors.data[at + j * d + q] as number)
        out.push(sum)
      }
    }
  }
  return out
}

describe('fitGaussian', () => {
  it("is numpy's mean and Cholesky factor, labels or not", async () => {
    const { jitter, mean, factor } = golden.fits
    const data = points(golden.data)
    const labelled = new Dataset({
      name: 'x',
      features: data.features,
      range: null,
      labels: Int32Array.from(golden.data, (_, i) => i % 2),
    })
    for (const set of [data, labelled]) {
      const fit = await fitGaussian(set, { jitter })
      expect([fit.mean.shape, fit.factor.shape]).toEqual([[2], [2, 2]])
      expect(relativeError(fit.mean.data, mean)).toBeLessThan(2e-7)
      expect(relativeError(fit.factor.data, factor.flat())).toBeLessThan(2e-7)
    }
  })

  it('works in model units, with products made natively for long rows', async () => {
    const [n, d] = [700, 260]
    const raw = Uint8Array.from(pattern([n, d], 3, 127, 128).data)
    const data = new Dataset({ name: 'bytes', features: hostTensor(raw, [n, 1, 10, 26]) })
    const { mean, factor } = await fitGaussian(data, { jitter: 1e-3 })
    expect(mean.shape).toEqual([1, 10, 26])
    const x = data.normalized().data
    const column = (j: number): number[] => Array.from({ length: n }, (_, i) => x[i * d + j] as number)
    const average = (v: number[]): number => v.reduce((a, b) => a + b) / n
    const got = covariances(factor)
    for (const [i, j] of [
      [0, 0],
      [5, 5],
      [259, 3],
      [100, 200],
    ] as const) {
      const [a, b] = [column(i), column(j)]
      const [ma, mb] = [average(a), average(b)]
      expect(mean.data[i]).toBeCloseTo(ma, 6)
      const want = average(a.map((v, r) => (v - ma) * ((b[r] as number) - mb))) + (i === j ? 1e-3 : 0)
      expect(got[i * d + j]).toBeCloseTo(want, 5)
    }
  })

  it('is definite by default, and says what to do where it is not', async () => {
    const line = points([
      [1, 10, 5],
      [2, 20, 5],
      [3, 30, 5],
    ])
    const { factor } = await fitGaussian(line)
    for (const i of [0, 1, 2]) expect(factor.data[4 * i]).toBeGreaterThan(0)
    expect(await errorOf('E_DATA', fitGaussian(line, { jitter: 0 }))).toMatch(/not positive definite.*Raise jitter/)
  })
})

describe('fitGaussianMixture', () => {
  it('takes the same twelve steps as numpy from the same start', async () => {
    const { startMeans, startFactor, history, jitter, weights, means, covariances: want } = golden.fits
    const start = {
      weights: hostTensor(Float32Array.of(1, 1, 1), [3]),
      means: hostTensor(Float32Array.from(startMeans.flat()), [3, 2]),
      factors: hostTensor(Float32Array.from([startFactor, startFactor, startFactor].flat(2)), [3, 2, 2]),
    }
    const fit = await fitGaussianMixture(points(golden.data), {
      components: 3,
      iterations: 12,
      tolerance: 0,
      jitter,
      start,
    })
    expect(fit.logLikelihood.length).toBe(13)
    expect(relativeError(fit.logLikelihood.slice(0, 12), history)).toBeLessThan(2e-6)
    expect(relativeError(fit.weights.data, weights)).toBeLessThan(1e-5)
    expect(relativeError(fit.means.data, means.flat())).toBeLessThan(1e-5)
    expect(relativeError(covariances(fit.factors), want.flat(2))).toBeLessThan(2e-5)
    expect(fit.converged).toBe(false)
  })

  it('finds eight Gaussians again, its likelihood rising all the way', async () => {
    const data = toy('gaussians8', { count: 4000, seed: 2 })
    const fit = await fitGaussianMixture(data, { components: 8, seed: 1 })
    expect(fit.converged).toBe(true)
    const steps = fit.logLikelihood.slice(1).map((l, i) => l - (fit.logLikelihood[i] as number))
    expect(Math.min(...steps)).toBeGreaterThan(-1e-5)
    const found = Array.from({ length: 8 }, (_, c) => Array.from(fit.means.data.subarray(2 * c, 2 * c + 2)))
    for (let i = 0; i < 8; i++) {
      const [x, y] = [2 * Math.cos((Math.PI * i) / 4), 2 * Math.sin((Math.PI * i) / 4)]
      const near = found.findIndex(([a, b]) => Math.hypot((a as number) - x, (b as number) - y) < 0.06)
      expect(near).toBeGreaterThanOrEqual(0)
      expect(fit.weights.data[near]).toBeCloseTo(1 / 8, 1)
      const [a, b, , c] = covariances(fit.factors).slice(4 * near, 4 * near + 4) as [number, number, number, number]
      // Some 500 rows each: five standard errors of a variance.
      const tolerance = 5 * 0.0625 * Math.sqrt(2 / 500)
      for (const [got, want] of [
        [a, 0.0625],
        [b, 0],
        [c, 0.0625],
      ] as const) {
        expect(Math.abs(got - want)).toBeLessThan(tolerance)
      }
    }
    // The likelihood is that of the parameters, and near the truth's own: -E log p ± the fit's gain of about (47 parameters) / 2n.
    const x = data.normalized()
    const given = ops.input('x', x.shape)
    const mixture = gaussianMixture(fit.weights, fit.means, fit.factors)
    const [own, truth] = [
      mixture.logDensity(inlineParameters(mixture), given),
      toyDensity('gaussians8').logDensity(given),
    ]
    const plan = await compileGraph(testDevice, [given], [{ tensor: own.mean() }, { tensor: truth.mean() }])
    const [a, b] = (await plan.call([x])).map((t) => t.data[0] as number) as [number, number]
    plan.dispose()
    expect(a).toBeCloseTo(fit.logLikelihood.at(-1) as number, 4)
    expect(a - b).toBeGreaterThan(-0.002)
    expect(a - b).toBeLessThan(0.02)
  })

  it('is the same in blocks of rows, and for the same seed', async () => {
    const small = toy('spirals', { count: 9001, seed: 1 })
    const start = await fitGaussianMixture(small, { components: 5, iterations: 0, seed: 4 })
    const again = await fitGaussianMixture(small, { components: 5, iterations: 0, seed: 4 })
    expect(again).toEqual(start)
    expect((await fitGaussianMixture(small, { components: 5, iterations: 0, seed: 5 })).means).not.toEqual(start.means)
    // 9001 rows are two blocks, the second mostly padding; by density on their own they must come out the same.
    const x = small.normalized()
    const given = ops.input('x', x.shape)
    const mixture = gaussianMixture(start.weights, start.means, start.factors)
    const plan = await compileGraph(
      testDevice,
      [given],
      [{ tensor: mixture.logDensity(inlineParameters(mixture), given).mean() }],
    )
    const [mean] = await plan.call([x])
    plan.dispose()
    expect(start.logLikelihood[0]).toBeCloseTo(mean?.data[0] as number, 4)
    // One component is the Gaussian: mean and covariance after one step.
    const one = await fitGaussianMixture(small, { components: 1, iterations: 1, tolerance: 0, jitter: 1e-3 })
    const gaussian = await fitGaussian(small, { jitter: 1e-3 })
    expect(relativeError(one.means.data, Array.from(gaussian.mean.data))).toBeLessThan(1e-4)
    expect(relativeError(one.factors.data, Array.from(gaussian.factor.data))).toBeLessThan(1e-5)
  })

  it('fits images in their shape', async () => {
    const data = await digits()
    const seen: number[] = []
    const fit = await fitGaussianMixture(data, {
      components: 4,
      iterations: 5,
      tolerance: 0,
      progress: (i) => seen.push(i),
    })
    expect([fit.means.shape, fit.factors.shape]).toEqual([
      [4, 1, 8, 8],
      [4, 64, 64],
    ])
    expect(seen).toEqual([0, 1, 2, 3, 4, 5])
    const steps = fit.logLikelihood.slice(1).map((l, i) => l - (fit.logLikelihood[i] as number))
    expect(Math.min(...steps)).toBeGreaterThan(-1e-3)
  })

  it('refuses what does not fit', async () => {
    const data = toy('banana', { count: 50 })
    const bad = (options: object) => fitGaussianMixture(data, { components: 2, ...options })
    expect(await errorOfRange(bad({ components: 0 }))).toMatch(/components must be a whole number in 1..50/)
    expect(await errorOfRange(bad({ components: 51 }))).toMatch(/1..50 \(rows\)/)
    expect(await errorOfRange(bad({ iterations: -1 }))).toMatch(/iterations/)
    expect(await errorOfRange(bad({ tolerance: -1 }))).toMatch(/tolerance/)
    expect(await errorOfRange(bad({ jitter: NaN }))).toMatch(/jitter/)
    const start = await bad({ components: 3, iterations: 0 })
    expect(await errorOf('E_SHAPE', bad({ start }))).toMatch(/start.weights must be float32\[2\]/)
    await errorOf('E_CANCELLED', bad({ signal: AbortSignal.abort() }))
    const flat = points(Array.from({ length: 9 }, (_, i) => [i, 2 * i]))
    expect(await errorOf('E_DATA', fitGaussianMixture(flat, { components: 1, jitter: 0 }))).toMatch(
      /raise jitter|Raise jitter/,
    )
  })
})

/** The message of the RangeError that the promise must end in. */
async function errorOfRange(run: Promise<unknown>): Promise<string> {
  const e = await run.then(
    () => 'no error',
    (reason: unknown) => reason,
  )
  expect(e).toBeInstanceOf(RangeError)
  return (e as RangeError).message
}
