import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { inceptionScore, onnxInceptionScore } from '../../lib/evaluation/inception.ts'
import { nearestNeighbourTest } from '../../lib/evaluation/nearest-neighbour.ts'
import { precisionRecall } from '../../lib/evaluation/precision-recall.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { pattern } from '../golden/pattern.ts'
import { tinyOnnx } from './tiny-onnx.ts'
import { gaussian, golden, samplesOf } from './two-sample-golden.ts'

describe('precisionRecall', () => {
  for (const pair of golden.pairs) {
    it(`is the definition: ${pair.d} dimensions`, async () => {
      const [x, y] = samplesOf(pair)
      for (const want of pair.precisionRecall) {
        const got = await precisionRecall(x, y, { k: want.k })
        for (const name of ['precision', 'recall', 'density', 'coverage'] as const) {
          expect(got[name]).toBeCloseTo(want[name], 6)
        }
      }
    })
  }

  it('is 1 for equal sets, whatever their order, and with equal points', async () => {
    for (const d of [2, 30]) {
      const x = gaussian(60, d, 3)
      const reversed = hostTensor(
        Float32Array.from({ length: 60 * d }, (_, i) => x.data[(59 - Math.floor(i / d)) * d + (i % d)] ?? 0),
        [60, d],
      )
      const got = await precisionRecall(x, reversed)
      expect(got).toMatchObject({ precision: 1, recall: 1, coverage: 1, k: 3 })
      expect(got.density).toBeGreaterThanOrEqual(1)
    }
    const many = gaussian(2500, 2, 4) // several blocks
    expect(await precisionRecall(many, many)).toMatchObject({ precision: 1, recall: 1, coverage: 1 })
    const repeated = hostTensor(
      Float32Array.from({ length: 20 }, (_, i) => Math.floor(i / 10)),
      [20, 1],
    )
    expect(await precisionRecall(repeated, repeated)).toMatchObject({ precision: 1, recall: 1, coverage: 1 })
  })

  it('tells dropped modes from bad samples', async () => {
    const two = (n: number, seed: number) => {
      const z = gaussian(n, 2, seed, 0, 0.3)
      return hostTensor(z.data.map((v, i) => v + (i % 2 === 0 && i % 4 === 0 ? 6 : 0)) as Float32Array, [n, 2])
    }
    const real = two(200, 11)
    const one = gaussian(200, 2, 12, 0, 0.3)
    const dropped = await precisionRecall(real, one, { k: 5 })
    expect(dropped.precision).toBeGreaterThan(0.9)
    expect(dropped.recall).toBeLessThan(0.6)
    expect(dropped.coverage).toBeLessThan(0.6)
    const wide = await precisionRecall(real, gaussian(200, 2, 13, 3, 5), { k: 5 })
    expect(wide.precision).toBeLessThan(0.3)
    expect(wide.density).toBeLessThan(0.3)
    expect(wide.recall).toBeGreaterThan(0.5)
  })

  it('says what is wrong', async () => {
    const [x, y] = [gaussian(10, 2, 1), gaussian(4, 2, 2)]
    await expect(precisionRecall(x, y, { k: 4 })).rejects.toThrow(
      /k must be at most 50 and less than .* 10 and 4; got 4/,
    )
    await expect(precisionRecall(x, y, { k: 0 })).rejects.toThrow(RangeError)
    await expect(precisionRecall(x, gaussian(4, 3, 2))).rejects.toMatchObject({ code: 'E_SHAPE' })
    await expect(precisionRecall(x, x, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
})

describe('nearestNeighbourTest', () => {
  for (const pair of golden.pairs) {
    it(`is the definition: ${pair.d} dimensions`, async () => {
      const got = await nearestNeighbourTest(...samplesOf(pair), { permutations: 10 })
      for (const name of ['accuracy', 'accuracyX', 'accuracyY'] as const) {
        expect(got[name]).toBeCloseTo(pair.nearest[name], 10)
      }
    })
  }

  it('finds a shift and copies, and nothing where nothing is', async () => {
    const shifted = await nearestNeighbourTest(gaussian(150, 2, 21), gaussian(150, 2, 22, 1.2))
    expect(shifted.accuracy).toBeGreaterThan(0.6)
    expect(shifted.pValue).toBeLessThan(0.01)
    const x = gaussian(80, 5, 23)
    const copied = await nearestNeighbourTest(x, hostTensor(x.data.map((v) => v + 1e-3) as Float32Array, x.shape))
    expect(copied).toMatchObject({ accuracy: 0, pValue: 1 })
    const p: number[] = []
    for (let seed = 0; seed < 30; seed++) {
      const [a, b] = [gaussian(40, 2, 800 + 2 * seed), gaussian(40, 2, 801 + 2 * seed)]
      p.push((await nearestNeighbourTest(a, b, { permutations: 199 })).pValue)
    }
    expect(p.filter((v) => v <= 0.05).length).toBeLessThan(7)
    expect(p.reduce((s, v) => s + v, 0) / p.length).toBeGreaterThan(0.35)
  })
})

describe('inceptionScore', () => {
  it('is the definition, from logits and from probabilities', () => {
    const logits = pattern([57, 7], 9, 4)
    const probabilities = hostTensor(new Float32Array(57 * 7), [57, 7])
    for (let i = 0; i < 57; i++) {
      const row = Array.from(logits.data.subarray(7 * i, 7 * i + 7), Math.exp)
      const sum = row.reduce((s, v) => s + v, 0)
      row.forEach((v, k) => {
        probabilities.data[7 * i + k] = v / sum
      })
    }
    for (const { splits, mean, std } of golden.inception) {
      const got = inceptionScore(logits, { splits })
      expect(got.mean).toBeCloseTo(mean, 10)
      expect(got.std).toBeCloseTo(std, 10)
      expect(inceptionScore(probabilities, { splits, outputs: 'probabilities' }).mean).toBeCloseTo(mean, 5)
    }
  })

  it('is the number of classes for certain and even predictions, 1 for blind ones', () => {
    const certain = Float32Array.from({ length: 60 * 6 }, (_, i) => (i % 6 === Math.floor(i / 6) % 6 ? 1 : 0))
    const got = inceptionScore(hostTensor(certain, [60, 6]), { outputs: 'probabilities' })
    expect(got.mean).toBeCloseTo(6, 12)
    expect(got.std).toBeCloseTo(0, 12)
    const logits = hostTensor(
      certain.map((v) => 1000 * v),
      [60, 6],
    )
    expect(inceptionScore(logits).mean).toBeCloseTo(6, 10)
    expect(inceptionScore(hostTensor(new Float32Array(60), [10, 6])).mean).toBeCloseTo(1, 12)
  })

  it('takes logits from an ONNX classifier', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'langevin-inception-'))
    try {
      const path = join(folder, 'negative.onnx')
      await writeFile(path, tinyOnnx({ x: ['n', 7] }, [{ op: 'Neg', inputs: ['x'], output: 'y' }], { y: ['n', 7] }))
      const x = pattern([57, 7], 9, 4)
      const negative = hostTensor(
        Float32Array.from(x.data, (v) => -v),
        x.shape,
      )
      expect(await onnxInceptionScore(path, x, { splits: 4 })).toEqual(inceptionScore(negative, { splits: 4 }))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('says what is wrong', () => {
    const x = pattern([8, 3], 1)
    expect(() => inceptionScore(x)).toThrow(/8 rows cannot be split into 10 parts/)
    expect(() => inceptionScore(x, { splits: 2, outputs: 'probabilities' })).toThrow(/row 0 holds no probabilities/)
    expect(() => inceptionScore(x, { splits: 0 })).toThrow(RangeError)
    expect(() => inceptionScore(hostTensor(new Float32Array(8), [8, 1]), { splits: 2 })).toThrow(/\[n, k\] with k >= 2/)
    const odd = { splits: 2, outputs: 'logit' } as unknown as { splits: number }
    expect(() => inceptionScore(x, odd)).toThrow(/outputs must be 'logits' or 'probabilities'; got "logit"/)
  })
})
