/** Methods recover a density known exactly: the precision matrix of a Gaussian, by a quadratic energy whose optimum the data determine. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { defineEnergy } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { ContrastiveDivergence, type ContrastiveDivergenceOptions } from '../../lib/trainers/contrastive-divergence.ts'
import { type ScoreEstimator, ScoreMatching } from '../../lib/trainers/score-matching.ts'
import { fitAll } from './tiny.ts'

/** Covariance [[0.7, 0.3], [0.3, 0.4]] exactly (the draws are whitened), mean 0. */
const COVARIANCE = [0.7, 0.3, 0.3, 0.4] as const

function correlated(count: number): Dataset {
  const random = new HostRandom(3)
  const z = Array.from({ length: count }, () => [random.normal(), random.normal()] as [number, number])
  const moment = (f: (p: [number, number]) => number) => z.reduce((s, p) => s + f(p), 0) / count
  const mean = [moment((p) => p[0]), moment((p) => p[1])] as const
  for (const p of z) {
    p[0] -= mean[0]
    p[1] -= mean[1]
  }
  const [a, b, c] = [moment((p) => p[0] ** 2), moment((p) => p[0] * p[1]), moment((p) => p[1] ** 2)]
  // Whitened by the Cholesky factor of the sample's covariance, then coloured.
  const l = [Math.sqrt(a), b / Math.sqrt(a), Math.sqrt(c - b ** 2 / a)] as const
  const k = [Math.sqrt(0.7), 0.3 / Math.sqrt(0.7), Math.sqrt(0.4 - 0.09 / 0.7)] as const
  const rows = z.flatMap(([x, y]) => {
    const u = x / l[0]
    const v = (y - l[1] * u) / l[2]
    return [k[0] * u, k[1] * u + k[2] * v]
  })
  return new Dataset({ name: 'correlated', features: hostTensor(Float32Array.from(rows), [count, 2]), range: null })
}

/** E(x) = ½ xᵀ A x, A a parameter (its symmetric part counts). */
const quadratic = (): Model =>
  defineEnergy({ shape: [2] }, (x, scope) => {
    const a = scope.parameter('a', [2, 2], { kind: 'uniform', bound: 0.3 })
    const eye = ops.constant([1, 0, 0, 1], [2, 2])
    return ops.mul(ops.sum(ops.mul(ops.matmul(x, ops.add(a, eye)), x), 1), 0.5)
  })

/** Symmetric part of A. */
function precisionOf(model: Model): [number, number, number] {
  const [p, q, r, s] = model.value('a').data as Float32Array as unknown as [number, number, number, number]
  return [p + 1, (q + r) / 2, s + 1]
}

function inverse([a, b, , d]: readonly [number, number, number, number]): [number, number, number] {
  const det = a * d - b * b
  return [d / det, -b / det, a / det]
}

function expectClose(got: readonly number[], want: readonly number[], tolerance: number): void {
  got.forEach((g, i) => {
    expect(Math.abs(g - (want[i] as number)), `entry ${i}: ${got} for ${want}`).toBeLessThan(tolerance)
  })
}

const data = correlated(512)
const truth = inverse(COVARIANCE)
const optimizer = { kind: 'adam', learningRate: 0.02 } as const

describe('score matching recovers the precision of a Gaussian', () => {
  const noisy = (sigma: number) =>
    inverse([COVARIANCE[0] + sigma ** 2, COVARIANCE[1], COVARIANCE[2], COVARIANCE[3] + sigma ** 2])
  const cases: readonly [ScoreEstimator, readonly number[], number][] = [
    // With the whole data in each batch the exact objective has its least value at the inverse of the sample's covariance.
    [{ kind: 'exact' }, truth, 0.02],
    [{ kind: 'sliced', projections: 2 }, truth, 0.05],
    [{ kind: 'sliced', distribution: 'gaussian', varianceReduced: false, projections: 4 }, truth, 0.35],
    [{ kind: 'finiteDifference', epsilon: 0.1, projections: 2 }, truth, 0.15],
    // Denoising learns the blurred density.
    [{ kind: 'denoising', sigma: 0.3 }, noisy(0.3), 0.15],
  ]
  test.each(cases)('%o', async (estimator, want, tolerance) => {
    const model = quadratic()
    const schedule = { kind: 'cosine' } as const
    const trainer = new ScoreMatching(model, { estimator, batch: 512, optimizer, schedule, ema: 0.98 })
    await fitAll(trainer, data, { steps: 600, reportEvery: 600 })
    trainer.dispose()
    expectClose(precisionOf(model), want, tolerance)
  })
})

describe('contrastive divergence recovers the precision of a Gaussian', () => {
  const cases: readonly [string, ContrastiveDivergenceOptions][] = [
    ['persistent', { sampler: { kind: 'mala', steps: 5, stepSize: 0.3 }, buffer: { size: 2048, reinit: 0 } }],
    ['from data, exact transitions', { chains: 'data', sampler: { kind: 'mala', steps: 10, stepSize: 0.3 } }],
    [
      'short runs from noise, long enough',
      { chains: 'noise', start: { kind: 'normal' }, sampler: { kind: 'mala', steps: 30, stepSize: 0.3 } },
    ],
    ['HMC', { sampler: { kind: 'hmc', steps: 2, stepSize: 0.2 }, buffer: { size: 2048, reinit: 0 } }],
  ]
  test.each(cases)('%s', async (_, options) => {
    const model = quadratic()
    const schedule = { kind: 'cosine' } as const
    const trainer = new ContrastiveDivergence(model, {
      batch: 512,
      optimizer: { kind: 'adam', learningRate: 0.05 },
      schedule,
      ema: 0.98,
      ...options,
    })
    const { rows } = await fitAll(trainer, data, { steps: 800, reportEvery: 100 })
    trainer.dispose()
    expectClose(precisionOf(model), truth, 0.2)
    expect(Math.abs(rows.at(-1)?.energyGap as number)).toBeLessThan(0.1)
    expect(rows.at(-1)?.acceptance).toBeGreaterThan(0.3)
  })
})
