/**
 * Kernels of a device that read and write by index, and those of the data path, against naive loops: clamping, repeats, in place, threads. Not a test
 * itself.
 */
import { describe, expect, test } from 'vitest'
import { sizeOf } from '../../../lib/graph/shape.ts'
import { bytes, expectSame, floats, type Instruction, ints, runInstruction, type Value } from '../instruction.ts'
import { generator } from '../plan-json.ts'

const random = generator(5)
const between = (n: number, low: number, high: number) => Array.from({ length: n }, () => low + (high - low) * random())
export const normalish = (shape: readonly number[]) => floats(shape, between(sizeOf(shape), -1, 1))
export const integers = (shape: readonly number[], low: number, high: number) =>
  ints(shape, between(sizeOf(shape), low, high + 1).map(Math.floor))
const clamp = (i: number, n: number) => Math.min(n - 1, Math.max(0, i))
const at = (v: Value, i: number) => v.data[i] as number

interface Axis {
  readonly outer: number
  readonly length: number
  readonly inner: number
}
function around(shape: readonly number[], axis: number): Axis {
  return { outer: sizeOf(shape.slice(0, axis)), length: shape[axis] as number, inner: sizeOf(shape.slice(axis + 1)) }
}
/** Visits (offset in x, offset in the gathered tensor). */
function eachGathered({ outer, length, inner }: Axis, indices: Value, visit: (x: number, g: number) => void): void {
  const count = indices.data.length
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < inner; j++)
        visit((o * length + clamp(at(indices, i), length)) * inner + j, (o * count + i) * inner + j)
    }
  }
}

const cases: [number[], number, number[]][] = [
  [[5, 3], 0, [7]],
  [[5, 3], 1, []],
  [[4, 6, 2], 1, [2, 3]],
  [[3, 5, 300], 1, [90]],
  [[1000, 70], 0, [900]],
  [[600, 130], 1, [130]],
  [[2, 3], 0, [0]],
  [[50, 32], 0, [33]],
  // Long lists: CUDA sorts them, by as many bytes as the axis's length has.
  [[200, 3], 0, [20_000]],
  [[2, 70_000], 1, [20_000]],
]

/** Defines the tests. */
export function testIndices(device: string): void {
  // Elsewhere than on the CPU there is nothing to divide among threads: the same bits must come out again.
  const teams = device === 'cpu' ? [1, 2] : [1, 1]
  const run = (i: Omit<Instruction, 'device'>) => runInstruction({ ...i, device })

  describe.each(cases)('%j along %i by %j', (shape, axis, indexShape) => {
    const indices = integers(indexShape, -2, (shape[axis] as number) + 1)
    const gathered = [...shape.slice(0, axis), ...indexShape, ...shape.slice(axis + 1)]
    const geometry = around(shape, axis)

    test('gather', async () => {
      for (const x of [normalish(shape), bytes(shape, between(sizeOf(shape), 0, 256).map(Math.floor))]) {
        const want = new Array<number>(sizeOf(gathered))
        eachGathered(geometry, indices, (from, to) => {
          want[to] = at(x, from)
        })
        for (const threads of teams) {
          const outputs = [{ dtype: x.dtype, shape: gathered }]
          const [got] = await run({ op: 'gather', inputs: [x, indices], outputs, attr: { axis }, threads })
          expect([...(got as Float32Array)]).toEqual(want)
        }
      }
    })

    test('scatter_add, also in place', async () => {
      const whole = (v: readonly number[]) => integers(v, -(2 ** 31), 2 ** 31 - 1)
      for (const [x, updates] of [
        [normalish(shape), normalish(gathered)],
        [whole(shape), whole(gathered)],
      ] as const) {
        const want = x.data.slice()
        eachGathered(geometry, indices, (to, from) => {
          want[to] = (want[to] as number) + at(updates, from) // rounds, or wraps around, as it is stored
        })
        for (const alias of [new Map<number, number>(), new Map([[0, 0]])]) {
          for (const threads of teams) {
            const [got] = await run({
              op: 'scatter_add',
              inputs: [x, indices, updates],
              outputs: [{ dtype: x.dtype, shape }],
              attr: { axis },
              threads,
              alias,
            })
            expectSame(got, want)
          }
        }
      }
    })
  })

  test('scatter_rows: the last of equal rows wins, also in place', async () => {
    for (const [n, d, count] of [
      [6, 5, 9],
      [40, 20_000, 60],
      [5, 48, 70],
      [1000, 3, 20_000],
    ] as const) {
      const indices = integers([count], -1, n)
      const pixels = (shape: readonly number[]) => bytes(shape, between(sizeOf(shape), 0, 256).map(Math.floor))
      for (const [x, rows] of [
        [normalish([n, d]), normalish([count, d])],
        [pixels([n, d]), pixels([count, d])],
      ] as const) {
        const want = x.data.slice()
        for (let i = 0; i < count; i++) want.set(rows.data.subarray(i * d, (i + 1) * d), clamp(at(indices, i), n) * d)
        for (const alias of [new Map<number, number>(), new Map([[0, 0]])]) {
          const outputs = [{ dtype: x.dtype, shape: [n, d] }]
          const [got] = await run({
            op: 'scatter_rows',
            inputs: [x, indices, rows],
            outputs,
            attr: {},
            threads: 2,
            alias,
          })
          expectSame(got, want)
        }
      }
    }
  })

  test('argmax: the first of equals, NaN largest', async () => {
    for (const [shape, axis] of [
      [[64, 10], 1],
      [[10, 64], 0],
      [[3, 7, 5], 1],
      [[300, 300], 0],
      [[3, 1000], 1],
      [[2, 129, 3], 1],
      [[130, 9000], 0],
      [[1, 1], 0],
    ] as [number[], number][]) {
      const { outer, length, inner } = around(shape, axis)
      for (const x of [
        floats(
          shape,
          between(sizeOf(shape), -3, 3).map((v) => (random() < 0.5 / length ? Number.NaN : Math.round(v))),
        ),
        integers(shape, -100, 100),
      ]) {
        const want: number[] = []
        for (let e = 0; e < outer * inner; e++) {
          const column = Array.from({ length }, (_, k) =>
            at(x, (Math.floor(e / inner) * length + k) * inner + (e % inner)),
          )
          const nan = column.findIndex(Number.isNaN)
          want.push(nan >= 0 ? nan : column.indexOf(Math.max(...column)))
        }
        const outputs = [{ dtype: 'int32' as const, shape: shape.filter((_, i) => i !== axis) }]
        const [got] = await run({ op: 'argmax', inputs: [x], outputs, attr: { axis }, threads: 2 })
        expect([...(got as Int32Array)]).toEqual(want)
      }
    }
  })

  test('crop_flip reflects, crops and mirrors float32 and uint8 images', async () => {
    const mirror = (i: number, n: number) => (i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i)
    for (const [shape, pad] of [
      [[3, 1, 8, 8], 2],
      [[2, 2, 5, 7], 4],
      [[64, 3, 32, 32], 4],
      [[2, 1, 4, 4], 0],
    ] as [number[], number][]) {
      const [n, c, h, w] = shape as [number, number, number, number]
      const [offsets, flip] = [integers([n, 2], -1, 2 * pad + 1), bytes([n], between(n, 0, 2).map(Math.floor), 'bool')]
      for (const x of [normalish(shape), bytes(shape, between(sizeOf(shape), 0, 256).map(Math.floor))]) {
        const want = Array.from({ length: sizeOf(shape) }, (_, e) => {
          const [plane, i, j] = [Math.floor(e / (h * w)), Math.floor(e / w) % h, e % w]
          const image = Math.floor(plane / c)
          const [dy, dx] = [0, 1].map((k) => clamp(at(offsets, 2 * image + k), 2 * pad + 1) - pad) as [number, number]
          const column = at(flip, image) !== 0 ? w - 1 - j : j
          return at(x, (plane * h + mirror(i + dy, h)) * w + mirror(column + dx, w))
        })
        const outputs = [{ dtype: x.dtype, shape }]
        for (const order of [{}, { blocked: shape }]) {
          const inputs = [x, offsets, flip]
          const [got] = await run({ op: 'crop_flip', inputs, outputs, attr: { pad }, threads: 2, ...order })
          expect([...(got as Float32Array)]).toEqual(want)
        }
      }
    }
  })

  test('gaussian_rows', async () => {
    for (const [n, d, r] of [
      [1, 1, 1],
      [3, 7, 33],
      [17, 100, 64],
      [40, 300, 300],
      [5, 4, 0],
      [0, 4, 3],
    ] as const) {
      const c = 4
      const [mean, factor, z] = [normalish([c, d]), normalish([c, d, r]), normalish([n, r])]
      const [mask, classes] = [
        bytes(
          [n],
          between(n, 0, 3).map((v) => Number(v > 1)),
          'bool',
        ),
        integers([n], -1, c),
      ]
      const results = []
      for (const threads of teams) {
        const outputs = [{ dtype: 'float32' as const, shape: [n, d] }]
        const [got] = await run({
          op: 'gaussian_rows',
          inputs: [mask, classes, mean, factor, z],
          outputs,
          attr: {},
          threads,
        })
        results.push(got as Float32Array)
      }
      expect(results[1]).toEqual(results[0])
      results[0]?.forEach((value, e) => {
        const [i, j] = [Math.floor(e / d), e % d]
        const k = clamp(at(classes, i), c)
        let want = at(mean, k * d + j)
        for (let q = 0; q < r; q++) want += at(factor, (k * d + j) * r + q) * at(z, i * r + q)
        expect(Math.abs(value - (at(mask, i) === 0 ? 0 : want))).toBeLessThan(1e-4)
      })
    }
  })

  test('copy', async () => {
    for (const x of [normalish([1_000_003]), bytes([5], [1, 2, 3, 4, 5]), ints([0], [])]) {
      const [got] = await run({
        op: 'copy',
        inputs: [x],
        outputs: [{ dtype: x.dtype, shape: x.shape }],
        attr: {},
        threads: 2,
      })
      expectSame(got, x.data)
    }
  })
}
