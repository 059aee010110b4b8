/**
 * Elementwise float32 functions of one operand. Each is one instruction of a fused loop. NaN propagates through all of them.
 * Derivatives at kinks: abs 0, relu and leaky_relu take the left slope, sqrt 0 at 0 (so that the gradient of a norm at the origin is 0).
 */
import type { Attrs, Tensor } from '../graph/tensor.ts'
import { expectFinite, type NoAttrs, operand } from './check.ts'
import { defineOp, type OnnxRule } from './define.ts'
import { add, div, eq, gt, mul, select, sub } from './elementwise.ts'
import { one, onnxNode } from './onnx.ts'
import { at, erfReference, mapRef, roundHalfEven } from './ref.ts'
import { lift, type TensorLike } from './source.ts'

interface Rule {
  readonly f: (x: number) => number
  /** The cotangent of x from that of y, given both values; 'none' when piecewise constant. */
  readonly back: ((g: Tensor, x: Tensor, y: Tensor) => Tensor) | 'none'
  readonly onnx: OnnxRule<Attrs>
}

function unary(name: string, { f, back, onnx }: Rule): (x: TensorLike) => Tensor {
  const build = defineOp<NoAttrs>({
    name,
    kind: 'elementwise',
    infer: (inputs) => ({ shape: operand(name, inputs, 0, 'float32').shape, dtype: 'float32' }),
    gradient: back === 'none' ? 'none' : ({ inputs, grad, output }) => [back(grad, at(inputs, 0), output)],
    reference: (inputs, _, output) => mapRef(output.shape, inputs, f),
    onnx,
  })
  return (x) => build([lift(x)], {})
}

export const neg = unary('neg', { f: (x) => -x, back: (g) => neg(g), onnx: onnxNode('Neg') })
export const abs = unary('abs', { f: Math.abs, back: (g, x) => mul(g, sign(x)), onnx: onnxNode('Abs') })
/** -1, 0 or 1. */
export const sign = unary('sign', { f: Math.sign, back: 'none', onnx: onnxNode('Sign') })
export const exp = unary('exp', { f: Math.exp, back: (g, _, y) => mul(g, y), onnx: onnxNode('Exp') })
/** exp(x) - 1, accurate near 0. */
export const expm1 = unary('expm1', {
  f: Math.expm1,
  back: (g, x) => mul(g, exp(x)),
  // tanh(x/2)·(exp(x) + 1) is the same function without the cancellation near 0.
  onnx: (c) => {
    const x = at(c.inputs, 0)
    const tanhHalf = one(c, 'Tanh', [one(c, 'Mul', [x, c.emit.floats([0.5], [])])])
    return one(c, 'Mul', [tanhHalf, one(c, 'Add', [one(c, 'Exp', [x]), c.emit.floats([1], [])])])
  },
})
export const log = unary('log', { f: Math.log, back: (g, x) => div(g, x), onnx: onnxNode('Log') })
/** log(1 + x), accurate near 0. */
export const log1p = unary('log1p', {
  f: Math.log1p,
  back: (g, x) => div(g, add(x, 1)),
  // With u = 1 + x rounded: log(u)·x/(u - 1) corrects the rounding; x itself where u is 1; log(u) for large x.
  onnx: (c) => {
    const x = at(c.inputs, 0)
    const unit = c.emit.floats([1], [])
    const u = one(c, 'Add', [x, unit])
    const logU = one(c, 'Log', [u])
    const corrected = one(c, 'Mul', [logU, one(c, 'Div', [x, one(c, 'Sub', [u, unit])])])
    const near = one(c, 'Where', [one(c, 'Equal', [u, unit]), x, corrected])
    return one(c, 'Where', [one(c, 'Greater', [x, unit]), logU, near])
  },
})
export const sqrt = unary('sqrt', {
  f: Math.sqrt,
  back: (g, x, y) => {
    const zero = eq(x, 0)
    return select(zero, 0, div(mul(g, 0.5), select(zero, 1, y)))
  },
  onnx: onnxNode('Sqrt'),
})
/** 1/sqrt(x). */
export const rsqrt = unary('rsqrt', {
  f: (x) => 1 / Math.sqrt(x),
  back: (g, _, y) => mul(mul(g, -0.5), mul(y, square(y))),
  onnx: (c) => one(c, 'Reciprocal', [one(c, 'Sqrt', [at(c.inputs, 0)])]),
})
/** 1/x. */
export const reciprocal = unary('reciprocal', {
  f: (x) => 1 / x,
  back: (g, _, y) => neg(mul(g, square(y))),
  onnx: onnxNode('Reciprocal'),
})
export const square = unary('square', {
  f: (x) => x * x,
  back: (g, x) => mul(mul(g, 2), x),
  onnx: (c) => one(c, 'Mul', [at(c.inputs, 0), at(c.inputs, 0)]),
})
export const sin = unary('sin', { f: Math.sin, back: (g, x) => mul(g, cos(x)), onnx: onnxNode('Sin') })
export const cos = unary('cos', { f: Math.cos, back: (g, x) => neg(mul(g, sin(x))), onnx: onnxNode('Cos') })
export const tanh = unary('tanh', {
  f: Math.tanh,
  back: (g, _, y) => mul(g, sub(1, square(y))),
  onnx: onnxNode('Tanh'),
})
export const sigmoid = unary('sigmoid', {
  f: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),
  // y·(1 - y) with 1 - y = sigmoid(-x) cancels for large x; there y·(1 - y) is below float32's resolution of y anyway.
  back: (g, _, y) => mul(g, mul(y, sub(1, y))),
  onnx: onnxNode('Sigmoid'),
})
/** log(1 + exp(x)). */
export const softplus = unary('softplus', {
  f: (x) => (x === Number.POSITIVE_INFINITY ? x : Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  back: (g, x) => mul(g, sigmoid(x)),
  onnx: onnxNode('Softplus'),
})
export const relu = unary('relu', {
  f: (x) => Math.max(x, 0),
  back: (g, x) => select(gt(x, 0), g, 0),
  onnx: onnxNode('Relu'),
})
export const erf = unary('erf', {
  f: erfReference,
  back: (g, x) => mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(square(x))))),
  onnx: onnxNode('Erf'),
})
export const floor = unary('floor', { f: Math.floor, back: 'none', onnx: onnxNode('Floor') })
export const ceil = unary('ceil', { f: Math.ceil, back: 'none', onnx: onnxNode('Ceil') })
/** To the nearest integer, halves to even. */
export const round = unary('round', { f: roundHalfEven, back: 'none', onnx: onnxNode('Round') })

const leakyReluOp = defineOp<{ readonly slope: number }>({
  name: 'leaky_relu',
  kind: 'elementwise',
  constants: ['slope'],
  infer: (inputs, { slope }) => {
    expectFinite('leaky_relu', 'slope', slope)
    return { shape: operand('leaky_relu', inputs, 0, 'float32').shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [select(gt(at(inputs, 0), 0), grad, mul(grad, attrs.slope))],
  reference: (inputs, { slope }, output) => mapRef(output.shape, inputs, (x) => (x > 0 ? x : slope * x)),
  onnx: (c) => one(c, 'LeakyRelu', c.inputs, { alpha: { float: c.attrs.slope } }),
})

/** x where x > 0, `slope`·x elsewhere; the default slope is 0.01. */
export function leakyRelu(x: TensorLike, slope = 0.01): Tensor {
  return leakyReluOp([lift(x)], { slope })
}
