/**
 * Random numbers of a device: known answers, the JavaScript definitions (lib/ops/philox.ts) element for element, threads, permutations. Not a test
 * itself.
 */
import { describe, expect, test } from 'vitest'
import { normalsOf, shuffled, uniformOf, wordsOf } from '../../../lib/ops/philox.ts'
import { ints, runInstruction } from '../instruction.ts'

const key = [12345, -7, 99, -3]
const stream = 4_000_000_000

export async function drawOn(
  device: string,
  op: string,
  n: number,
  attr: Record<string, unknown> = {},
  threads = 2,
  own = key,
) {
  const [out] = await runInstruction({
    op,
    inputs: [ints([4], own)],
    outputs: [{ dtype: op === 'normal' || op === 'uniform' ? 'float32' : 'int32', shape: [n] }],
    attr: { shape: [n], stream, ...attr },
    threads,
    device,
  })
  return out as Float32Array | Int32Array
}

/** Defines the tests. */
export function testRandom(device: string): void {
  const draw = (op: string, n: number, attr: Record<string, unknown> = {}, threads = 2, own = key) =>
    drawOn(device, op, n, attr, threads, own)

  test('native words are those of the known answers', async () => {
    // Block 0 of stream 0 under a key of zeros is the first vector; the greatest bound shows all of a word but its last bit.
    const got = await draw('random_int', 4, { stream: 0, bound: 2 ** 31 - 1 }, 1, [0, 0, 0, 0])
    const want = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8].map((w) =>
      Number((BigInt(w) * BigInt(2 ** 31 - 1)) >> 32n),
    )
    expect([...got]).toEqual(want)
  })

  describe.each([1, 2, 3, 5, 64, 67, 1000, 50_003])('%i elements', (n) => {
    test('uniform is exactly its definition', async () => {
      const want = Float32Array.from(wordsOf(key, stream, n), uniformOf)
      for (const threads of device === 'cpu' ? [1, 2, 3] : [1])
        expect(await draw('uniform', n, {}, threads)).toEqual(want)
    })

    test('random_int is exactly its definition', async () => {
      for (const bound of [1, 7, 50_000, 2 ** 31 - 1]) {
        const want = Int32Array.from(wordsOf(key, stream, n), (w) => Number((BigInt(w) * BigInt(bound)) >> 32n))
        expect(await draw('random_int', n, { bound })).toEqual(want)
      }
    })

    test('normal is within 1e-6 of its definition, on any number of threads the same', async () => {
      const want = normalsOf(key, stream, n)
      const got = await draw('normal', n, {}, 1)
      want.forEach((w, i) => {
        expect(Math.abs((got[i] as number) - w)).toBeLessThan(1e-6)
      })
      expect(await draw('normal', n, {}, 2)).toEqual(got)
    })
  })

  test('normals have the moments of a normal', async () => {
    const n = 200_000
    const x = Float64Array.from(await draw('normal', n, { stream: 1 }))
    const moment = (k: number) => x.reduce((s, v) => s + v ** k, 0) / n
    // Variances of x, x², x³, x⁴ are 1, 2, 15, 96: four standard errors.
    for (const [k, want, variance] of [
      [1, 0, 1],
      [2, 1, 2],
      [3, 0, 15],
      [4, 3, 96],
    ] as const) {
      expect(Math.abs(moment(k) - want)).toBeLessThan(4 * Math.sqrt(variance / n))
    }
  })

  describe('shuffle_index', () => {
    const at = (n: number, count: number, step: number) =>
      draw('shuffle_index', count, { n, count, stream: 3 }, 1, [5, 6, step, 0])

    test('is its definition', async () => {
      for (const [n, count, step] of [
        [1, 1, 0],
        [2, 1, 3],
        [1797, 64, 5],
        [1797, 64, 200],
        [100_000, 1000, 99],
      ] as const) {
        const perEpoch = Math.floor(n / count)
        const first = (step % perEpoch) * count
        const want = Array.from({ length: count }, (_, i) =>
          shuffled(first + i, n, Math.floor(step / perEpoch), 3, [5, 6]),
        )
        expect([...(await at(n, count, step))]).toEqual(want)
      }
    })

    test('is a permutation for every n', async () => {
      for (let n = 1; n <= 2000; n += n < 70 ? 1 : 37) {
        expect([...(await at(n, n, 4))].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i))
      }
    })

    test('walks an epoch without repeats', async () => {
      const seen = new Set<number>()
      for (let step = 20; step < 30; step++) for (const i of await at(103, 10, step)) seen.add(i)
      expect(seen.size).toBe(100)
      expect([...(await at(103, 10, 20))]).not.toEqual([...(await at(103, 10, 30))])
    })
  })
}
