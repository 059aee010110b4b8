/** Fused loops against scalar float64 evaluation: every instruction, broadcasts, layouts, reductions, threads, overwriting inputs. Not a test itself. */
import { describe, expect, test } from 'vitest'
import type { DType } from '../../../lib/graph/shape.ts'
import { bytes, floats, runInstruction, type Value } from '../instruction.ts'
import {
  between,
  checkLoop,
  comparisons,
  draw,
  evaluate,
  expectClose,
  type Kind,
  type Output,
  type Row,
  registersOf,
} from './loop-reference.ts'

const floatUnary =
  'neg abs sign square exp expm1 log log1p sqrt rsqrt reciprocal sin cos tanh sigmoid softplus relu erf floor ceil round'.split(
    ' ',
  )
const arithmetic = 'add sub mul div pow maximum minimum'.split(' ')
const tests: [string, Kind[], DType][] = [
  ...floatUnary.map((op): [string, Kind[], DType] => [op, ['float32'], 'float32']),
  ...['neg', 'abs', 'sign', 'square'].map((op): [string, Kind[], DType] => [op, ['int32'], 'int32']),
  ...arithmetic.map((op): [string, Kind[], DType] => [op, ['float32', 'float32'], 'float32']),
  ...[...arithmetic, 'rem'].map((op): [string, Kind[], DType] => [op, ['int32', 'int32'], 'int32']),
  ...(['float32', 'int32', 'bool'] as const).flatMap((t) =>
    comparisons.map((op): [string, Kind[], DType] => [op, [t, t], 'bool']),
  ),
  ...(['float32', 'int32', 'bool'] as const).flatMap((t): [string, Kind[], DType][] => [
    ['select', ['bool', t, t], t],
    ['cast_float', [t], 'float32'],
    ['cast_int', [t], 'int32'],
    ['cast_bool', [t], 'bool'],
    ['cast_byte', [t], 'uint8'],
  ]),
  ['leaky_relu', ['float32', 'float32'], 'float32'],
  ['is_finite', ['float32'], 'bool'],
  ['logical_not', ['bool'], 'bool'],
  ['logical_and', ['bool', 'bool'], 'bool'],
  ['logical_or', ['bool', 'bool'], 'bool'],
  ['clamp', ['float32', 'float32', 'float32'], 'float32'],
  ['clamp', ['int32', 'int32', 'int32'], 'int32'],
]

const mixed: Row[] = [
  ['sub', 0, 1],
  ['mul', 3, 2],
  ['const', 0.2],
  ['leaky_relu', 4, 5],
  ['iota', 0],
  ['cast_float', 7],
  ['add', 6, 8],
]

/** Registers the tests for a device. */
export function testLoops(device = 'cpu'): void {
  describe('every instruction', () => {
    test.each(tests)('%s of %j', async (op, kinds, dtype) => {
      const positive = ['log', 'sqrt', 'rsqrt', 'pow'].includes(op)
      // On a device each is code to compile: sizes with and without whole vectors of 4.
      for (const n of device === 'cpu' ? [1, 3, 17, 1025] : [5, 1028]) {
        const inputs = kinds.map((k) =>
          op === 'pow' && k === 'int32' ? draw(k, [n], 0, 1.8) : draw(k, [n], positive ? 0.1 : -3, 3),
        )
        if (op === 'clamp') inputs[2] = { ...(inputs[1] as Value), data: (inputs[1] as Value).data.map((v) => v + 2) }
        const program = [[op, ...kinds.map((_, i) => i)] as unknown as Row]
        const common = { shape: [n], program, outputs: [{ register: kinds.length }], dtypes: [dtype] }
        await checkLoop({ ...common, inputs }, op, device)
        for (let one = 0; n > 1 && one < kinds.length; one++) {
          const single = inputs.map((v, i) => (i === one ? { ...v, shape: [], data: v.data.slice(0, 1) } : v))
          if (op === 'clamp' && one > 0) continue // bounds must stay in order
          await checkLoop({ ...common, inputs: single }, `${op}, operand ${one} a scalar`, device)
        }
      }
    })

    test('infinities, NaN and denormals', async () => {
      const edges = [
        0,
        -0,
        1e-45,
        -1e-40,
        1,
        -1,
        88.8,
        -104,
        3.4e38,
        -3.4e38,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        Number.NaN,
      ]
      const a = floats(
        [169],
        edges.flatMap((x) => edges.map(() => x)),
      )
      const b = floats(
        [169],
        edges.flatMap(() => edges),
      )
      for (const [op, kinds, dtype] of tests.filter(([, kinds]) => kinds[0] === 'float32' && kinds.length < 3)) {
        if (dtype === 'uint8') continue
        // 1 to an infinite or NaN power is 1 in C and NaN in JavaScript.
        const x =
          op === 'pow'
            ? floats(
                [169],
                a.data.map((v, i) => (Math.abs(v) === 1 && !Number.isFinite(b.data[i]) ? 2 : v)),
              )
            : a
        const inputs = [x, b].slice(0, kinds.length)
        const program = [[op, ...kinds.map((_, i) => i)] as unknown as Row]
        const [got] = await runInstruction({
          op: 'loop',
          inputs,
          device,
          outputs: [{ dtype, shape: [169] }],
          attr: { shape: [169], program, outputs: [{ register: kinds.length }], axes: [] },
        })
        const want = x.data.map((v, i) => evaluate(op, true, v, b.data[i] as number, 0))
        expectClose(got as ArrayLike<number>, want, 4e-7, op)
      }
    })
  })

  describe('broadcasts', () => {
    test.each([[[5, 7]], [[64, 128]], [[3, 5000]], [[1000, 3]], [[1, 9]], [[700, 33]]])(
      'matrices %j',
      async (shape) => {
        const [a, b] = shape as [number, number]
        for (const second of [[a, b], [a, 1], [1, b], [b], [1], []]) {
          for (const third of [[a, 1], [b]]) {
            const inputs = [shape, second, third].map((s) => draw('float32', s))
            await checkLoop(
              { shape, inputs, program: mixed, outputs: [{ register: 9 }], dtypes: ['float32'], tolerance: 1e-5 },
              `${second} ${third}`,
              device,
            )
          }
        }
      },
    )

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
          device,
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
        device,
      )
    })
  })

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
          device,
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
        await checkLoop({ shape, inputs, program: [['exp', 0]], outputs, dtypes, axes }, `axes ${axes}`, device)
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
      const [sum] = await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2, device })
      const exact = Float64Array.from(x.data).reduce((s, v) => s + v, 0)
      expect(Math.abs((sum?.[0] as number) / exact - 1)).toBeLessThan(1e-7)
      x.data[77_777] = Number.NaN
      for (const result of await runInstruction({ op: 'loop', inputs: [x], outputs, attr, threads: 2, device }))
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
        device,
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
        device,
        alias: new Map([
          [0, 0],
          [1, 1],
        ]),
      })
      expectClose(got[0] as ArrayLike<number>, want[2] as Float64Array, 1e-6, 'first')
      expectClose(got[1] as ArrayLike<number>, want[5] as Float64Array, 1e-6, 'second')
    }
  })
}
