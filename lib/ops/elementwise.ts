/**
 * Elementwise ops of several operands, comparisons, selection, casts and index counters. Operands broadcast by NumPy's rule; a plain
 * number becomes a scalar. Arithmetic takes float32 or int32 (both operands the same); int32 wraps around.
 * Ties: maximum and minimum give each operand half of the gradient; clamp passes it inside its inclusive bounds.
 */
import { broadcastShapes, type DType, normalizeAxis, type Shape, type TensorType } from '../graph/shape.ts'
import type { Attrs, Tensor } from '../graph/tensor.ts'
import { expectFinite, type NoAttrs, operand, sameDtype } from './check.ts'
import { defineOp, type OnnxContext, type OnnxRule } from './define.ts'
import { one, onnxNode } from './onnx.ts'
import { unbroadcast } from './reduce.ts'
import { at, indexMap, mapRef, refArray, wrap } from './ref.ts'
import { lift, liftPair, type TensorLike } from './source.ts'
import { log, neg, reciprocal, rsqrt, sqrt, square } from './unary.ts'

interface BinaryRule {
  readonly f: (a: number, b: number) => number
  /** For int32, where it differs from `f` with wrap-around. */
  readonly int?: (a: number, b: number) => number
  readonly back: ((g: Tensor, a: Tensor, b: Tensor, y: Tensor) => [Tensor, Tensor]) | 'none'
  readonly onnx: OnnxRule<Attrs>
  readonly dtypes: readonly DType[]
  /** Of the result, when it is not the operands'. */
  readonly result?: DType
}

const numbers: readonly DType[] = ['float32', 'int32']

function binary(name: string, rule: BinaryRule): (a: TensorLike, b: TensorLike) => Tensor {
  const { f, back } = rule
  const build = defineOp<NoAttrs>({
    name,
    kind: 'elementwise',
    infer: (inputs) => {
      const a = operand(name, inputs, 0, ...rule.dtypes)
      const b = operand(name, inputs, 1, ...rule.dtypes)
      sameDtype(name, a, b)
      return { shape: broadcastShapes(name, a.shape, b.shape), dtype: rule.result ?? a.dtype }
    },
    gradient:
      back === 'none'
        ? 'none'
        : ({ inputs, grad, output }) => {
            const [a, b] = [at(inputs, 0), at(inputs, 1)]
            const [da, db] = back(grad, a, b, output)
            return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)]
          },
    reference: (inputs, _, output) => {
      const g = output.dtype === 'int32' ? (rule.int ?? f) : f
      return mapRef(output.shape, inputs, (a, b) => wrap(output.dtype, g(a as number, b as number)))
    },
    onnx: rule.onnx,
  })
  return (a, b) => build(liftPair(a, b), {})
}

export const add = binary('add', {
  f: (a, b) => a + b,
  back: (g) => [g, g],
  onnx: onnxNode('Add'),
  dtypes: numbers,
})
export const sub = binary('sub', {
  f: (a, b) => a - b,
  back: (g) => [g, neg(g)],
  onnx: onnxNode('Sub'),
  dtypes: numbers,
})
export const mul = binary('mul', {
  f: (a, b) => a * b,
  int: Math.imul,
  back: (g, a, b) => [mul(g, b), mul(g, a)],
  onnx: onnxNode('Mul'),
  dtypes: numbers,
})
/** Quotient; int32 rounds towards minus infinity, and division by zero gives 0. */
export const div = binary('div', {
  f: (a, b) => a / b,
  int: (a, b) => (b === 0 ? 0 : Math.floor(a / b)),
  back: (g, _, b, y) => {
    const da = div(g, b)
    return [da, neg(mul(da, y))]
  },
  onnx: (c) => (c.output.dtype === 'int32' ? integerQuotient(c, 'div') : one(c, 'Div', c.inputs)),
  dtypes: numbers,
})
/** Remainder with the sign of the divisor (int32); 0 for the divisor 0. */
export const rem = binary('rem', {
  f: (a, b) => (b === 0 ? 0 : a - b * Math.floor(a / b)),
  back: 'none',
  onnx: (c) => integerQuotient(c, 'rem'),
  dtypes: ['int32'],
})

/**
 * Integer quotient or remainder in ONNX, whose Div rounds towards zero: (a - mod(a, b)) / b is exact and floors. In int64, and with 1 for
 * a divisor of 0: runtimes die of x / 0 and of -2^31 / -1.
 */
function integerQuotient(c: OnnxContext<Attrs>, part: 'div' | 'rem'): string {
  const [a, b] = [c.emit.cast(at(c.inputs, 0), 'int64'), c.emit.cast(at(c.inputs, 1), 'int64')]
  const none = one(c, 'Equal', [b, c.emit.ints([0], [])])
  const divisor = one(c, 'Where', [none, c.emit.ints([1], []), b])
  const rest = one(c, 'Mod', [a, divisor])
  const value = part === 'rem' ? rest : one(c, 'Div', [one(c, 'Sub', [a, rest]), divisor])
  return c.emit.cast(one(c, 'Where', [none, c.emit.ints([0], []), value]), 'int32')
}

const powOp = binary('pow', {
  f: power,
  // d/da: b·a^(b-1), and 0 for b = 0 whatever a is. d/db: a^b·log(a), taken as 0 at a = 0 (its limit for b > 0).
  back: (g, a, b, y) => [
    mul(g, select(eq(b, 0), 0, mul(b, powOp(a, sub(b, 1))))),
    mul(g, mul(y, log(select(eq(a, 0), 1, a)))),
  ],
  onnx: onnxNode('Pow'),
  dtypes: ['float32'],
})

/** C's pow: 1 for an exponent of 0 or a base of 1, even beside NaN or infinity. JavaScript differs for base 1. */
function power(a: number, b: number): number {
  return a === 1 || (a === -1 && !Number.isFinite(b) && !Number.isNaN(b)) ? 1 : a ** b
}

/** a to the power b. The exponents 2, 1, 0.5, -0.5 and -1, given as numbers, use the op made for them. */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  const x = lift(a)
  if (b === 2) return square(x)
  if (b === 1) return x
  if (b === 0.5) return sqrt(x)
  if (b === -0.5) return rsqrt(x)
  if (b === -1) return reciprocal(x)
  return powOp(x, b)
}

/** Half at ties: 1, 0.5 or 0 as `a` is beyond, at, or short of `b`. */
function share(g: Tensor, beyond: Tensor, equal: Tensor): [Tensor, Tensor] {
  const half = mul(g, 0.5)
  return [select(beyond, g, select(equal, half, 0)), select(beyond, 0, select(equal, half, g))]
}

/** The larger; NaN if either is NaN. */
export const maximum = binary('maximum', {
  f: Math.max,
  back: (g, a, b) => share(g, gt(a, b), eq(a, b)),
  onnx: onnxNode('Max'),
  dtypes: numbers,
})
/** The smaller; NaN if either is NaN. */
export const minimum = binary('minimum', {
  f: Math.min,
  back: (g, a, b) => share(g, lt(a, b), eq(a, b)),
  onnx: onnxNode('Min'),
  dtypes: numbers,
})

function comparison(
  name: string,
  f: (a: number, b: number) => boolean,
  onnx: OnnxRule<Attrs>,
): (a: TensorLike, b: TensorLike) => Tensor {
  return binary(name, { f: (a, b) => (f(a, b) ? 1 : 0), back: 'none', onnx, dtypes: numbers, result: 'bool' })
}

export const eq = comparison('eq', (a, b) => a === b, onnxNode('Equal'))
export const ne = comparison(
  'ne',
  (a, b) => a !== b,
  (c) => one(c, 'Not', [one(c, 'Equal', c.inputs)]),
)
export const lt = comparison('lt', (a, b) => a < b, onnxNode('Less'))
export const le = comparison('le', (a, b) => a <= b, onnxNode('LessOrEqual'))
export const gt = comparison('gt', (a, b) => a > b, onnxNode('Greater'))
export const ge = comparison('ge', (a, b) => a >= b, onnxNode('GreaterOrEqual'))

export const logicalAnd = binary('logical_and', {
  f: (a, b) => a * b,
  back: 'none',
  onnx: onnxNode('And'),
  dtypes: ['bool'],
})
export const logicalOr = binary('logical_or', {
  f: (a, b) => Math.max(a, b),
  back: 'none',
  onnx: onnxNode('Or'),
  dtypes: ['bool'],
})

const logicalNotOp = defineOp<NoAttrs>({
  name: 'logical_not',
  kind: 'elementwise',
  infer: (inputs) => ({ shape: operand('logical_not', inputs, 0, 'bool').shape, dtype: 'bool' }),
  gradient: 'none',
  reference: (inputs, _, output) => mapRef(output.shape, inputs, (x) => 1 - x),
  onnx: onnxNode('Not'),
})

export function logicalNot(x: Tensor): Tensor {
  return logicalNotOp([x], {})
}

const isFiniteOp = defineOp<NoAttrs>({
  name: 'is_finite',
  kind: 'elementwise',
  infer: (inputs) => ({ shape: operand('is_finite', inputs, 0, 'float32').shape, dtype: 'bool' }),
  gradient: 'none',
  reference: (inputs, _, output) => mapRef(output.shape, inputs, (x) => (Number.isFinite(x) ? 1 : 0)),
  onnx: (c) => one(c, 'LessOrEqual', [one(c, 'Abs', c.inputs), c.emit.floats([3.4028234663852886e38], [])]),
})

/** True where x is neither infinite nor NaN. */
export function finite(x: Tensor): Tensor {
  return isFiniteOp([x], {})
}

const castOp = defineOp<{ readonly dtype: DType }>({
  name: 'cast',
  kind: 'elementwise',
  infer: (inputs, { dtype }) => ({ shape: at(inputs, 0).shape, dtype }),
  // Float to float is no node; every other cast starts or ends in integers, where nothing flows.
  gradient: 'none',
  reference: (inputs, { dtype }, output) => mapRef(output.shape, inputs, (x) => castReference(x, dtype)),
  onnx: (c) => {
    const x = at(c.inputs, 0)
    // A cast to bool in ONNX is x ≠ 0 as here; float to uint8 goes by int32, which truncates.
    return c.attrs.dtype === 'uint8' ? c.emit.cast(c.emit.cast(x, 'int32'), 'uint8') : c.emit.cast(x, c.attrs.dtype)
  },
})

function castReference(x: number, dtype: DType): number {
  if (dtype === 'float32') return x
  if (dtype === 'bool') return x !== 0 ? 1 : 0
  const [low, high] = dtype === 'int32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, 255]
  return Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x)))
}

/** Converts the elements: to int32 and uint8 truncates (values beyond the range are unspecified), to bool is `x ≠ 0`. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : castOp([x], { dtype })
}

const selectOp = defineOp<NoAttrs>({
  name: 'select',
  kind: 'elementwise',
  infer: (inputs) => {
    const cond = operand('select', inputs, 0, 'bool')
    const [a, b] = [operand('select', inputs, 1, 'float32', 'int32', 'bool'), at(inputs, 2)]
    sameDtype('select', a, b)
    return { shape: broadcastShapes('select', cond.shape, a.shape, b.shape), dtype: a.dtype }
  },
  gradient: ({ inputs, grad }) => {
    const [cond, a, b] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)]
    return [null, unbroadcast(select(cond, grad, 0), a.shape), unbroadcast(select(cond, 0, grad), b.shape)]
  },
  reference: (inputs, _, output) => mapRef(output.shape, inputs, (c, a, b) => (c !== 0 ? a : b) as number),
  onnx: (c) => {
    if (c.output.dtype !== 'bool') return one(c, 'Where', c.inputs)
    // ONNX Runtime's Where takes no booleans.
    const [cond, a, b] = [at(c.inputs, 0), at(c.inputs, 1), at(c.inputs, 2)]
    return one(c, 'Or', [one(c, 'And', [cond, a]), one(c, 'And', [one(c, 'Not', [cond]), b])])
  },
})

/** `a` where `cond` (bool) holds, `b` elsewhere. */
export function select(cond: Tensor, a: TensorLike, b: TensorLike): Tensor {
  return selectOp([cond, ...liftPair(a, b)], {})
}

const clampOp = defineOp<{ readonly low: number; readonly high: number }>({
  name: 'clamp',
  kind: 'elementwise',
  constants: ['low', 'high'],
  infer: (inputs, { low, high }) => {
    expectFinite('clamp', 'low', low, '; for one bound use maximum or minimum')
    expectFinite('clamp', 'high', high, '; for one bound use maximum or minimum')
    if (low > high) throw new RangeError(`[clamp] low must not exceed high; got ${low} and ${high}`)
    return { shape: operand('clamp', inputs, 0, 'float32').shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs: { low, high }, grad }) => {
    const x = at(inputs, 0)
    return [select(logicalAnd(ge(x, low), le(x, high)), grad, 0)]
  },
  reference: (inputs, { low, high }, output) =>
    mapRef(output.shape, inputs, (x) => (x < low ? low : Math.min(x, high))),
  onnx: (c) => one(c, 'Clip', [at(c.inputs, 0), c.emit.floats([c.attrs.low], []), c.emit.floats([c.attrs.high], [])]),
})

/** x limited to [low, high]; NaN stays NaN. The gradient passes where low ≤ x ≤ high. */
export function clamp(x: TensorLike, low: number, high: number): Tensor {
  return clampOp([lift(x)], { low, high })
}

const iotaOp = defineOp<{ readonly shape: Shape; readonly axis: number; readonly dtype: DType }>({
  name: 'iota',
  kind: 'elementwise',
  infer: (_, { shape, axis, dtype }): TensorType => {
    normalizeAxis('iota', axis, shape.length)
    return { shape, dtype }
  },
  gradient: 'none',
  reference: (_, { shape, axis }) =>
    refArray(
      shape,
      indexMap(
        shape,
        shape.map((__, i) => (i === axis ? 1 : 0)),
      ),
    ),
  onnx: (c) => {
    const { shape, axis, dtype } = c.attrs
    const length = one(c, 'Squeeze', [c.emit.shape('length', [at(shape, axis)])])
    const range = one(c, 'Range', [c.emit.ints([0], []), length, c.emit.ints([1], [])])
    const column = one(c, 'Reshape', [range, c.emit.ints(shape.slice(axis).map((_, i) => (i === 0 ? -1 : 1)))])
    return c.emit.cast(one(c, 'Expand', [column, c.emit.shape('shape', shape)]), dtype)
  },
})

/** Each element's index along `axis`: `iota([2,3], 1)` is [[0,1,2],[0,1,2]]. int32 by default. */
export function iota(shape: Shape, axis = 0, dtype: 'int32' | 'float32' = 'int32'): Tensor {
  return iotaOp([], { shape: [...shape], axis: normalizeAxis('iota', axis, shape.length), dtype })
}
