import { describe, expect, it } from 'vitest'
import { concatDatasets, Dataset } from '../../lib/data/dataset.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { errorOf } from './helpers.ts'

/** Ten images [2, 2, 3] of increasing bytes; labels 0, 1, 2, 0, ... */
function images(): Dataset {
  const data = Uint8Array.from({ length: 120 }, (_, i) => i)
  return new Dataset({
    name: 'ten',
    features: hostTensor(data, [10, 2, 2, 3]),
    labels: Int32Array.from({ length: 10 }, (_, i) => i % 3),
  })
}

const floats = (...values: number[]) => hostTensor(Float32Array.from(values), [values.length, 1])

describe('Dataset', () => {
  it('knows its shape, classes and counts', () => {
    const data = images()
    expect(data.shape).toEqual([2, 2, 3])
    expect([data.count, data.dimensions, data.classes]).toEqual([10, 12, 3])
    expect(data.classNames).toEqual(['0', '1', '2'])
    expect(data.classCounts()).toEqual([4, 3, 3])
    expect(data.range).toEqual([0, 255])
    const bare = new Dataset({ name: 'bare', features: floats(0, 1) })
    expect([bare.classes, bare.classCounts(), bare.labels, bare.range]).toEqual([0, [], undefined, [-1, 1]])
  })

  it('names the row and the value that do not fit', async () => {
    const nan = () => new Dataset({ name: 'x', features: floats(0, NaN) })
    expect(await errorOf('E_DATA', nan)).toMatch(/row 1 holds NaN/)
    const infinite = () => new Dataset({ name: 'x', features: floats(-Infinity), range: [-10, 10] })
    expect(await errorOf('E_DATA', infinite)).toMatch(/row 0 holds -Infinity.*finite/)
    const beyond = () =>
      new Dataset({ name: 'x', features: hostTensor(Uint8Array.of(3, 16, 17, 1), [2, 2]), range: [0, 16] })
    expect(await errorOf('E_DATA', beyond)).toMatch(
      /row 1 holds 17 \(number 0 of the row\), outside the range \[0, 16\]/,
    )
    const label = () => new Dataset({ name: 'x', features: floats(0, 0), labels: Int32Array.of(0, 5), classes: 5 })
    expect(await errorOf('E_DATA', label)).toMatch(/label of row 1 is 5; expected 0..4/)
    const negative = () => new Dataset({ name: 'x', features: floats(0, 0), labels: Int32Array.of(0, -1) })
    expect(await errorOf('E_DATA', negative)).toMatch(/label of row 1 is -1/)
    const fewer = () => new Dataset({ name: 'x', features: floats(0, 0), labels: Int32Array.of(0) })
    expect(await errorOf('E_DATA', fewer)).toMatch(/2 rows, but 1 labels/)
    const names = () =>
      new Dataset({ name: 'x', features: floats(0), labels: Int32Array.of(0), classes: 2, classNames: ['a'] })
    expect(await errorOf('E_DATA', names)).toMatch(/2 classes, but 1 class names/)
    expect(await errorOf('E_DATA', () => new Dataset({ name: 'x', features: floats(0), range: [1, 1] }))).toMatch(
      /range/,
    )
    expect(await errorOf('E_DATA', () => new Dataset({ name: 'x', features: floats(0), classes: 2 }))).toMatch(
      /no labels/,
    )
    const empty = hostTensor(new Float32Array(0), [0, 3])
    expect(await errorOf('E_DATA', () => new Dataset({ name: 'x', features: empty }))).toMatch(/at least one row/)
    const ints = hostTensor(Int32Array.of(1), [1, 1])
    expect(await errorOf('E_DATA', () => new Dataset({ name: 'x', features: ints }))).toMatch(/uint8 or float32/)
  })

  it('holds out the last rows, or random ones, without loss', () => {
    const { train, test } = images().split({ test: 3 })
    expect([train.count, test.count]).toEqual([7, 3])
    expect(test.features.data[0]).toBe(84)
    expect(test.labels).toEqual(Int32Array.of(1, 2, 0))
    expect(test.classes).toBe(3)
    expect(images().split({ test: 0.25 }).test.count).toBe(3)
    const first = (d: Dataset) => Array.from({ length: d.count }, (_, i) => (d.features.data[i * 12] as number) / 12)
    const random = images().split({ test: 4, shuffle: true, seed: 5 })
    expect([...first(random.train), ...first(random.test)].sort((a, b) => a - b)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ])
    expect(first(random.test)).not.toEqual([6, 7, 8, 9])
    expect(first(images().split({ test: 4, shuffle: true, seed: 5 }).test)).toEqual(first(random.test))
    expect(Array.from(random.test.labels ?? [])).toEqual(first(random.test).map((i) => i % 3))
    // A seed alone says that the rows are to be random.
    expect(first(images().split({ test: 4, seed: 5 }).test)).toEqual(first(random.test))
    expect(first(images().split({ test: 4, seed: 5, shuffle: false }).test)).toEqual([6, 7, 8, 9])
    for (const test of [0, -1, 10, 2.5, NaN]) expect(() => images().split({ test })).toThrow(RangeError)
  })

  it('takes rows', () => {
    expect(images().take(2).features.shape).toEqual([2, 2, 2, 3])
    expect(images().take(99).count).toBe(10)
    expect(() => images().take(0)).toThrow(RangeError)
    const some = images().subset([9, 0])
    expect([some.features.data[0], some.features.data[12], some.labels]).toEqual([108, 0, Int32Array.of(0, 0)])
    expect(() => images().subset([10])).toThrow(/row 10/)
    expect(() => images().normalized([-1])).toThrow(RangeError)
  })

  it('normalises to [-1, 1]', () => {
    const data = new Dataset({ name: 'x', features: hostTensor(Uint8Array.of(0, 4, 8, 16), [2, 2]), range: [0, 16] })
    expect(data.normalized()).toEqual(hostTensor(Float32Array.of(-1, -0.5, 0, 1), [2, 2]))
    expect(data.normalized([1]).data).toEqual(Float32Array.of(0, 1))
    const wide = new Dataset({ name: 'x', features: floats(-3, 5, 1), range: [-3, 5] })
    expect(wide.normalized().data).toEqual(Float32Array.of(-1, 1, 0))
  })

  it('inverts, mirrors and shuffles pixels', () => {
    const data = images()
    expect(data.inverted().features.data[1]).toBe(254)
    const sums = data
      .inverted()
      .normalized()
      .data.map((v, i) => v + (data.normalized().data[i] as number))
    expect(Math.max(...sums.map(Math.abs))).toBeLessThan(1e-6)
    expect(Array.from(data.flipped().features.data.subarray(0, 12))).toEqual([2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9])
    const shuffled = Array.from(data.shuffledPixels(3).features.data)
    const order = shuffled.slice(0, 6)
    expect(order.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5])
    expect(order).not.toEqual([0, 1, 2, 3, 4, 5])
    // The same order in the second channel and in the last image.
    expect(shuffled.slice(6, 12)).toEqual(order.map((v) => v + 6))
    expect(shuffled.slice(108, 114)).toEqual(order.map((v) => v + 108))
    expect(data.features.data[1]).toBe(1)
  })

  it('joins sets that agree', async () => {
    const { train, test } = images().split({ test: 3 })
    const joined = concatDatasets('again', [train, test])
    expect(joined.features).toEqual(images().features)
    expect(joined.labels).toEqual(images().labels)
    const other = new Dataset({ name: 'o', features: floats(0) })
    expect(await errorOf('E_DATA', () => concatDatasets('no', [train, other]))).toMatch(/must agree/)
  })
})

describe('HostRandom', () => {
  it('repeats by seed, differs between seeds', () => {
    const draw = (seed: number | bigint) =>
      Array.from(
        { length: 4 },
        (
          (r) => () =>
            r.bits()
        )(new HostRandom(seed)),
      )
    expect(draw(1)).toEqual(draw(1n))
    expect(draw(1)).not.toEqual(draw(2))
    expect(draw(2n ** 40n)).not.toEqual(draw(0))
    expect(() => new HostRandom(0.5)).toThrow(RangeError)
    expect(() => new HostRandom(1).int(0)).toThrow(RangeError)
  })

  it('follows xoshiro128** from a SplitMix64 state', () => {
    // From the reference C of Blackman and Vigna, with 64-bit integers, written down independently of the code under test.
    const mask = (1n << 32n) - 1n
    let state = 42n
    const next64 = () => {
      state = (state + 0x9e3779b97f4a7c15n) & ((1n << 64n) - 1n)
      let z = state
      z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & ((1n << 64n) - 1n)
      z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & ((1n << 64n) - 1n)
      return z ^ (z >> 31n)
    }
    const [a, b] = [next64(), next64()]
    const s = [a & mask, a >> 32n, b & mask, b >> 32n] as [bigint, bigint, bigint, bigint]
    const rotate = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & mask
    const random = new HostRandom(42)
    for (let i = 0; i < 100; i++) {
      expect(random.bits()).toBe(Number((rotate((s[1] * 5n) & mask, 7n) * 9n) & mask))
      const t = (s[1] << 9n) & mask
      s[2] ^= s[0]
      s[3] ^= s[1]
      s[1] ^= s[2]
      s[0] ^= s[3]
      s[2] ^= t
      s[3] = rotate(s[3], 11n)
    }
  })

  it('has the right moments (within 4 standard errors)', () => {
    const random = new HostRandom(9)
    const n = 100_000
    let [u, z, z2, k] = [0, 0, 0, 0]
    for (let i = 0; i < n; i++) {
      u += random.uniform()
      const x = random.normal()
      z += x
      z2 += x * x
      k += random.int(7)
    }
    expect(Math.abs(u / n - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n))
    expect(Math.abs(z / n)).toBeLessThan(4 / Math.sqrt(n))
    expect(Math.abs(z2 / n - 1)).toBeLessThan(4 * Math.sqrt(2 / n))
    expect(Math.abs(k / n - 3)).toBeLessThan(4 * Math.sqrt(4 / n))
    expect(Array.from(random.permutation(50)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 50 }, (_, i) => i),
    )
  })
})

describe('data without a range', () => {
  const rows = Float32Array.of(100, -3, 250, 0.5)
  const points = () => new Dataset({ name: 'points', features: hostTensor(rows, [2, 2]), range: null })

  it('is taken as it is', async () => {
    const data = points()
    expect(data.range).toBeNull()
    expect(data.normalized().data).toEqual(rows)
    expect(data.subset([1]).range).toBeNull()
    expect(data.original(data.normalized()).data).toEqual(rows)
    expect(data.logDeterminant).toBe(0)
    expect(concatDatasets('both', [data, data]).range).toBeNull()
    const mixed = () =>
      concatDatasets('mixed', [data, new Dataset({ name: 'x', features: data.features, range: [-9, 999] })])
    expect(await errorOf('E_DATA', mixed)).toMatch(/range and transform must agree/)
    const nan = () => new Dataset({ name: 'x', features: floats(1e30, NaN), range: null })
    expect(await errorOf('E_DATA', nan)).toMatch(/row 1 holds NaN/)
  })

  it('has a known way back to its units, as images do', async () => {
    const gray = new Dataset({ name: 'gray', features: hostTensor(Uint8Array.of(0, 4, 8, 16), [2, 2]), range: [0, 16] })
    expect(Array.from(gray.original(gray.normalized()).data)).toEqual([0, 4, 8, 16])
    expect(gray.logDeterminant).toBeCloseTo(2 * Math.log(2 / 16), 12)
    expect(await errorOf('E_SHAPE', () => gray.original(floats(1, 2)))).toMatch(/expected float32\[n,2\]/)
  })

  it('refuses columns and transforms that do not fit', async () => {
    const make = (more: object) => () => new Dataset({ name: 'x', features: floats(0, 1), range: null, ...more })
    expect(await errorOf('E_DATA', make({ columns: ['a', 'b'] }))).toMatch(/1 numbers a row, but 2 column names/)
    const transform = { mean: Float64Array.of(0), std: Float64Array.of(0) }
    expect(await errorOf('E_DATA', make({ transform }))).toMatch(/1 positive standard deviations/)
    expect(await errorOf('E_DATA', make({ transform, range: [0, 1] }))).toMatch(/needs range null/)
  })
})
