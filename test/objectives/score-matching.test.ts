/** What the score-matching estimators estimate, and what they refuse. Values and gradients stand in golden.test.ts. */
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import {
  denoisingScoreMatching,
  exactScoreMatching,
  finiteDifferenceScoreMatching,
  finiteDifferenceWith,
  multiscaleDenoising,
  slicedScoreMatching,
  slicedWith,
} from '../../lib/objectives/score-matching.ts'
import { repeatBatch } from '../../lib/objectives/terms.ts'
import * as ops from '../../lib/ops/index.ts'
import { Bench, energy } from './cases.ts'
import { estimate, exactly, expectMean } from './monte-carlo.ts'

const points = (b: Bench): Tensor => b.data([4, 4], 20)
/** Each point 64 times: so many draws a run. */
const many = (b: Bench): Tensor => repeatBatch(points(b), 64)

function exactValue(): number {
  const b = new Bench()
  return exactly(b, exactScoreMatching(energy(b).plain, points(b)).loss)[0]?.[0] as number
}

describe('sliced score matching has the mean of exact score matching', () => {
  for (const distribution of ['rademacher', 'gaussian', 'sphere'] as const) {
    for (const varianceReduced of [true, false]) {
      test(`${distribution}, ${varianceReduced ? 'variance reduced' : 'plain'}`, async () => {
        const [loss, one] = await estimate((b, key) => {
          const e = energy(b).plain
          const noise = { key, stream: 3 }
          const options = { distribution, varianceReduced }
          return [
            slicedScoreMatching(e, many(b), noise, { ...options, projections: 2 }).loss,
            slicedScoreMatching(e, many(b), noise, options).metrics.trace as Tensor,
          ]
        })
        expectMean(loss?.[0], exactValue())
        const b = new Bench()
        const [trace] = exactly(b, exactScoreMatching(energy(b).plain, points(b)).metrics.trace as Tensor)
        expectMean(one?.[0], trace?.[0] as number)
      })
    }
  }

  test('the reduced form has less variance', async () => {
    const [plain, reduced] = await estimate((b, key) =>
      [false, true].map(
        (varianceReduced) =>
          slicedScoreMatching(energy(b).plain, many(b), { key, stream: 0 }, { varianceReduced }).loss,
      ),
    )
    expect(reduced?.[0]?.variance).toBeLessThan(0.8 * (plain?.[0]?.variance as number))
  })
})

describe('finite differences', () => {
  test('tend to the sliced objective as epsilon², for the same directions', () => {
    const b = new Bench()
    const e = energy(b).plain
    const [x, v] = [points(b), b.data([3, 4, 4], 33, 2)]
    const epsilons = [0.5, 0.25, 0.125, 0.0625]
    const graphs = epsilons.map((epsilon) => finiteDifferenceWith(e, x, v, { epsilon }).loss)
    const sliced = slicedWith(e, x, v, { varianceReduced: false }).loss
    const [limit, ...values] = exactly(b, sliced, ...graphs).map((r) => r[0] as number) as [number, ...number[]]
    const errors = values.map((value) => Math.abs(value - limit))
    for (let i = 1; i < errors.length; i++) {
      expect((errors[i - 1] as number) / (errors[i] as number)).toBeGreaterThan(3.5)
      expect((errors[i - 1] as number) / (errors[i] as number)).toBeLessThan(4.5)
    }
  })

  test.each(['rademacher', 'gaussian', 'sphere'] as const)(
    'with %s draws have the exact mean, natively',
    async (distribution) => {
      const [loss] = await estimate((b, key) => {
        const options = { distribution, epsilon: 0.125, projections: 2 }
        return [finiteDifferenceScoreMatching(energy(b).plain, many(b), { key, stream: 0 }, options).loss]
      })
      // The bias: error of the differences (the test above) and float32's rounding.
      expectMean(loss?.[0], exactValue(), 0.02)
    },
  )
})

describe('denoising', () => {
  /** Exact score matching of blurred data: what denoising equals in the mean, at any sigma, by integration by parts. */
  const blurred = (b: Bench, key: Tensor, sigma: number): Tensor => {
    const x = many(b)
    return exactScoreMatching(energy(b).plain, ops.add(x, ops.mul(ops.normal(key, x.shape, 9), sigma))).loss
  }

  test('equals exact score matching of the blurred data, with pairs and without', async () => {
    const sigma = 0.5
    const differences = await estimate((b, key) =>
      [true, false].map((antithetic) => {
        const options = { sigma, antithetic }
        const denoised = denoisingScoreMatching(energy(b).plain, many(b), { key, stream: 0 }, options)
        return ops.sub(denoised.metrics.scoreMatching as Tensor, blurred(b, key, sigma))
      }),
    )
    for (const d of differences) expectMean(d[0], 0)
  })

  test('pairs have the same mean and far less variance at a small sigma; the mean is the exact objective', async () => {
    const sigma = 1 / 64
    const [pairs, single, constant, gradientPairs, gradientSingle] = await estimate((b, key) => {
      const e = energy(b).plain
      const terms = [true, false].map((antithetic) =>
        denoisingScoreMatching(e, many(b), { key, stream: 0 }, { sigma, antithetic, weighting: 'one' }),
      )
      const losses = terms.map((t) => t.metrics.scoreMatching as Tensor)
      const w = b.trained.get('w') as Tensor
      const slopes = terms.map((t) => ops.slice(grad(t.loss, [w])[0] as Tensor, [0, 0], [1, 4]))
      const known = ops.sub(terms[0]?.loss as Tensor, losses[0] as Tensor)
      return [...losses, known, ...slopes]
    })
    expectMean(single?.[0], exactValue(), 0.01)
    expectMean(pairs?.[0], exactValue(), 0.01)
    expect(pairs?.[0]?.variance).toBeLessThan(0.01 * (single?.[0]?.variance as number))
    // The loss is the objective plus d/(2σ²).
    expect(Math.abs((constant?.[0]?.mean as number) / (4 / (2 * sigma ** 2)) - 1)).toBeLessThan(1e-5)
    gradientPairs?.forEach((g, i) => {
      const other = gradientSingle?.[i]
      expect(g.variance).toBeLessThan(0.02 * (other?.variance as number))
      expect(Math.abs(g.mean - (other?.mean as number))).toBeLessThan(4 * ((other?.error as number) + g.error))
    })
  })

  test('of many levels is the average over the ladder', async () => {
    const sigmas = [1, 0.5, 0.25]
    const [difference] = await estimate((b, key) => {
      const e = energy(b, 1).noisy
      const x = many(b)
      const mixed = multiscaleDenoising(e, x, { key, stream: 0 }, { sigmas }).loss
      const single = sigmas.map((sigma, i) => {
        const level = ops.full([x.shape[0] as number], sigma)
        return denoisingScoreMatching((y) => e(y, ops.concat([level, level])), x, { key, stream: 10 + i }, { sigma })
          .loss
      })
      const average = ops.mul(
        single.reduce((a, t) => ops.add(a, t)),
        1 / sigmas.length,
      )
      return [ops.sub(mixed, average)]
    })
    expectMean(difference?.[0], 0)
  })
})

test('impossible settings are refused with what would do', () => {
  const x = ops.input('x', [4, 4])
  const key = ops.input('key', [4], 'int32')
  const noise = { key, stream: 0 }
  const e = (t: Tensor) => ops.sum(ops.square(t), 1)
  const distribution = 'radmacher' as 'rademacher'
  expect(() => slicedScoreMatching(e, x, noise, { distribution })).toThrow(/Did you mean 'rademacher'/)
  expect(() => slicedScoreMatching(e, x, noise, { projections: 0 })).toThrow(RangeError)
  expect(() => slicedWith(e, x, ops.input('v', [2, 4, 3]))).toThrow(/directions must be \[projections/)
  expect(() => denoisingScoreMatching(e, x, noise, { sigma: 0 })).toThrow(
    /sigma must be a positive finite number; got 0/,
  )
  expect(() => finiteDifferenceScoreMatching(e, x, noise, { epsilon: -1 })).toThrow(/epsilon/)
  expect(() => multiscaleDenoising((t) => e(t), x, noise, { sigmas: [] })).toThrow(/at least one noise level/)
  expect(() => exactScoreMatching((t) => ops.square(t), x)).toThrow(/the energy must be float32\[4\]/)
})
