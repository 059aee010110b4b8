/** Cases of the elementwise ops: every function on smooth values, at size 1 and none, and at infinities, NaN, zeros and extremes. */
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { awayFromZero, bools, bytes, distinct, floats, integers, ints, list, type OpCase, opCase } from './case.ts'

const inf = Number.POSITIVE_INFINITY
const special = [inf, -inf, Number.NaN, 0, -0, 1, -1, 0.5, -0.5, 1e-20, -1e-20, 1e20, -1e20, 88, -88, 104, -104]

type Sample = (shape: number[]) => HostTensor
const anywhere: Sample = (shape) => floats(shape, -3, 3)
const positive: Sample = (shape) => floats(shape, 0.2, 4)
const nonzero: Sample = (shape) => awayFromZero(shape)
const betweenIntegers: Sample = (shape) =>
  list(
    Array.from(floats(shape, -4, 4).data, (v) => Math.floor(v) + 0.3),
    shape,
  )

interface Unary {
  readonly op: string
  readonly f: (x: Tensor) => Tensor
  readonly sample: Sample
  readonly rest?: Partial<OpCase>
  /** Values at which the special case is taken; default {@link special}. */
  readonly at?: readonly number[]
  readonly atRest?: Partial<OpCase>
}

const vectorMath = { tolerance: 4e-6, reason: 'polynomial approximation of a few ulp' }
// Functions whose float32 argument reduction loses everything far out are only compared nearby.
const near = [0, -0, 1, -1, 30, -30, inf, -inf, Number.NaN]

const unaries: readonly Unary[] = [
  { op: 'neg', f: ops.neg, sample: anywhere },
  { op: 'abs', f: ops.abs, sample: nonzero },
  { op: 'sign', f: ops.sign, sample: nonzero },
  { op: 'exp', f: ops.exp, sample: anywhere, rest: vectorMath, at: [...near, 88, -87, 104], atRest: vectorMath },
  {
    op: 'expm1',
    f: ops.expm1,
    sample: anywhere,
    rest: vectorMath,
    at: [...near, 1e-20, -1e-6, 88, 104],
    atRest: vectorMath,
  },
  { op: 'log', f: ops.log, sample: positive, rest: vectorMath, atRest: vectorMath },
  { op: 'log1p', f: ops.log1p, sample: (s) => floats(s, -0.8, 3), rest: vectorMath, atRest: vectorMath },
  { op: 'sqrt', f: ops.sqrt, sample: positive },
  { op: 'rsqrt', f: ops.rsqrt, sample: positive },
  { op: 'reciprocal', f: ops.reciprocal, sample: nonzero },
  { op: 'square', f: ops.square, sample: anywhere },
  { op: 'sin', f: ops.sin, sample: anywhere, rest: vectorMath, at: near, atRest: vectorMath },
  { op: 'cos', f: ops.cos, sample: anywhere, rest: vectorMath, at: near, atRest: vectorMath },
  { op: 'tanh', f: ops.tanh, sample: anywhere, rest: vectorMath, atRest: vectorMath },
  { op: 'sigmoid', f: ops.sigmoid, sample: anywhere, rest: vectorMath, atRest: vectorMath },
  { op: 'softplus', f: ops.softplus, sample: anywhere, rest: vectorMath, atRest: vectorMath },
  { op: 'relu', f: ops.relu, sample: nonzero },
  { op: 'leaky_relu', f: (x) => ops.leakyRelu(x, 0.2), sample: nonzero },
  { op: 'erf', f: ops.erf, sample: anywhere, rest: vectorMath, atRest: vectorMath },
  { op: 'floor', f: ops.floor, sample: betweenIntegers },
  { op: 'ceil', f: ops.ceil, sample: betweenIntegers },
  { op: 'round', f: ops.round, sample: betweenIntegers, at: [0.5, 1.5, 2.5, -0.5, -1.5, 8388609, inf, Number.NaN] },
  { op: 'silu', f: ops.silu, sample: anywhere, rest: vectorMath, at: [0, 30, -30, -104], atRest: vectorMath },
  { op: 'gelu', f: ops.gelu, sample: anywhere, rest: vectorMath, at: [0, 30, -30, 1e4], atRest: vectorMath },
  {
    op: 'elu',
    f: (x) => ops.elu(x, 0.7),
    sample: nonzero,
    rest: vectorMath,
    at: [0, 104, -104, inf, -inf],
    atRest: vectorMath,
  },
  {
    op: 'clamp',
    f: (x) => ops.clamp(x, -1.25, 0.75),
    sample: (s) =>
      list(
        Array.from(floats(s, -3, 3).data, (v) => Math.floor(v) + 0.4),
        s,
      ),
  },
  { op: 'is_finite', f: (x) => ops.isFinite(x), sample: anywhere, rest: { differentiable: [] } },
]

const unaryCases = unaries.flatMap(({ op, f, sample, rest, at, atRest }) => [
  opCase(op, () => [sample([3, 5])], f, { op, differentiable: [0], ...rest }),
  opCase(`${op} of a scalar`, () => [sample([])], f, { op, differentiable: [0], ...rest }),
  opCase(`${op} at special values`, () => [list(at ?? special)], f, { op, ...atRest }),
  opCase(`${op} of nothing`, () => [sample([0, 3])], f, { op }),
])

const arithmetic: readonly (readonly [string, (a: Tensor, b: Tensor) => Tensor])[] = [
  ['add', ops.add],
  ['sub', ops.sub],
  ['mul', ops.mul],
  ['div', ops.div],
  ['maximum', ops.maximum],
  ['minimum', ops.minimum],
]
const pairs = () => {
  const values = [inf, -inf, Number.NaN, 0, -1, 2.5]
  return [list(values.flatMap((v) => values.map(() => v))), list(values.flatMap(() => values))]
}

const arithmeticCases = arithmetic.flatMap(([op, f]) => {
  // Distinct values of one list, so that no pair is near a tie and no divisor near 0.
  const parts = (a: number[], b: number[]) => {
    const both = distinct([a.reduce((n, d) => n * d, 1) + b.reduce((n, d) => n * d, 1)]).data
    const n = a.reduce((x, d) => x * d, 1)
    const spread = (v: number) => v + 0.03 * Math.sign(v)
    return [list(Array.from(both.slice(0, n), spread), a), list(Array.from(both.slice(n), spread), b)]
  }
  return [
    opCase(op, () => parts([4, 3], [4, 3]), f, { differentiable: [0, 1] }),
    opCase(`${op} broadcast [2,1,3] with [4,1]`, () => parts([2, 1, 3], [4, 1]), f, { op, differentiable: [0, 1] }),
    opCase(`${op} scalar with [5]`, () => parts([], [5]), f, { op, differentiable: [0, 1] }),
    opCase(`${op} of nothing`, () => [floats([0, 3]), floats([3])], f, { op }),
    opCase(`${op} at special values`, pairs, f, { op }),
    opCase(`${op} int32`, () => [integers([3, 4], -9, 9), ints([7, -3, 2, -1])], f, { op }),
  ]
})

const numberCases: OpCase[] = [
  opCase('add int32 wraps around', () => [ints([2147483647, -2147483648, -1]), ints([1, -1, 1])], ops.add),
  opCase('mul int32 wraps around', () => [ints([65536, 46341, -2147483648]), ints([65536, 46341, -1])], ops.mul),
  opCase('div int32 floors', () => [ints([7, -7, 7, -7, 6, -6, 0]), ints([2, 2, -2, -2, 3, 3, 5])], ops.div),
  opCase('div int32 by zero', () => [ints([7, -7, 0]), ints([0, 0, 0])], ops.div),
  opCase('rem', () => [ints([7, -7, 7, -7, 6, -6, 0]), ints([2, 2, -2, -2, 3, 3, 5])], ops.rem),
  opCase('rem by zero', () => [ints([7, -7, 0]), ints([0, 0, 0])], ops.rem),
  opCase('pow', () => [floats([3, 4], 0.3, 2), floats([4], -2, 2)], ops.pow, {
    differentiable: [0, 1],
    ...vectorMath,
    tolerance: 1e-5,
  }),
  opCase('pow of scalars', () => [floats([], 0.3, 2), floats([], 0.3, 2)], ops.pow, {
    differentiable: [0, 1],
    ...vectorMath,
    tolerance: 1e-5,
  }),
  opCase('pow of negative bases', () => [list([-2, -1, -0.5, 0, 0, 0, -1]), list([3, 2, -2, 0, 2, -1, 5])], ops.pow, {
    ...vectorMath,
    tolerance: 1e-5,
  }),
  opCase(
    'pow to a constant',
    () => [awayFromZero([7])],
    (x) => ops.pow(x, 3),
    { differentiable: [0], ...vectorMath, tolerance: 1e-5 },
  ),
  opCase(
    'pow 0 at 0 with gradient',
    () => [list([0, 0, 2])],
    (x) => ops.pow(x, ops.constant([1, 3, 2], [3])),
    { differentiable: [0] },
  ),
  ...Object.entries({ sqrt: 0.5, rsqrt: -0.5, reciprocal: -1, add: 1, square: 2 }).map(([op, e]) =>
    opCase(
      `pow to ${e}`,
      () => [floats([5], 0.3, 3)],
      (x) => ops.add(ops.pow(x, e), 0),
      { op, differentiable: [0] },
    ),
  ),
]

const { eq, ne, lt, le, gt, ge } = ops
const comparisons = Object.entries({ eq, ne, lt, le, gt, ge })
const comparisonCases = comparisons.flatMap(([op, f]) => [
  opCase(op, () => [integers([3, 4], -2, 2, 1), integers([4], -2, 2, 2)], f),
  opCase(`${op} at special values`, pairs, f),
  opCase(`${op} of nothing`, () => [floats([0]), floats([])], f),
])

const otherCases: OpCase[] = [
  opCase('logical_and', () => [bools([3, 4], 1), bools([4], 2)], ops.logicalAnd),
  opCase('logical_or', () => [bools([3, 4], 1), bools([4], 2)], ops.logicalOr),
  opCase('logical_not', () => [bools([3, 5])], ops.logicalNot),
  opCase('select', () => [bools([3, 4]), floats([3, 4], -2, 2, 1), floats([3, 4], -2, 2, 2)], ops.select, {
    differentiable: [1, 2],
  }),
  opCase('select broadcast', () => [bools([3, 1]), floats([4], -2, 2, 1), floats([], -2, 2, 2)], ops.select, {
    differentiable: [1, 2],
  }),
  opCase('select int32', () => [bools([5]), integers([5], -9, 9, 1), integers([5], -9, 9, 2)], ops.select),
  opCase(
    'select drops NaN of the other branch',
    () => [ints([1, 0])],
    (c) => ops.select(ops.cast(c, 'bool'), 1, Number.NaN),
    { op: 'select' },
  ),
  opCase(
    'cast float32 to int32',
    () => [list([1.9, -1.9, 0.5, -0.5, 16777216, 0])],
    (x) => ops.cast(x, 'int32'),
  ),
  opCase(
    'cast float32 to bool',
    () => [list([1.9, 0, -0, -3, 1e-30])],
    (x) => ops.cast(x, 'bool'),
  ),
  opCase(
    'cast float32 to uint8',
    () => [list([0, 1.9, 254.7, 255])],
    (x) => ops.cast(x, 'uint8'),
  ),
  opCase(
    'cast saturates',
    () => [list([300, -5, Number.NaN])],
    (x) => ops.cast(x, 'uint8'),
    { onnx: 'out-of-range casts are undefined there' },
  ),
  opCase(
    'cast int32 to float32',
    () => [integers([7], -99, 99)],
    (x) => ops.cast(x, 'float32'),
  ),
  opCase(
    'cast bool to float32',
    () => [bools([2, 3])],
    (x) => ops.cast(x, 'float32'),
  ),
  opCase(
    'cast bool to int32',
    () => [bools([2, 3])],
    (x) => ops.cast(x, 'int32'),
  ),
  opCase(
    'cast uint8 to float32',
    () => [bytes([2, 3])],
    (x) => ops.cast(x, 'float32'),
  ),
  opCase(
    'cast uint8 to int32',
    () => [bytes([2, 3])],
    (x) => ops.cast(x, 'int32'),
  ),
  opCase(
    'cast int32 to uint8',
    () => [integers([7], 0, 255)],
    (x) => ops.cast(x, 'uint8'),
  ),
  opCase(
    'iota',
    () => [ints([0])],
    (x) => ops.add(x, ops.iota([2, 3, 4], 1)),
  ),
  opCase(
    'iota float32',
    () => [list([0.5])],
    (x) => ops.add(x, ops.iota([5], 0, 'float32')),
  ),
  opCase(
    'broadcast',
    () => [floats([3, 1])],
    (x) => ops.broadcast(x, [2, 3, 4]),
    { differentiable: [0] },
  ),
  opCase(
    'broadcast a scalar',
    () => [floats([])],
    (x) => ops.broadcast(x, [3, 2]),
    { differentiable: [0] },
  ),
  opCase(
    'broadcast to nothing',
    () => [floats([1, 3])],
    (x) => ops.broadcast(x, [0, 3]),
  ),
]

export const elementwiseCases: readonly OpCase[] = [
  ...unaryCases,
  ...arithmeticCases,
  ...numberCases,
  ...comparisonCases,
  ...otherCases.map((c) => (c.name.startsWith('iota') ? { ...c, op: 'iota' } : c)),
]
