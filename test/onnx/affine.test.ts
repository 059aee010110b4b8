import { describe, expect, it } from 'vitest'
import { fitFloats, fitIntegers, showAffine } from '../../lib/onnx/affine.ts'

const batches = [11, 13, 17]
const at = (f: (b: number) => number): number[] => batches.map(f)
const rounded = (f: (b: number) => number): number[] => batches.map((b) => Math.fround(f(b)))

describe('fitIntegers', () => {
  it('finds lines with integer coefficients', () => {
    expect(
      fitIntegers(
        batches,
        at((b) => b),
      ),
    ).toEqual({ scale: 1, offset: 0, reciprocal: false })
    expect(
      fitIntegers(
        batches,
        at((b) => 3 * b - 2),
      ),
    ).toEqual({ scale: 3, offset: -2, reciprocal: false })
    expect(
      fitIntegers(
        batches,
        at(() => 7),
      ),
    ).toEqual({ scale: 0, offset: 7, reciprocal: false })
  })

  it('refuses what two sizes could not tell from a line', () => {
    expect(
      fitIntegers(
        batches,
        at((b) => b * b),
      ),
    ).toBeUndefined()
    expect(
      fitIntegers(
        batches,
        at((b) => (b * (b - 1)) / 2),
      ),
    ).toBeUndefined()
    expect(
      fitIntegers(
        batches,
        at((b) => Math.floor(b / 2)),
      ),
    ).toBeUndefined()
    expect(
      fitIntegers(
        batches,
        at((b) => (b + 1) / 2),
      ),
    ).toBeUndefined()
  })
})

describe('fitFloats', () => {
  it('finds means over the batch through float32 rounding', () => {
    for (const n of [1, 3, 64, 3072, 1e6 + 3]) {
      const fit = fitFloats(
        batches,
        rounded((b) => 1 / (b * n)),
      )
      expect(fit).toEqual({ scale: n, offset: 0, reciprocal: true })
    }
    expect(
      fitFloats(
        batches,
        rounded((b) => 1 / (b - 1)),
      ),
    ).toEqual({ scale: 1, offset: -1, reciprocal: true })
  })

  it('finds lines, and constants of any kind', () => {
    expect(
      fitFloats(
        batches,
        rounded((b) => -2 * b + 3),
      ),
    ).toEqual({ scale: -2, offset: 3, reciprocal: false })
    expect(
      fitFloats(
        batches,
        at(() => Number.POSITIVE_INFINITY),
      )?.offset,
    ).toBe(Number.POSITIVE_INFINITY)
    expect(
      fitFloats(
        batches,
        at(() => Number.NaN),
      )?.offset,
    ).toBeNaN()
    expect(
      Object.is(
        fitFloats(
          batches,
          at(() => -0),
        )?.offset,
        -0,
      ),
    ).toBe(true)
  })

  it('refuses other functions', () => {
    expect(
      fitFloats(
        batches,
        rounded((b) => 1 / (b * b)),
      ),
    ).toBeUndefined()
    expect(fitFloats(batches, rounded(Math.sqrt))).toBeUndefined()
    expect(fitFloats(batches, rounded(Math.log))).toBeUndefined()
    expect(fitFloats(batches, [1, Number.NaN, 3])).toBeUndefined()
  })
})

it('names dimensions', () => {
  expect(showAffine({ scale: 1, offset: 0, reciprocal: false })).toBe('batch')
  expect(showAffine({ scale: 2, offset: -1, reciprocal: false })).toBe('2*batch-1')
  expect(showAffine({ scale: 1, offset: 3, reciprocal: false })).toBe('batch+3')
})
