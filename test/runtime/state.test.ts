/** Keys from seeds: all 64 bits of either word pair, and seeds that are no integers refused by name. */
import { expect, test } from 'vitest'
import { keyFromSeed } from '../../lib/runtime/state.ts'

test('a key holds the seed and the step as pairs of words', () => {
  expect([...keyFromSeed(7, 3).data]).toEqual([7, 0, 3, 0])
  expect([...keyFromSeed(2 ** 32 + 5, 2 ** 33 + 1).data]).toEqual([5, 1, 1, 2])
  expect([...keyFromSeed(-1).data]).toEqual([-1, -1, 0, 0])
  expect([...keyFromSeed(1n << 63n).data]).toEqual([0, -(2 ** 31), 0, 0])
})

test('a seed that is no integer is refused by name', () => {
  for (const seed of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60])
    expect(() => keyFromSeed(seed)).toThrow(`seed must be an integer within ±(2^53 - 1); got ${seed}`)
})
