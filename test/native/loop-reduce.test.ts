/** Fused loops that reduce: any axes, plain and blocked, precision of long sums, NaN, nothing to reduce. */
import { describe, expect, test } from 'vitest'
import type { DType } from '../../lib/graph/shape.ts'
import { floats, runInstruction } from './instruction.ts'
import { between, checkLoop, draw, type Output, type Row } from './loop-reference.ts'

describe('reductions', () => {
  const five: Output[] = [
    { register: 2 },
    { register: 2, reduce: 'sum' },
    { register: 3, reduce: 'sum' },
    { register: 2, reduce: 'max' },
    { register: 3, reduce: 'min' },
  ]
  const program: Row[] = [
    ['sub', 0, 1],
    ['square', 2],
  ]
  const axesOf4 = [[0, 2, 3], [2, 3], [0], [1], [0, 1, 2, 3], [1, 2, 3], [3], [0, 1], [1, 3], [0, 2], []]
  const shapes = [
    [4, 32, 8, 8],
    [2, 16, 5, 7],
    [2, 6, 5, 4],
  ]
  test.each(
    shapes.flatMap(
      (s) =>
        [
          [s, false],
          [s, true],
        ] as [number[], boolean][],
    ),
  )('images %j, blocked %j', async (shape, blocked) => {
    for (const axes of axesOf4) {
      const inputs = [draw('float32', shape), draw('float32', [1, shape[1] as number, 1, 1])]
      await checkLoop(
        { shape, inputs, program, outputs: five, dtypes: five.map(() => 'float32'), axes, blocked },
        `axes ${axes}`,
      )
    }
  })

  test.each([
    [[64, 10]],
    [[256, 128]],
    [[3, 9000]],
    [[9000, 3]],
    [[1, 100]],
    [[7, 1000]],
    [[20, 30, 40]],
    [[2, 3, 5000]],
  ])('%j', async (shape) => {
    const outputs: Output[] = [
      { register: 2, reduce: 'sum' },
      { register: 1, reduce: 'sum' },
      { register: 1, reduce: 'max' },
      { register: 1, reduce: 'min' },
      { register: 0, reduce: 'min' },
    ]
    const dtypes: DType[] = ['float32', 'int32', 'int32', 'int32', 'float32']
    for (const axes of [[0], [1], [0, 1], shape.length > 2 ? [0, 2] : [1]]) {
      const inputs = [draw('float32', shape), draw('int32', shape)]
      await checkLoop({ shape, inputs, program: [['exp', 0]], outputs, dtypes, axes }, `axes ${axes}`)
    }
  })

  test('a mean of a million keeps float32 precision; NaN reaches sum, max and min', async () => {
    const n = 1_000_003
    const x = floats([n], between(n, 1000, 1001))
    const attr = {
      shape: [n],
      program: [],
      outputs: [
        { register: 0, reduce: 'sum' },
        { register: 0, reduce: 'max' },
        { register: 0, reduce: 'min' },
      ],
      axes: [0],
    }
    const outputs = attr.outputs.map(() => ({ dtype: 'float32' as const, shape: [] }))
    const [sum] = await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2 })
    const exact = Float64Array.from(x.data).reduce((s, v) => s + v, 0)
    expect(Math.abs((sum?.[0] as number) / exact - 1)).toBeLessThan(1e-7)
    x.data[77_777] = Number.NaN
    for (const result of await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2 }))
      expect(result[0]).toBeNaN()
  })

  test('of nothing: 0 and the infinities', async () => {
    const outputs: Output[] = [
      { register: 0, reduce: 'sum' },
      { register: 0, reduce: 'max' },
      { register: 0, reduce: 'min' },
    ]
    await checkLoop(
      {
        shape: [0, 3],
        inputs: [floats([0, 3], [])],
        program: [],
        outputs,
        dtypes: outputs.map(() => 'float32'),
        axes: [0],
      },
      'empty',
    )
  })
})
