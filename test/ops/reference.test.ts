/** The references themselves, against published and hand-computed values: they are the oracle of everything else. */
import { describe, expect, it } from 'vitest'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { philox } from '../../lib/ops/philox.ts'
import { erfReference, roundHalfEven } from '../../lib/ops/ref.ts'

const run = (t: Tensor) => [...(evaluateReference([t])[0] as RefArray).data]
const row = (...data: number[]) => ops.constant(data, [data.length])
const key = (seed: number | bigint, step: number | bigint = 0) => ops.constant(ops.seedKey(seed, step), [4])

describe('philox', () => {
  it('meets the known answers of Random123', () => {
    const hex = (words: readonly number[]) => words.map((w) => w.toString(16).padStart(8, '0')).join(' ')
    expect(hex(philox([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
    const all = 0xffffffff
    expect(hex(philox([all, all, all, all], [all, all]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
    expect(hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))).toBe(
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    )
  })
})

describe('random draws', () => {
  it('have the moments of their distributions, within 4 standard errors', () => {
    const n = 20000
    const moment = (data: number[], p: number) => data.reduce((s, v) => s + v ** p, 0) / n
    const z = run(ops.normal(key(7), [n]))
    expect(Math.abs(moment(z, 1))).toBeLessThan(4 / Math.sqrt(n))
    expect(Math.abs(moment(z, 2) - 1)).toBeLessThan(4 * Math.sqrt(2 / n))
    expect(Math.abs(moment(z, 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n))
    const u = run(ops.uniform(key(7), [n]))
    expect(Math.min(...u)).toBeGreaterThan(0)
    expect(Math.max(...u)).toBeLessThan(1)
    expect(Math.abs(moment(u, 1) - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n))
    const k = run(ops.randomInt(key(7), [n], { bound: 5 }))
    for (let v = 0; v < 5; v++) {
      const share = k.filter((w) => w === v).length / n
      expect(Math.abs(share - 0.2)).toBeLessThan(4 * Math.sqrt(0.16 / n))
    }
    const logits = ops.broadcast(ops.log(row(0.5, 0.3, 0.2)), [n, 3])
    const drawn = run(ops.categorical(key(7), logits))
    for (const [c, p] of [0.5, 0.3, 0.2].entries()) {
      const share = drawn.filter((w) => w === c).length / n
      expect(Math.abs(share - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / n))
    }
  })

  it('differ by seed, step and stream, and by nothing else', () => {
    const a = run(ops.normal(key(1, 2), [8], 3))
    expect(run(ops.normal(key(1, 2), [2, 4], 3))).toEqual(a)
    for (const other of [ops.normal(key(2, 2), [8], 3), ops.normal(key(1, 3), [8], 3), ops.normal(key(1, 2), [8], 4)]) {
      expect(run(other)).not.toEqual(a)
    }
  })

  it('shuffle every row once an epoch, in another order the next', () => {
    for (const [n, count] of [
      [1, 1],
      [2, 1],
      [5, 5],
      [64, 8],
      [100, 25],
    ] as const) {
      const epoch = (e: number) =>
        Array.from({ length: n / count }, (_, s) =>
          run(ops.shuffleIndex(key(3, (e * n) / count + s), { n, count })),
        ).flat()
      const sorted = Array.from({ length: n }, (_, i) => i)
      expect(epoch(0).sort((a, b) => a - b)).toEqual(sorted)
      if (n > 4) expect(epoch(1)).not.toEqual(epoch(0))
      expect(epoch(1).sort((a, b) => a - b)).toEqual(sorted)
    }
  })
})

describe('keys', () => {
  it('count steps across both words', () => {
    const next = (step: bigint) => run(ops.nextKey(key(5, step)))
    for (const step of [0n, 41n, 0x7fffffffn, 0xfffffffen, 0xffffffffn, 0x5ffffffffn]) {
      expect(next(step)).toEqual([...ops.seedKey(5, step + 1n)])
    }
    expect(next(0xffffffffffffffffn)).toEqual([5, 0, 0, 0])
    expect([...ops.seedKey(0x1_0000_0002n, 0xffffffffn)]).toEqual([2, 1, -1, 0])
  })
})

describe('functions', () => {
  it('erf meets tabulated values', () => {
    // Abramowitz & Stegun, table 7.1, and erfc(3) = 2.20904969985854e-5.
    expect(erfReference(0.5)).toBeCloseTo(0.5204998778, 10)
    expect(erfReference(1)).toBeCloseTo(0.8427007929, 10)
    expect(erfReference(-2)).toBeCloseTo(-0.995322265, 9)
    expect(1 - erfReference(3)).toBeCloseTo(2.20904969985854e-5, 15)
    expect(erfReference(2.4999999)).toBeCloseTo(erfReference(2.5000001), 7)
    expect(erfReference(Number.NEGATIVE_INFINITY)).toBe(-1)
    expect(erfReference(Number.NaN)).toBeNaN()
  })

  it('round takes halves to even', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -2.51].map(roundHalfEven)).toEqual([0, 2, 2, -0, -2, 0, -3])
  })

  it('the softmax family keeps its identities', () => {
    const x = row(1, 2, 3)
    const z = Math.log(Math.exp(1) + Math.exp(2) + Math.exp(3))
    expect(run(ops.logsumexp(x))[0]).toBeCloseTo(z, 12)
    run(ops.softmax(x)).forEach((p, i) => {
      expect(p).toBeCloseTo(Math.exp(i + 1 - z), 12)
    })
    const logits = ops.reshape(x, [1, 3])
    expect(run(ops.softmaxCrossEntropy(logits, ops.constant(Int32Array.of(1), [1])))[0]).toBeCloseTo(z - 2, 12)
  })

  it('normalize gives zero mean and unit variance', () => {
    const y = run(ops.normalize(row(1, 2, 3, 6), -1, { eps: 0 }))
    const s = Math.sqrt(3.5)
    ;[-2, -1, 0, 3].forEach((d, i) => {
      expect(y[i]).toBeCloseTo(d / s, 12)
    })
    const { mean, variance } = ops.moments(row(1e6, 1e6 + 1, 1e6 + 2))
    expect([run(mean)[0], run(variance)[0]]).toEqual([expect.closeTo(1e6 + 1, 5), expect.closeTo(2 / 3, 6)])
  })
})

describe('images', () => {
  const image = ops.constant([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 1, 3, 3])

  it('conv2d does not flip its kernel', () => {
    expect(run(ops.conv2d(image, ops.constant([1, 2, 3, 4], [1, 1, 2, 2])))).toEqual([37, 47, 67, 77])
    // top, left, bottom, right: one row above and one column right.
    expect(
      run(ops.conv2d(image, ops.constant([1, 0, 0, 1], [1, 1, 2, 2]), { padding: [1, 0, 0, 1], stride: 2 })),
    ).toEqual([2, 0, 12, 6])
  })

  it('groups keep to their channels', () => {
    const x = ops.constant([1, 2, 3, 4], [1, 4, 1, 1])
    const w = ops.constant([1, 10, 100, 1000], [2, 2, 1, 1])
    expect(run(ops.conv2d(x, w, { groups: 2 }))).toEqual([21, 4300])
  })

  it('pools', () => {
    expect(run(ops.avgpool2d(image, { kernel: 2, stride: 1 }))).toEqual([3, 4, 6, 7])
    expect(run(ops.avgpool2d(image, { kernel: 2, stride: 2, padding: 1 }))).toEqual([0.25, 1.25, 2.75, 7])
    const inside = ops.avgpool2d(image, { kernel: 2, stride: 2, padding: 1, countIncludePad: false })
    expect(run(inside)).toEqual([1, 2.5, 5.5, 7])
    expect(run(ops.maxpool2d(image, { kernel: 2, stride: 1 }))).toEqual([5, 6, 8, 9])
  })

  it('resizes', () => {
    const x = ops.constant([0, 1, 2, 3], [1, 1, 2, 2])
    expect(run(ops.resize2d(x, { size: [2, 4] }))).toEqual([0, 0, 1, 1, 2, 2, 3, 3])
    expect(run(ops.resize2d(x, { size: [1, 4], mode: 'bilinear' }))).toEqual([1, 1.25, 1.75, 2])
    const aligned = run(ops.resize2d(x, { size: [2, 3], mode: 'bilinear', alignCorners: true }))
    expect(aligned).toEqual([0, 0.5, 1, 2, 2.5, 3])
  })

  it('crops with reflection and mirrors', () => {
    const flip = (on: number) => ops.constant([on], [1], 'bool')
    const crop = (dy: number, dx: number, on: number) =>
      run(ops.cropFlip(image, ops.constant(Int32Array.of(dy, dx), [1, 2]), flip(on), { pad: 1 }))
    expect(crop(1, 1, 0)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(crop(1, 1, 1)).toEqual([3, 2, 1, 6, 5, 4, 9, 8, 7])
    expect(crop(0, 1, 0)).toEqual([4, 5, 6, 1, 2, 3, 4, 5, 6])
    expect(crop(2, 2, 1)).toEqual([5, 6, 5, 8, 9, 8, 5, 6, 5])
  })
})
