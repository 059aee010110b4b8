import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { kid, onnxKid } from '../../lib/evaluation/kid.ts'
import { type MmdOptions, mmd } from '../../lib/evaluation/mmd.ts'
import { overRows } from '../../lib/evaluation/row-blocks.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { testDevice } from '../device.ts'
import { tinyOnnx } from './tiny-onnx.ts'
import { gaussian, golden, samplesOf } from './two-sample-golden.ts'

const shown = (d: number) => `${d} dimensions`

describe('overRows', () => {
  it('joins blocks, whole or not', async () => {
    const x = hostTensor(
      Float32Array.from({ length: 23 * 3 }, (_, i) => i),
      [23, 3],
    )
    for (const block of [1, 5, 7, 22, 23, 400]) {
      const columns = Math.floor(4_194_304 / block)
      const { twice, number } = await overRows(
        { device: testDevice, tensors: { x }, rows: 23, columns },
        (index, read) => ({
          twice: ops.mul(ops.gather(read('x'), index), 2),
          number: index,
        }),
      )
      expect(twice.shape).toEqual([23, 3])
      expect([...twice.data]).toEqual([...x.data].map((v) => 2 * v))
      expect([...number.data]).toEqual(Array.from({ length: 23 }, (_, i) => i))
    }
  })
})

describe('mmd', () => {
  for (const pair of golden.pairs) {
    const [x, y] = samplesOf(pair)
    const cases: [string, MmdOptions, { squared: number; standardError: number }][] = [
      ['rbf, median', {}, pair.rbf],
      ['rbf, several bandwidths', { bandwidth: [0.3, 1, 4] }, pair.rbfList],
      ['imq', { kernel: 'imq', bandwidth: 0.7 }, pair.imq],
      ['cubic', { kernel: 'polynomial' }, pair.polynomial],
      ['quadratic', { kernel: 'polynomial', degree: 2, scale: 0.5, offset: 0 }, pair.quadratic],
    ]
    for (const [name, options, want] of cases) {
      it(`is the definition: ${name}, ${shown(pair.d)}`, async () => {
        const got = await mmd(x, y, { ...options, permutations: 0 })
        const size = Math.abs(want.squared) + want.standardError
        expect(Math.abs(got.squared - want.squared) / size).toBeLessThan(2e-5)
        expect(Math.abs(got.standardError - want.standardError) / size).toBeLessThan(2e-5)
        expect(got).not.toHaveProperty('pValue')
        if (name === 'rbf, median') {
          expect(got.bandwidths).toHaveLength(1)
          expect(got.bandwidths[0]).toBeCloseTo(pair.median, 5)
        }
      })
    }
  }

  it('relabels as a plain permutation test does', async () => {
    // All 10 ways to call 3 of 5 points on a line x, by the definition of MMD²; the true one is the most extreme but for its mirror.
    const points = [0, 0.4, 0.7, 3, 3.5]
    const kernel = (a: number, b: number) => Math.exp(-((a - b) ** 2) / 2)
    const squared = (inX: boolean[]) => {
      const mean = (a: boolean, b: boolean) => {
        const values = points.flatMap((p, i) =>
          points.flatMap((q, j) => (i !== j && inX[i] === a && inX[j] === b ? [kernel(p, q)] : [])),
        )
        return values.reduce((s, v) => s + v, 0) / values.length
      }
      return mean(true, true) + mean(false, false) - 2 * mean(true, false)
    }
    const all = Array.from({ length: 32 }, (_, bits) => points.map((_, i) => ((bits >> i) & 1) === 1)).filter(
      (inX) => inX.filter(Boolean).length === 3,
    )
    const observed = [0, 1, 3] // not the extreme split, so that the p-value lies inside (0, 1)
    const inX = points.map((_, i) => observed.includes(i))
    const value = squared(inX)
    const exact = all.filter((a) => squared(a) >= value - 1e-9).length / all.length
    const of = (keep: boolean) => Float32Array.from(points.filter((_, i) => inX[i] === keep))
    const got = await mmd(hostTensor(of(true), [3, 1]), hostTensor(of(false), [2, 1]), {
      bandwidth: 1,
      permutations: 4000,
    })
    expect(got.squared).toBeCloseTo(value, 6)
    expect(exact).toBeGreaterThan(0.2)
    expect(exact).toBeLessThan(0.9)
    expect(Math.abs((got.pValue ?? 0) - exact)).toBeLessThan(0.04)
  })

  it('is unbiased and its p-values uniform when nothing differs', async () => {
    const runs = []
    for (let seed = 0; seed < 40; seed++) {
      runs.push(await mmd(gaussian(50, 3, 2 * seed + 1), gaussian(60, 3, 2 * seed + 2), { permutations: 99 }))
    }
    const mean = runs.reduce((s, r) => s + r.squared, 0) / runs.length
    const spread = Math.sqrt(runs.reduce((s, r) => s + (r.squared - mean) ** 2, 0) / (runs.length - 1))
    expect(Math.abs(mean)).toBeLessThan((3.5 * spread) / Math.sqrt(runs.length))
    expect(runs.some((r) => r.squared < 0)).toBe(true)
    const p = runs.map((r) => r.pValue ?? 0)
    expect(Math.abs(p.reduce((s, v) => s + v, 0) / p.length - 0.5)).toBeLessThan(3.5 * Math.sqrt(1 / 12 / p.length))
    expect(p.filter((v) => v <= 0.05).length).toBeLessThan(8)
  })

  it('has the spread that its standard error says when distributions differ', async () => {
    const runs = []
    for (let seed = 0; seed < 40; seed++) {
      const [x, y] = [gaussian(80, 2, 500 + 2 * seed), gaussian(80, 2, 501 + 2 * seed, 0.8)]
      runs.push(await mmd(x, y, { bandwidth: 1, permutations: 0 }))
    }
    const mean = runs.reduce((s, r) => s + r.squared, 0) / runs.length
    const spread = Math.sqrt(runs.reduce((s, r) => s + (r.squared - mean) ** 2, 0) / (runs.length - 1))
    const claimed = runs.reduce((s, r) => s + r.standardError, 0) / runs.length
    expect(claimed / spread).toBeGreaterThan(0.7)
    expect(claimed / spread).toBeLessThan(1.4)
  })

  it('meets the closed form for Gaussians over many blocks, and can be stopped within', async () => {
    // E k = exp(-shift² / 6) / √3 for unit Gaussians on the line and bandwidth 1.
    const shift = 0.5
    const [x, y] = [gaussian(3000, 1, 95), gaussian(2500, 1, 96, shift)]
    const { squared, standardError } = await mmd(x, y, { bandwidth: 1, permutations: 0 })
    const exact = (2 / Math.sqrt(3)) * (1 - Math.exp(-(shift ** 2) / 6))
    expect(Math.abs(squared - exact)).toBeLessThan(4 * standardError)
    expect(standardError).toBeLessThan(exact / 5)
    const late = new AbortController()
    const long = mmd(gaussian(10_000, 8, 97), gaussian(10_000, 8, 98), { bandwidth: 1, signal: late.signal })
    setTimeout(() => late.abort(new Error('enough')), 50)
    await expect(long).rejects.toThrow('enough')
  })

  it('finds differences in mean, scale and shape', async () => {
    const x = gaussian(150, 2, 90)
    const ring = hostTensor(
      gaussian(150, 2, 91).data.map((v, i, all) => {
        const partner = all[i ^ 1] ?? 0
        return (Math.SQRT2 * v) / Math.hypot(v, partner)
      }) as Float32Array,
      [150, 2],
    )
    const cases = [
      { y: gaussian(150, 2, 92, 0.7) },
      { y: gaussian(150, 2, 93, 0, 2) },
      // The same mean and covariance: a bandwidth below the median is needed to see the hole.
      { y: ring, bandwidth: [0.25, 0.5] },
    ]
    for (const { y, ...options } of cases) {
      for (const kernel of ['rbf', 'imq'] as const) {
        const { pValue, squared, standardError } = await mmd(x, y, { kernel, ...options })
        expect(pValue).toBeLessThan(0.01)
        expect(squared / standardError).toBeGreaterThan(2)
      }
    }
  })

  it('stops when asked and says what is wrong', async () => {
    const [x, y] = [gaussian(10, 2, 1), gaussian(10, 2, 2)]
    await expect(mmd(x, y, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
    const typo = { kernel: 'rfb' } as unknown as MmdOptions
    await expect(mmd(x, y, typo)).rejects.toThrow(/kernel 'rfb' is not known. Did you mean 'rbf'/)
    const polynomial = { kernel: 'polynomial', bandwidth: 1 } as unknown as MmdOptions
    await expect(mmd(x, y, polynomial)).rejects.toMatchObject({ code: 'E_CONFIG' })
    await expect(mmd(x, y, { kernel: 'polynomial', degree: 0 })).rejects.toThrow(/degree must be an integer in 1..10/)
    for (const bandwidth of [0, -1, NaN, [], [1, 0]]) {
      await expect(mmd(x, y, { bandwidth })).rejects.toThrow(/bandwidth must be 'median', a positive number/)
    }
    await expect(mmd(x, gaussian(10, 3, 2))).rejects.toThrow(/points of the same size; got \[10,2\] and \[10,3\]/)
    await expect(mmd(x, gaussian(1, 2, 2))).rejects.toThrow(/y must have shape \[n, ...\] with n >= 2/)
    await expect(mmd(hostTensor(new Int32Array(4), [2, 2]), y)).rejects.toMatchObject({ code: 'E_DTYPE' })
    await expect(mmd(x, hostTensor(Float32Array.of(1, NaN, 2, 3), [2, 2]))).rejects.toMatchObject({ code: 'E_DATA' })
    const constant = hostTensor(new Float32Array(20), [10, 2])
    await expect(mmd(constant, constant)).rejects.toThrow(/median distance between points is 0/)
    await expect(mmd(x, y, { permutations: -1 })).rejects.toThrow(RangeError)
  })
})

describe('kid', () => {
  it('is the cubic MMD² where the subsets are the whole', async () => {
    for (const pair of golden.pairs.filter((p) => p.n === p.m)) {
      const [x, y] = samplesOf(pair)
      const got = await kid(x, y)
      const size = Math.abs(pair.polynomial.squared) + pair.polynomial.standardError
      expect(Math.abs(got.mean - pair.polynomial.squared) / size).toBeLessThan(2e-5)
      expect(got).toMatchObject({ std: 0, subsets: 100, subsetSize: pair.n })
    }
  })

  it('is unbiased over small subsets, with their spread', async () => {
    const [x, y] = [gaussian(400, 8, 5), gaussian(300, 8, 6, 0.3)]
    const whole = await mmd(x, y, { kernel: 'polynomial', permutations: 0 })
    const got = await kid(x, y, { subsets: 200, subsetSize: 40 })
    expect(got.std).toBeGreaterThan(0.01)
    expect(Math.abs(got.mean - whole.squared)).toBeLessThan((4 * got.std) / Math.sqrt(200))
    expect(await kid(x, y, { subsets: 200, subsetSize: 40 })).toEqual(got)
    expect((await kid(x, y, { subsets: 200, subsetSize: 40, seed: 1 })).mean).not.toBe(got.mean)
    const same = await kid(gaussian(300, 8, 7), gaussian(300, 8, 8), { subsets: 100, subsetSize: 50 })
    expect(Math.abs(same.mean)).toBeLessThan(whole.squared / 5)
  })

  it('takes its features from an ONNX network', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'langevin-kid-'))
    try {
      const path = join(folder, 'relu.onnx')
      await writeFile(path, tinyOnnx({ x: ['n', 4] }, [{ op: 'Relu', inputs: ['x'], output: 'f' }], { f: ['n', 4] }))
      const [x, y] = [gaussian(30, 4, 9), gaussian(30, 4, 10, 0.5)]
      const relu = (t: typeof x) =>
        hostTensor(
          Float32Array.from(t.data, (v) => Math.max(0, v)),
          t.shape,
        )
      expect(await onnxKid(path, x, y, { batch: 7 })).toEqual(await kid(relu(x), relu(y)))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('says what is wrong', async () => {
    const [x, y] = [gaussian(10, 2, 1), gaussian(8, 2, 2)]
    await expect(kid(x, y, { subsetSize: 9 })).rejects.toThrow(
      /subsetSize must be at most 8, the smaller sample; got 9/,
    )
    await expect(kid(x, y, { subsets: 0 })).rejects.toThrow(/subsets must be an integer ≥ 1/)
    await expect(kid(x, y, { scale: 0 })).rejects.toThrow(/scale must be positive/)
    await expect(kid(x, y, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
})
