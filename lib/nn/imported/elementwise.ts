/** Rules of ONNX's elementwise operators: activations, arithmetic, comparisons, casts. */
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import { type Call, type OpRule, scalarOf } from './call.ts'

/** Where ONNX has no bound: what float32 holds at most. */
const LARGEST = 3.4028234663852886e38
const LARGEST_INTEGER = 2 ** 31 - 1

/** A function of one tensor without attributes. */
function plain(f: (x: Tensor) => Tensor, affine?: OpRule['affine']): OpRule {
  return { attributes: [], ...(affine && { affine }), build: (c) => f(c.x()) }
}

function isInteger(t: Tensor): boolean {
  return t.dtype !== 'float32'
}

/** Both operands in one type that arithmetic takes: bool counts as int32. */
function numbers(t: Tensor): Tensor {
  return t.dtype === 'float32' ? t : ops.cast(t, 'int32')
}

function binary(f: (a: Tensor, b: Tensor) => Tensor, affine?: OpRule['affine']): OpRule {
  return { attributes: [], ...(affine && { affine }), build: (c) => f(numbers(c.x(0)), numbers(c.x(1))) }
}

function variadic(f: (a: Tensor, b: Tensor) => Tensor, affine?: OpRule['affine']): OpRule {
  return {
    attributes: [],
    ...(affine && { affine }),
    build: (c) =>
      c
        .all()
        .map(numbers)
        .reduce((a, b) => f(a, b)),
  }
}

/** The quotient; of integers rounded towards zero, as in C. */
function divide(a: Tensor, b: Tensor): Tensor {
  const q = ops.div(a, b)
  if (!isInteger(a)) return q
  const inexact = ops.ne(ops.sub(a, ops.mul(q, b)), 0)
  return ops.add(q, ops.cast(ops.logicalAnd(inexact, ops.lt(q, 0)), 'int32'))
}

function power(c: Call): Tensor {
  const [base, exponent] = [c.x(0), c.x(1)]
  const known = scalarOf(exponent)
  // A constant exponent takes the op made for it, unless it stretches the result.
  if (known !== undefined && exponent.rank <= base.rank) return ops.pow(ops.cast(base, 'float32'), known)
  return ops.pow(ops.cast(base, 'float32'), ops.cast(exponent, 'float32'))
}

function clip(c: Call): Tensor {
  const x = c.x()
  const [low, high] = isInteger(x) ? [-LARGEST_INTEGER, LARGEST_INTEGER] : [-LARGEST, LARGEST]
  const bound = (i: number, name: string, otherwise: number): number =>
    limited(c.has(name) ? c.number(name, otherwise) : (c.known(i)?.[0] ?? otherwise))
  const [least, most] = [bound(1, 'min', low), bound(2, 'max', high)]
  // Where min > max, ONNX gives max.
  return isInteger(x) ? ops.minimum(ops.maximum(x, least), most) : ops.clamp(x, Math.min(least, most), most)
}

function limited(v: number): number {
  return Math.max(-LARGEST, Math.min(LARGEST, v))
}

/** x where x > 0, f(x) elsewhere: at 0 the left slope. */
function split(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  return ops.select(ops.gt(x, 0), x, f(x))
}

function hardSigmoid(x: Tensor, alpha: number, beta: number): Tensor {
  return ops.clamp(ops.add(ops.mul(x, alpha), beta), 0, 1)
}

/** 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) (Hendrycks & Gimpel 2016). */
function geluTanh(x: Tensor): Tensor {
  const inner = ops.mul(ops.add(x, ops.mul(ops.mul(ops.square(x), x), 0.044715)), Math.sqrt(2 / Math.PI))
  return ops.mul(ops.mul(x, 0.5), ops.add(ops.tanh(inner), 1))
}

/** ONNX element types by number, as ours. */
const castTypes: ReadonlyMap<number, Tensor['dtype']> = new Map([
  ...[1, 10, 11, 16].map((t) => [t, 'float32'] as const),
  ...[2, 3, 4, 5, 6, 7, 12, 13].map((t) => [t, 'int32'] as const),
  [9, 'bool'],
])

function comparison(f: (a: Tensor, b: Tensor) => Tensor): OpRule {
  return binary(f)
}

export const elementwise: Readonly<Record<string, OpRule>> = {
  Identity: plain((x) => x, 'all'),
  // Nothing is dropped outside training.
  Dropout: { attributes: ['ratio', 'seed'], affine: 'first', build: dropout },
  Relu: plain(ops.relu),
  LeakyRelu: { attributes: ['alpha'], build: (c) => ops.leakyRelu(c.x(), c.number('alpha', 0.01)) },
  PRelu: { attributes: [], build: (c) => split(c.x(), (x) => ops.mul(x, c.x(1))) },
  ThresholdedRelu: {
    attributes: ['alpha'],
    build: (c) => ops.select(ops.gt(c.x(), c.number('alpha', 1)), c.x(), 0),
  },
  Elu: { attributes: ['alpha'], build: (c) => ops.elu(c.x(), c.number('alpha', 1)) },
  Selu: {
    attributes: ['alpha', 'gamma'],
    build: (c) => ops.mul(ops.elu(c.x(), c.number('alpha', 1.6732632423543772)), c.number('gamma', 1.0507009873554805)),
  },
  // α·(exp(x/α) - 1) below 0.
  Celu: {
    attributes: ['alpha'],
    build: (c) => {
      const alpha = c.number('alpha', 1)
      return split(c.x(), (x) => ops.mul(ops.expm1(ops.mul(ops.minimum(x, 0), 1 / alpha)), alpha))
    },
  },
  Sigmoid: plain(ops.sigmoid),
  HardSigmoid: {
    attributes: ['alpha', 'beta'],
    build: (c) => hardSigmoid(c.x(), c.number('alpha', 0.2), c.number('beta', 0.5)),
  },
  HardSwish: plain((x) => ops.mul(x, hardSigmoid(x, 1 / 6, 0.5))),
  Swish: { attributes: ['alpha'], build: (c) => ops.mul(c.x(), ops.sigmoid(ops.mul(c.x(), c.number('alpha', 1)))) },
  Tanh: plain(ops.tanh),
  Softplus: plain(ops.softplus),
  Softsign: plain((x) => ops.div(x, ops.add(ops.abs(x), 1))),
  Mish: plain((x) => ops.mul(x, ops.tanh(ops.softplus(x)))),
  Erf: plain(ops.erf),
  Gelu: {
    attributes: ['approximate'],
    build: (c) => (c.text('approximate', 'none') === 'tanh' ? geluTanh(c.x()) : ops.gelu(c.x())),
  },
  Clip: { attributes: ['min', 'max'], build: clip },
  Sqrt: plain(ops.sqrt),
  Exp: plain(ops.exp),
  Log: plain(ops.log),
  Sin: plain(ops.sin),
  Cos: plain(ops.cos),
  Sign: plain((x) => (isInteger(x) ? ops.cast(ops.sign(ops.cast(x, 'float32')), 'int32') : ops.sign(x))),
  Abs: plain((x) => (isInteger(x) ? ops.maximum(x, ops.sub(0, x)) : ops.abs(x))),
  Neg: plain((x) => (isInteger(x) ? ops.sub(0, x) : ops.neg(x)), 'all'),
  Reciprocal: plain(ops.reciprocal),
  Floor: plain(ops.floor),
  Ceil: plain(ops.ceil),
  Round: plain(ops.round),
  Add: binary(ops.add, 'all'),
  Sub: binary(ops.sub, 'all'),
  Mul: binary(ops.mul, 'either'),
  Div: binary(divide, 'first'),
  Pow: { attributes: [], build: power },
  Mod: { attributes: ['fmod'], refuse: (a) => (a.number('fmod', 0) ? 'fmod is not known' : undefined), build: modulo },
  Max: variadic(ops.maximum),
  Min: variadic(ops.minimum),
  Sum: variadic(ops.add, 'all'),
  Mean: {
    attributes: [],
    affine: 'all',
    build: (c) =>
      ops.mul(
        c.all().reduce((a, b) => ops.add(a, b)),
        1 / c.count,
      ),
  },
  Equal: comparison(ops.eq),
  Less: comparison(ops.lt),
  LessOrEqual: comparison(ops.le),
  Greater: comparison(ops.gt),
  GreaterOrEqual: comparison(ops.ge),
  And: { attributes: [], build: (c) => ops.logicalAnd(c.x(0), c.x(1)) },
  Or: { attributes: [], build: (c) => ops.logicalOr(c.x(0), c.x(1)) },
  Xor: comparison(ops.ne),
  Not: plain(ops.logicalNot),
  Where: { attributes: [], build: (c) => ops.select(c.x(0), c.x(1), c.x(2)) },
  Cast: {
    attributes: ['to', 'saturate'],
    refuse: (a) =>
      castTypes.has(a.number('to', 0)) ? undefined : `a cast to element type ${a.number('to', 0)} is not known`,
    build: (c) => ops.cast(c.x(), castTypes.get(c.number('to', 0)) ?? 'float32'),
  },
}

function modulo(c: Call): Tensor {
  if (!isInteger(c.x(0))) throw c.fail('Mod takes integers')
  return ops.rem(c.x(0), c.x(1))
}

function dropout(c: Call): Tensor {
  if (c.maybe(2) !== undefined && c.needed(2)[0] !== 0)
    throw c.fail('training_mode is true; export the model in evaluation mode')
  return c.x()
}
