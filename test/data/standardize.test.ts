import { describe, expect, it } from 'vitest'
import { classGaussians } from '../../lib/data/class-gaussians.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { columnsOf, standardize } from '../../lib/data/standardize.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { errorOf } from './helpers.ts'

const table = (rows: number[][], columns = ['a', 'b']): Dataset =>
  new Dataset({
    name: 'table',
    features: hostTensor(Float32Array.from(rows.flat()), [rows.length, 2]),
    range: null,
    columns,
  })

describe('standardize', () => {
  const train = table([
    [1, 100],
    [2, 300],
    [3, 100],
    [2, 300],
  ])
  const test = table([
    [2, 200],
    [4, 0],
  ])

  it('says that both parts come as one argument', () => {
    const separate = standardize as unknown as (...parts: Dataset[]) => unknown
    expect(() => separate(train, test)).toThrow(/takes both parts as one argument, { train, test }/)
  })

  it('takes mean and deviation from the training part alone', () => {
    const parts = standardize({ train, test })
    const { mean, std } = columnsOf(parts.train)
    for (const j of [0, 1]) {
      expect(mean[j]).toBeCloseTo(0, 6)
      expect(std[j]).toBeCloseTo(1, 6)
    }
    expect(Array.from(parts.test?.normalized().data ?? [])).toEqual([0, 0, 2 / Math.sqrt(0.5), -2].map(Math.fround))
    expect(parts.train.transform).toEqual({ mean: Float64Array.of(2, 200), std: Float64Array.of(Math.sqrt(0.5), 100) })
    expect(parts.train.columns).toEqual(['a', 'b'])
  })

  it('is undone for outputs, and its determinant is known', () => {
    const { train: standard } = standardize({ train, test: undefined })
    const back = standard.original(standard.normalized()).data
    for (const [i, x] of train.features.data.entries()) expect(back[i]).toBeCloseTo(x, 4)
    expect(standard.logDeterminant).toBeCloseTo(-Math.log(Math.sqrt(0.5)) - Math.log(100), 12)
    expect(standard.split({ test: 1 }).test.transform).toBe(standard.transform)
  })

  it('names the column without a scale, and refuses to work twice', async () => {
    const flat = table([
      [1, 7],
      [2, 7],
    ])
    expect(await errorOf('E_DATA', () => standardize({ train: flat, test: undefined }))).toMatch(/column 'b'.*is 7/)
    const once = standardize({ train, test: undefined })
    expect(await errorOf('E_DATA', () => standardize(once))).toMatch(/standardised already/)
    const ranged = new Dataset({ name: 'r', features: train.features, range: [0, 300] })
    expect(await errorOf('E_DATA', () => standardize({ train: ranged, test: undefined }))).toMatch(/range \[0, 300\]/)
  })

  it('leaves class Gaussians of unmapped data in their own units', async () => {
    // Mostly zeros: without a range zero must not be taken for a background.
    const rows = [
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 0],
      [6, 3],
    ]
    const { mean, ...rest } = await classGaussians(table(rows), { jitter: 0.01 })
    expect(Array.from(mean.data)).toEqual([1.2, 0.6].map(Math.fround))
    if (rest.form !== 'full') throw new Error('full expected')
    const [a, , b, c] = rest.factor.data as unknown as [number, number, number, number]
    expect(a * a).toBeCloseTo(5.76 + 0.01, 5)
    expect(a * b).toBeCloseTo(2.88, 5)
    expect(b * b + c * c).toBeCloseTo(1.44 + 0.01, 5)
  })
})
