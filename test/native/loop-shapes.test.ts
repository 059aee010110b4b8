/** Fused loops over broadcast operands, blocked layouts, bytes, outputs that overwrite inputs; and programs that are refused. */
import { describe, expect, test } from 'vitest'
import { bytes, runInstruction } from './instruction.ts'
import { between, checkLoop, draw, expectClose, type Row, registersOf } from './loop-reference.ts'
import { compileRaw } from './plan-json.ts'

const mixed: Row[] = [
  ['sub', 0, 1],
  ['mul', 3, 2],
  ['const', 0.2],
  ['leaky_relu', 4, 5],
  ['iota', 0],
  ['cast_float', 7],
  ['add', 6, 8],
]

describe('broadcasts', () => {
  test.each([[[5, 7]], [[64, 128]], [[3, 5000]], [[1000, 3]], [[1, 9]], [[700, 33]]])('matrices %j', async (shape) => {
    const [a, b] = shape as [number, number]
    for (const second of [[a, b], [a, 1], [1, b], [b], [1], []]) {
      for (const third of [[a, 1], [b]]) {
        const inputs = [shape, second, third].map((s) => draw('float32', s))
        await checkLoop(
          { shape, inputs, program: mixed, outputs: [{ register: 9 }], dtypes: ['float32'], tolerance: 1e-5 },
          `${second} ${third}`,
        )
      }
    }
  })

  const images = [
    [2, 16, 3, 3],
    [4, 32, 8, 8],
    [3, 16, 1, 1],
    [2, 6, 5, 4],
  ]
  test.each(
    images.flatMap(
      (s) =>
        [
          [s, false],
          [s, true],
        ] as [number[], boolean][],
    ),
  )('images %j, blocked %j', async (shape, blocked) => {
    const [n, c, h, w] = shape as [number, number, number, number]
    for (const second of [
      [1, c, 1, 1],
      [n, c, 1, 1],
      [n, 1, 1, 1],
      [1, 1, h, w],
      [n, 1, h, w],
      [1, c, h, w],
      [c, 1, 1],
      [w],
      [],
    ]) {
      const inputs = [shape, second, [1, c, 1, 1]].map((s) => draw('float32', s))
      await checkLoop(
        { shape, inputs, program: mixed, outputs: [{ register: 9 }], dtypes: ['float32'], blocked, tolerance: 1e-5 },
        `${second}`,
      )
    }
  })

  test('bytes and bools', async () => {
    const shape = [1000, 3]
    const inputs = [bytes(shape, between(3000, 0, 256).map(Math.floor)), bytes([3], [1, 0, 1], 'bool')]
    const program: Row[] = [
      ['cast_float', 0],
      ['const', 0.5],
      ['mul', 2, 3],
      ['cast_byte', 4],
      ['logical_not', 1],
      ['cast_int', 1],
    ]
    const outputs = [5, 6, 4, 7].map((register) => ({ register }))
    await checkLoop(
      { shape, inputs, program, outputs, dtypes: ['uint8', 'bool', 'float32', 'int32'], tolerance: 0 },
      'bytes',
    )
  })
})

test('outputs over inputs that are still needed', async () => {
  for (const n of [5, 1000, 50_000]) {
    const inputs = [draw('float32', [n]), draw('float32', [n])]
    const program: Row[] = [
      ['add', 0, 1],
      ['mul', 2, 0],
      ['sub', 0, 1],
      ['mul', 4, 1],
    ]
    const want = registersOf([n], inputs, program)
    const attr = { shape: [n], program, outputs: [{ register: 2 }, { register: 5 }], axes: [] }
    const outputs = [0, 1].map(() => ({ dtype: 'float32' as const, shape: [n] }))
    const got = await runInstruction({
      op: 'loop',
      inputs,
      outputs,
      attr,
      threads: 2,
      alias: new Map([
        [0, 0],
        [1, 1],
      ]),
    })
    expectClose(got[0] as ArrayLike<number>, want[2] as Float64Array, 1e-6, 'first')
    expectClose(got[1] as ArrayLike<number>, want[5] as Float64Array, 1e-6, 'second')
  }
})

describe('malformed programs', () => {
  const x = { dtype: 'float32', shape: [4] }
  const bad: [string, Record<string, unknown>][] = [
    ['unknown op', { program: [['sinh', 0]] }],
    ['register not yet defined', { program: [['add', 0, 1]] }],
    ['negative register', { program: [['neg', -1]] }],
    ['fractional register', { program: [['neg', 0.5]] }],
    ['too few operands', { program: [['add', 0]] }],
    ['type error', { program: [['logical_not', 0]] }],
    ['axis of iota', { program: [['iota', 1]], outputs: [{ register: 0 }] }],
    ['no program', { program: 3 }],
    ['row that is no list', { program: ['neg'] }],
    ['const that is no number', { program: [['const', 'x']] }],
    ['output register', { outputs: [{ register: 9 }] }],
    ['no outputs', { outputs: [] }],
    ['unknown reduction', { outputs: [{ register: 0, reduce: 'product' }] }],
    ['axis twice', { outputs: [{ register: 0, reduce: 'sum' }], axes: [0, 0] }],
    ['reduced shape', { outputs: [{ register: 0, reduce: 'sum' }], axes: [0] }],
    ['shape', { shape: [5] }],
    ['huge shape', { shape: [2 ** 30, 2 ** 30, 2 ** 30] }],
    ['negative shape', { shape: [-4] }],
  ]
  test.each(bad)('%s', async (_, change) => {
    const attr = { shape: [4], program: [['neg', 0]], outputs: [{ register: 1 }], axes: [], ...change }
    const plan = {
      version: 1,
      values: [x, x],
      inputs: [0],
      constants: [],
      outputs: [{ value: 1, alias: null }],
      code: [{ op: 'loop', in: [0], out: [1], attr }],
    }
    await expect(compileRaw(plan)).rejects.toMatchObject({ code: 'E_PLAN', message: expect.stringContaining('[loop]') })
  })
})
