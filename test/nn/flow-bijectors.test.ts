/** Every bijector in the float64 interpreter: inverses, Jacobian determinants by differences, starts at the identity, and what is refused. */
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { fixedAffine, logit, luLinear, multiScaleSplit, permutation, squeeze2x2 } from '../../lib/nn/flow-bijectors.ts'
import {
  affineMap,
  checkerboard,
  conditioner,
  coupling,
  elementwiseMap,
  halves,
  splineMap,
} from '../../lib/nn/flow-coupling.ts'
import { Scope } from '../../lib/nn/variables.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { at, bijectorCases, largestDifference, numericalLogDet, reference, refPattern, run } from './flow-cases.ts'

describe('every bijector', () => {
  for (const { name, shape, bijector, range = 2.5 } of bijectorCases) {
    test(`${name}: the inverse undoes it, and logDet is that of its Jacobian`, () => {
      const x = refPattern([3, ...shape], 7, range)
      const [z, logDet] = run(bijector, 'forward', x)
      const [back, backDet] = run(bijector, 'inverse', z)
      expect(back.shape).toEqual(x.shape)
      expect(largestDifference(back.data, x.data)).toBeLessThan(1e-9)
      expect(
        largestDifference(
          backDet.data,
          logDet.data.map((v) => -v),
        ),
      ).toBeLessThan(1e-8)
      const d = sizeOf(shape)
      for (const row of [0, 2]) {
        const example = x.data.slice(row * d, (row + 1) * d)
        const numeric = numericalLogDet((rows) => run(bijector, 'forward', rows)[0], example, shape)
        expect(at(logDet.data, row)).toBeCloseTo(numeric, 6)
      }
    })
  }

  test('most cases change volume, or the determinants would have nothing to show', () => {
    const changing = bijectorCases.filter(({ shape, bijector, range = 2.5 }) => {
      const [, logDet] = run(bijector, 'forward', refPattern([3, ...shape], 7, range))
      return Math.abs(at(logDet.data, 0)) > 1e-3
    })
    expect(changing.length).toBeGreaterThanOrEqual(bijectorCases.length - 5)
  })
})

describe('single bijectors', () => {
  test('squeeze puts the four pixels of a square into channels, row by row', () => {
    const x: RefArray = { shape: [1, 1, 2, 4], data: Float64Array.from([0, 1, 2, 3, 4, 5, 6, 7]) }
    const [z] = run(squeeze2x2([1, 2, 4]), 'forward', x)
    expect(z.shape).toEqual([1, 4, 1, 2])
    expect([...z.data]).toEqual([0, 2, 1, 3, 4, 6, 5, 7])
  })

  test('LU mixing of many channels inverts as exactly as its condition allows', () => {
    // Entries of ±0.6 / 37: well conditioned, 37 is no power of two.
    const bijector = luLinear([37])
    const x = refPattern([2, 37], 3, 1)
    const through = reference(
      x,
      (t, variables) => {
        const scope = new Scope('', { variables, norm: 'running' })
        return [bijector.inverse(bijector.forward(t, scope).value, scope).value]
      },
      0.3,
    )
    expect(largestDifference((through[0] as RefArray).data, x.data)).toBeLessThan(1e-7)
  })

  test('a spline is the identity beyond its bound, and bends within', () => {
    const raw = refPattern([1, 1, 14], 5, 2)
    const at3: RefArray = { shape: [4, 1], data: Float64Array.from([-7, -2.001, 2.001, 100]) }
    const x = ops.input('x', [4, 1])
    const params = ops.input('raw', [4, 14])
    const map = splineMap({ bins: 5, bound: 2 })
    const { value, logDet } = map.apply(x, params, 'forward')
    const rows = { shape: [4, 14], data: Float64Array.from({ length: 56 }, (_, i) => at(raw.data, i % 14)) }
    const feeds = new Map([
      [x, at3],
      [params, rows],
    ])
    const [outside, flat] = evaluateReference([value, logDet], feeds) as [RefArray, RefArray]
    expect([...outside.data]).toEqual([...at3.data])
    expect([...flat.data]).toEqual([0, 0, 0, 0])
    feeds.set(x, { shape: [4, 1], data: Float64Array.from([-1.9, -0.5, 0.4, 1.7]) })
    const [inside] = evaluateReference([value], feeds) as [RefArray]
    expect(Math.abs(at(inside.data, 1) + 0.5)).toBeGreaterThan(0.05)
  })

  test('a spline is monotone and once differentiable across its knots', () => {
    const map = splineMap({ bins: 5, bound: 2 })
    const raw = refPattern([14], 11, 2)
    // Of a continuous derivative, a grid four times as fine shows steps a quarter as large; of a jump, the jump.
    const largestStep = (n: number): number => {
      const x = ops.input('x', [n, 1])
      const params = ops.input('raw', [n, 14])
      const { value, logDet } = map.apply(x, params, 'forward')
      const [slope] = grad(ops.sum(value), [x]) as [Tensor]
      const grid = Float64Array.from({ length: n }, (_, i) => -2.1 + (4.2 * i) / (n - 1))
      const rows = Float64Array.from({ length: n * 14 }, (_, i) => at(raw.data, i % 14))
      const feeds = new Map([
        [x, { shape: [n, 1], data: grid }],
        [params, { shape: [n, 14], data: rows }],
      ])
      const [y, l, s] = evaluateReference([value, logDet, slope], feeds) as [RefArray, RefArray, RefArray]
      expect(y.data.every((v, i) => i === 0 || v > at(y.data, i - 1))).toBe(true)
      expect(largestDifference(s.data.map(Math.log), l.data)).toBeLessThan(1e-9)
      return Math.max(...s.data.map((v, i) => (i === 0 ? 0 : Math.abs(v - at(s.data, i - 1)))))
    }
    expect(largestStep(8001) / largestStep(2001)).toBeLessThan(0.35)
  })

  test('beyond the support of the logit the density is zero', () => {
    const x: RefArray = { shape: [3, 1], data: Float64Array.from([0.9, 1.2, -1.2]) }
    const [, logDet] = run(logit(0.05), 'forward', x)
    expect(Number.isFinite(at(logDet.data, 0))).toBe(true)
    expect([...logDet.data.slice(1)]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])
  })

  test('the checkerboard leaves the given pixels as they are', () => {
    const shape = [1, 3, 3]
    const x = refPattern([1, ...shape], 2, 1)
    for (const parity of [0, 1] as const) {
      const [z] = run(coupling(checkerboard(shape, parity), affineMap(), { channels: 3 }), 'forward', x)
      const kept = [...z.data].map((v, i) => v === at(x.data, i))
      expect(kept).toEqual(Array.from({ length: 9 }, (_, i) => (Math.floor(i / 3) + (i % 3)) % 2 === parity))
    }
  })
})

describe('what is refused', () => {
  const refusals: [string, () => unknown, RegExp][] = [
    ['a scale of 0', () => fixedAffine([2], { shift: 0, scale: [1, 0] }), /scale must be positive; got 0/],
    ['shifts of another number', () => fixedAffine([2], { shift: [1, 2, 3], scale: 1 }), /shift must be .* 2 of them/],
    ['a permutation with repeats', () => permutation([0, 0, 1]), /holds 0\.\.2 once each/],
    ['a permutation of another size', () => luLinear([3], [1, 0]), /must have 3 entries; got 2/],
    ['an odd image', () => squeeze2x2([1, 3, 4]), /must be even/],
    ['a vector for an image', () => squeeze2x2([4]), /takes images/],
    ['one channel to split', () => multiScaleSplit([1, 2, 2], permutation([0])), /2 channels or more/],
    ['one feature to couple', () => halves([1]), /2 channels or features/],
    ['a margin of a half', () => logit(0.5), /alpha must lie between 0 and 0\.5; got 0\.5/],
    ['a log scale of 0', () => affineMap(0), /maxLogScale must be positive/],
    ['one bin', () => splineMap({ bins: 1 }), /bins must be an integer ≥ 2; got 1/],
    ['bins wider than there is room', () => splineMap({ bins: 8, minBinWidth: 0.2 }), /minBinWidth must lie/],
    ['a bound of 0', () => splineMap({ bound: 0 }), /bound must be positive/],
    ['a steep least derivative', () => splineMap({ minDerivative: 1 }), /minDerivative/],
    ['rank 2 examples', () => conditioner([2, 3], 4), /takes vectors/],
    ['a misspelled map', () => elementwiseMap('afine' as 'affine'), /Did you mean 'affine'/],
  ]
  for (const [name, build, message] of refusals) {
    test(name, () => expect(build).toThrow(message))
  }
})
