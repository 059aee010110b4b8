import { describe, expect, it } from 'vitest'
import { binomialTail, classifierTwoSampleTest } from '../../lib/evaluation/two-sample.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { gaussian, golden } from './two-sample-golden.ts'

describe('binomialTail', () => {
  it("agrees with scipy's", () => {
    for (const { n, least, p } of golden.binomial) {
      expect(Math.abs(binomialTail(n, least) - p) / Math.max(p, 1e-12)).toBeLessThan(1e-9)
    }
  })
})

describe('classifierTwoSampleTest', () => {
  const quick = { steps: 200, hidden: [32], batch: 64 }

  it('is at chance when nothing differs', async () => {
    const p: number[] = []
    let right = 0
    for (let seed = 0; seed < 12; seed++) {
      const [x, y] = [gaussian(150, 3, 40 + 2 * seed), gaussian(150, 3, 41 + 2 * seed)]
      const got = await classifierTwoSampleTest(x, y, { ...quick, seed })
      expect(got.heldOut).toBe(150)
      p.push(got.pValue)
      right += got.accuracy * got.heldOut
    }
    // 1800 held-out points: a standard deviation is 0.012.
    expect(Math.abs(right / 1800 - 0.5)).toBeLessThan(0.05)
    expect(p.filter((v) => v <= 0.05).length).toBeLessThan(5)
  })

  it('finds a shift to the accuracy that is possible, and a difference no mean shows', async () => {
    // N(0, 1) against N(1.5, 1): the best rule is right with probability Φ(0.75) = 0.773.
    const shift = await classifierTwoSampleTest(gaussian(1500, 1, 71), gaussian(2000, 1, 72, 1.5), quick)
    expect(shift.heldOut).toBe(1500)
    expect(Math.abs(shift.accuracy - 0.773)).toBeLessThan(0.045)
    expect(shift.pValue).toBeLessThan(1e-20)
    expect(shift.trainingLoss).toBeLessThan(0.6)
    // Correlated against independent coordinates, both with normal margins.
    const z = gaussian(600, 2, 73)
    const correlated = hostTensor(
      z.data.map((v, i, all) => (i % 2 === 0 ? v : 0.9 * (all[i - 1] ?? 0) + Math.sqrt(0.19) * v)) as Float32Array,
      [600, 2],
    )
    const shape = await classifierTwoSampleTest(correlated, gaussian(600, 2, 74), { steps: 400, hidden: [32] })
    expect(shape.accuracy).toBeGreaterThan(0.65)
    expect(shape.pValue).toBeLessThan(1e-6)
  })

  it('gives the log-odds behind its accuracy, takes images, and repeats itself', async () => {
    const x = hostTensor(gaussian(40, 16, 81).data, [40, 1, 4, 4])
    const y = hostTensor(gaussian(40, 16, 82, 2).data, [40, 1, 4, 4])
    const got = await classifierTwoSampleTest(x, y, { ...quick, trainShare: 0.75 })
    expect(got.heldOut).toBe(20)
    const right = Array.from(got.logits.data).filter((l, i) => (i < 10 ? l > 0 : l <= 0)).length
    expect(got.accuracy).toBe(right / 20)
    expect(await classifierTwoSampleTest(x, y, { ...quick, trainShare: 0.75 })).toEqual(got)
  })

  it('stops when asked and says what is wrong', async () => {
    const [x, y] = [gaussian(20, 2, 1), gaussian(20, 2, 2)]
    const late = new AbortController()
    const long = classifierTwoSampleTest(x, y, { steps: 50_000_000, signal: late.signal })
    setTimeout(() => late.abort(new Error('enough')), 100)
    await expect(long).rejects.toThrow('enough')
    await expect(classifierTwoSampleTest(x, y, { trainShare: 0.01 })).rejects.toThrow(
      /trainShare must leave at least 2 of 20/,
    )
    await expect(classifierTwoSampleTest(x, y, { steps: 0 })).rejects.toThrow(/steps must be an integer ≥ 1/)
    await expect(classifierTwoSampleTest(x, y, { batch: 0 })).rejects.toThrow(/batch must be an integer ≥ 1/)
    await expect(classifierTwoSampleTest(x, gaussian(3, 2, 3))).rejects.toThrow(/n >= 4/)
    await expect(classifierTwoSampleTest(x, y, { learningRate: -1 })).rejects.toThrow(RangeError)
  })
})
