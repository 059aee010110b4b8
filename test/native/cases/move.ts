/** transpose, slice, pad and concat on a device, element by element: any rank to 8, four-byte and one-byte elements, images in both orders, empty boxes. */
import { describe, expect, test } from 'vitest'
import { type DType, sizeOf } from '../../../lib/graph/shape.ts'
import { addon } from '../../../lib/runtime/addon.ts'
import { type Array64, between, expectOp, type Random } from '../one-op.ts'
import { compileRaw, generator } from '../plan-json.ts'

type Shape = readonly number[]

/** Distinct numbers, so that a misplaced element shows. */
function counted(shape: Shape, from = 1): Array64 {
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, i) => from + i) }
}

function indexOf(shape: Shape, linear: number): number[] {
  let rest = linear
  return shape
    .toReversed()
    .map((n) => {
      const at = rest % n
      rest = Math.floor(rest / n)
      return at
    })
    .toReversed()
}

function linearOf(shape: Shape, index: readonly number[]): number {
  return shape.reduce((sum, n, d) => sum * n + (index[d] as number), 0)
}

function transpose(x: Array64, perm: readonly number[]): Array64 {
  const shape = perm.map((p) => x.shape[p] as number)
  const data = new Float64Array(sizeOf(shape))
  data.forEach((_, i) => {
    const out = indexOf(shape, i)
    const index: number[] = []
    perm.forEach((p, d) => {
      index[p] = out[d] as number
    })
    data[i] = x.data[linearOf(x.shape, index)] as number
  })
  return { shape, data }
}

function slice(x: Array64, start: Shape, stop: Shape, step: Shape): Array64 {
  const at = (list: Shape, d: number): number => list[d] as number
  const shape = x.shape.map((_, d) => Math.ceil((at(stop, d) - at(start, d)) / at(step, d)))
  const data = new Float64Array(sizeOf(shape))
  data.forEach((_, i) => {
    const index = indexOf(shape, i).map((v, d) => at(start, d) + v * at(step, d))
    data[i] = x.data[linearOf(x.shape, index)] as number
  })
  return { shape, data }
}

function pad(x: Array64, low: Shape, high: Shape, interior: Shape, value: number): Array64 {
  const at = (list: Shape, d: number): number => list[d] as number
  const shape = x.shape.map((n, d) => at(low, d) + (n === 0 ? 0 : n + (n - 1) * at(interior, d)) + at(high, d))
  const data = new Float64Array(sizeOf(shape)).fill(value)
  x.data.forEach((v, i) => {
    const index = indexOf(x.shape, i).map((k, d) => at(low, d) + k * (at(interior, d) + 1))
    data[linearOf(shape, index)] = v
  })
  return { shape, data }
}

function concat(parts: readonly Array64[], axis: number): Array64 {
  const shape = (parts[0] as Array64).shape.map((n, d) =>
    d === axis ? parts.reduce((sum, p) => sum + (p.shape[d] as number), 0) : n,
  )
  const data = new Float64Array(sizeOf(shape))
  let offset = 0
  for (const p of parts) {
    p.data.forEach((v, i) => {
      const index = indexOf(p.shape, i)
      index[axis] = (index[axis] as number) + offset
      data[linearOf(shape, index)] = v
    })
    offset += p.shape[axis] as number
  }
  return { shape, data }
}

const list = (n: number, draw: (d: number) => number): number[] => Array.from({ length: n }, (_, d) => draw(d))
const shuffled = (random: Random, n: number): number[] => {
  const keyed = list(n, () => random())
  return list(n, (d) => d).sort((a, b) => (keyed[a] as number) - (keyed[b] as number))
}
const shapeOf = (r: Random, rank: number): number[] => list(rank, () => (r() < 0.05 ? 0 : between(r, 1, 5)))

/** Defines the tests. */
export function testMoves(device: string): void {
  const random = generator(21)

  describe('transpose', () => {
    const table: [Shape, Shape][] = [
      [[], []],
      [[7], [0]],
      [
        [5, 1],
        [1, 0],
      ],
      [
        [65, 130],
        [1, 0],
      ],
      [
        [300, 200],
        [1, 0],
      ],
      [
        [3, 33, 34],
        [0, 2, 1],
      ],
      [
        [4, 16, 8, 8],
        [0, 2, 3, 1],
      ],
      [
        [4, 8, 8, 16],
        [0, 3, 1, 2],
      ],
      [
        [2, 3, 4, 5],
        [3, 2, 1, 0],
      ],
      [
        [2, 0, 3],
        [2, 1, 0],
      ],
      [
        [2, 1, 3, 2, 1, 2, 3, 2],
        [7, 0, 6, 1, 5, 2, 4, 3],
      ],
    ]
    test.each(table)('%j by %j', async (shape, perm) => {
      const x = counted(shape)
      await expectOp('transpose', [x], { perm }, transpose(x, perm), 0, device)
    })
    test('a seeded sweep', async () => {
      for (let i = 0; i < 25; i++) {
        const x = counted(shapeOf(random, between(random, 1, 6)))
        const perm = shuffled(random, x.shape.length)
        await expectOp('transpose', [x], { perm }, transpose(x, perm), 0, device)
      }
    })
  })

  describe('slice', () => {
    const table: [Shape, Shape, Shape, Shape][] = [
      [[10], [2], [9], [3]],
      [
        [4, 6],
        [0, 0],
        [4, 6],
        [1, 1],
      ],
      [
        [4, 6],
        [2, 3],
        [2, 3],
        [1, 1],
      ],
      [
        [6, 32, 4, 4],
        [2, 16, 0, 1],
        [5, 32, 4, 3],
        [2, 1, 1, 1],
      ],
      [
        [6, 32, 4, 4],
        [0, 3, 0, 0],
        [6, 19, 4, 4],
        [1, 1, 2, 3],
      ],
      [
        [64, 3, 32, 32],
        [0, 0, 5, 6],
        [64, 3, 21, 30],
        [1, 1, 1, 1],
      ],
    ]
    test.each(table)('%j from %j to %j by %j', async (shape, start, stop, step) => {
      const x = counted(shape)
      await expectOp('slice', [x], { start, stop, step }, slice(x, start, stop, step), 0, device)
    })
    test('a seeded sweep', async () => {
      for (let i = 0; i < 25; i++) {
        const x = counted(shapeOf(random, between(random, 1, 6)))
        const start = x.shape.map((n) => between(random, 0, n))
        const stop = x.shape.map((n, d) => between(random, start[d] as number, n))
        const step = x.shape.map(() => between(random, 1, 3))
        await expectOp('slice', [x], { start, stop, step }, slice(x, start, stop, step), 0, device)
      }
    })
  })

  describe('pad', () => {
    const table: [Shape, Shape, Shape, Shape, number][] = [
      [[3], [1], [2], [1], 5],
      [[3, 4], [0, 0], [0, 0], [0, 0], 9],
      [[2, 16, 4, 4], [0, 0, 1, 1], [0, 0, 2, 1], [0, 0, 1, 0], -1.5],
      [[2, 16, 4, 4], [0, 16, 0, 0], [1, 32, 0, 0], [0, 0, 0, 0], 2],
      [[2, 16, 4, 4], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], Number.NEGATIVE_INFINITY],
      [[0, 3], [1, 1], [1, 0], [2, 2], 4],
    ]
    test.each(table)('%j by %j, %j, interior %j', async (shape, low, high, interior, value) => {
      const x = counted(shape)
      const want = pad(x, low, high, interior, value)
      await expectOp(
        'pad',
        [x],
        { low, high, interior, value: Number.isFinite(value) ? value : String(value) },
        want,
        0,
        device,
      )
    })
    test('a seeded sweep', async () => {
      for (let i = 0; i < 25; i++) {
        const x = counted(shapeOf(random, between(random, 1, 6)))
        const draw = (): number[] => x.shape.map(() => between(random, 0, 2))
        const [low, high, interior] = [draw(), draw(), draw()]
        await expectOp('pad', [x], { low, high, interior, value: 0.5 }, pad(x, low, high, interior, 0.5), 0, device)
      }
    })
  })

  describe('concat', () => {
    const table: [Shape[], number][] = [
      [[[3]], 0],
      [[[2], [0], [5]], 0],
      [
        [
          [2, 3],
          [2, 4],
        ],
        1,
      ],
      [
        [
          [64, 3, 32, 32],
          [64, 3, 32, 32],
        ],
        0,
      ],
      [
        [
          [2, 16, 3, 3],
          [1, 16, 3, 3],
        ],
        0,
      ],
      [
        [
          [2, 16, 3, 3],
          [2, 32, 3, 3],
          [2, 16, 3, 3],
        ],
        1,
      ],
      [
        [
          [2, 16, 3, 3],
          [2, 5, 3, 3],
        ],
        1,
      ],
      [
        [
          [2, 16, 3, 3],
          [2, 16, 3, 2],
        ],
        3,
      ],
    ]
    test.each(table)('%j along %j', async (shapes, axis) => {
      const parts = shapes.map((s, i) => counted(s, 1 + 100_000 * i))
      await expectOp('concat', parts, { axis }, concat(parts, axis), 0, device)
    })
  })

  describe('other dtypes', () => {
    /** Runs one op on tensors of a dtype; the plan has no layout to choose. */
    async function run(
      dtype: DType,
      op: string,
      attr: Record<string, unknown>,
      x: Array64,
      want: Array64,
    ): Promise<void> {
      const plan = await compileRaw(
        {
          version: 1,
          values: [
            { dtype, shape: x.shape },
            { dtype, shape: want.shape },
          ],
          inputs: [0],
          constants: [],
          outputs: [{ value: 1, alias: null }],
          code: [{ op, in: [0], out: [1], attr }],
        },
        undefined,
        device,
      )
      const [input, output] = [
        new (addon().Tensor)(dtype, x.shape, device),
        new (addon().Tensor)(dtype, want.shape, device),
      ]
      const typed = dtype === 'int32' ? Int32Array.from(x.data) : Uint8Array.from(x.data)
      await input.write(typed)
      await plan.run([input], [output])
      expect([...(await output.read())]).toEqual([...want.data])
      plan.dispose()
    }
    const bytes = (shape: Shape, modulus: number): Array64 => ({
      shape,
      data: counted(shape).data.map((v) => v % modulus),
    })

    for (const [dtype, modulus] of [
      ['int32', 2 ** 31],
      ['uint8', 251],
      ['bool', 2],
    ] as const) {
      test(dtype, async () => {
        const x = bytes([5, 40, 37], modulus)
        await run(dtype, 'transpose', { perm: [2, 0, 1] }, x, transpose(x, [2, 0, 1]))
        const [start, stop, step] = [
          [1, 0, 3],
          [5, 40, 36],
          [2, 1, 5],
        ] as const
        await run(dtype, 'slice', { start, stop, step }, x, slice(x, start, stop, step))
        const [low, high, interior] = [
          [0, 1, 2],
          [1, 0, 0],
          [1, 0, 2],
        ] as const
        await run(dtype, 'pad', { low, high, interior, value: 1 }, x, pad(x, low, high, interior, 1))
        await run(dtype, 'concat', { axis: 1 }, x, x)
      })
    }
  })
}
