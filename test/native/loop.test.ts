/** Every instruction of fused loops against scalar float64 evaluation: types, scalars among the operands, infinities and NaN. */
import { describe, expect, test } from 'vitest'
import type { DType } from '../../lib/graph/shape.ts'
import { addon } from '../../lib/runtime/addon.ts'
import { floats, runInstruction, type Value } from './instruction.ts'
import { checkLoop, comparisons, draw, evaluate, expectClose, type Kind, meaning, type Row } from './loop-reference.ts'

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

describe('every instruction', () => {
  test.each(tests)('%s of %j', async (op, kinds, dtype) => {
    const positive = ['log', 'sqrt', 'rsqrt', 'pow'].includes(op)
    for (const n of [1, 3, 17, 1025]) {
      const inputs = kinds.map((k) =>
        op === 'pow' && k === 'int32' ? draw(k, [n], 0, 1.8) : draw(k, [n], positive ? 0.1 : -3, 3),
      )
      if (op === 'clamp') inputs[2] = { ...(inputs[1] as Value), data: (inputs[1] as Value).data.map((v) => v + 2) }
      const program = [[op, ...kinds.map((_, i) => i)] as unknown as Row]
      const common = { shape: [n], program, outputs: [{ register: kinds.length }], dtypes: [dtype] }
      await checkLoop({ ...common, inputs }, op)
      for (let one = 0; n > 1 && one < kinds.length; one++) {
        const single = inputs.map((v, i) => (i === one ? { ...v, shape: [], data: v.data.slice(0, 1) } : v))
        if (op === 'clamp' && one > 0) continue // bounds must stay in order
        await checkLoop({ ...common, inputs: single }, `${op}, operand ${one} a scalar`)
      }
    }
  })

  test('the addon lists them', () => {
    expect(new Set(addon().info().loopOps)).toEqual(new Set([...Object.keys(meaning), 'const', 'const_int', 'iota']))
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
        outputs: [{ dtype, shape: [169] }],
        attr: { shape: [169], program, outputs: [{ register: kinds.length }], axes: [] },
      })
      const want = x.data.map((v, i) => evaluate(op, true, v, b.data[i] as number, 0))
      expectClose(got as ArrayLike<number>, want, 4e-7, op)
    }
  })
})
