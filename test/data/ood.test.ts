import { describe, expect, it } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import {
  constant,
  defaultOod,
  flipped,
  gaussianNoise,
  interpolated,
  inverted,
  type OodName,
  oodNames,
  oodSet,
  shuffled,
  uniformNoise,
} from '../../lib/data/ood.ts'
import { digits } from '../../lib/data/standard.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { errorOf } from './helpers.ts'

const like = { shape: [3, 4, 5] }

describe('out-of-distribution sets', () => {
  it('uniform noise fills [-1, 1), by seed', () => {
    const x = uniformNoise(like, 200, 1)
    expect(x.shape).toEqual([200, 3, 4, 5])
    const mean = Array.from(x.data).reduce((a, b) => a + b, 0) / x.data.length
    expect(Math.abs(mean)).toBeLessThan(4 * Math.sqrt(1 / 3 / x.data.length))
    expect(Math.min(...x.data)).toBeGreaterThanOrEqual(-1)
    expect(Math.max(...x.data)).toBeLessThanOrEqual(1)
    expect(Math.max(...x.data)).toBeGreaterThan(0.99)
    expect(uniformNoise(like, 200, 1)).toEqual(x)
    expect(uniformNoise(like, 200, 2)).not.toEqual(x)
    expect(() => uniformNoise(like, 0, 1)).toThrow(RangeError)
  })

  it('gaussian noise has its deviation and is clamped', () => {
    const { data } = gaussianNoise(like, 200, 1, 0.2)
    const square = Array.from(data).reduce((a, b) => a + b * b, 0) / data.length
    expect(Math.abs(square / 0.04 - 1)).toBeLessThan(4 * Math.sqrt(2 / data.length))
    expect(Math.max(...gaussianNoise(like, 100, 1, 2).data)).toBe(1)
  })

  it('constant images have one colour', () => {
    const { data } = constant(like, 2, 4)
    for (let plane = 0; plane < 6; plane++) {
      const own = new Set(data.subarray(plane * 20, plane * 20 + 20))
      expect(own.size).toBe(1)
    }
    expect(new Set(data).size).toBe(6)
  })

  it('changes of the data keep its shape and what they should keep', async () => {
    const data = (await digits()).take(30)
    const x = data.normalized().data
    expect(inverted(data).data).toEqual(x.map((v) => 0 - v))
    const rows = shuffled(data, 1).data
    for (const i of [0, 29]) {
      const sorted = (a: Float32Array | Int32Array | Uint8Array) =>
        Array.from(a.subarray(i * 64, i * 64 + 64)).sort((p, q) => p - q)
      expect(sorted(rows)).toEqual(sorted(x))
    }
    expect(rows).not.toEqual(x)
    expect(flipped(data).data[0]).toBe(x[7])
    const mixed = interpolated(data, 2).data
    expect(mixed).not.toEqual(x)
    // The other half of every pair is a row of the data, and not the same one.
    for (const i of [0, 7, 29]) {
      const other = Array.from({ length: 64 }, (_, j) => 2 * (mixed[i * 64 + j] as number) - (x[i * 64 + j] as number))
      const match = Array.from({ length: 30 }, (_, k) => k).filter((k) =>
        other.every((v, j) => Math.abs(v - (x[k * 64 + j] as number)) < 1e-6),
      )
      expect(match.length).toBe(1)
      expect(match[0]).not.toBe(i)
    }
  })

  it('goes by name', async () => {
    const data = (await digits()).take(4)
    for (const name of oodNames) {
      const set = oodSet(name, data)
      expect(set.shape).toEqual([4, 1, 8, 8])
      expect(set.data.every((v) => v >= -1 && v <= 1)).toBe(true)
    }
    expect(oodSet('uniform', data, { count: 9, seed: 3 })).toEqual(uniformNoise(data, 9, 3))
    expect(() => oodSet('unifrom' as OodName, data)).toThrow(/Did you mean 'uniform'/)
  })

  it('of data without a range, noise keeps to the columns, and what needs a range is refused', async () => {
    const rows = Float32Array.of(10, -1, 20, 3, 30, 1, 20, 1)
    const data = new Dataset({ name: 'points', features: hostTensor(rows, [4, 2]), range: null })
    const column = (x: ArrayLike<number>, j: number) => Array.from(x).filter((_, i) => i % 2 === j)
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length
    const box = oodSet('uniform', data, { count: 4000 }).data
    expect([Math.min(...column(box, 0)), Math.max(...column(box, 0))].map(Math.round)).toEqual([10, 30])
    expect([Math.min(...column(box, 1)), Math.max(...column(box, 1))].map(Math.round)).toEqual([-1, 3])
    const normal = column(oodSet('gaussian', data, { count: 4000 }).data, 0)
    // Column 0 has mean 20 and variance 50.
    expect(Math.abs(mean(normal) - 20)).toBeLessThan(4 * Math.sqrt(50 / 4000))
    expect(Math.abs(mean(normal.map((x) => (x - 20) ** 2)) / 50 - 1)).toBeLessThan(4 * Math.sqrt(2 / 4000))
    expect(oodSet('flipped', data).data).toEqual(Float32Array.of(-1, 10, 3, 20, 1, 30, 1, 20))
    // A distribution of the plane may well be the same with its columns exchanged.
    expect(defaultOod(data)).toEqual(['uniform', 'gaussian'])
    expect(defaultOod({ range: null, dimensions: 3 })).toContain('shuffled')
    for (const name of defaultOod(data)) expect(oodSet(name, data).shape).toEqual([4, 2])
    expect(await errorOf('E_DATA', () => oodSet('constant', data))).toMatch(/range is null.*Use another set/)
    expect(await errorOf('E_DATA', () => oodSet('inverted', data))).toMatch(/range is null.*give a range/)
  })
})
