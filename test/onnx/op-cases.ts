/** Single ops at fixed shapes for ops.test.ts: odd sizes, size 1, scalars, broadcasting, ties, special values. No expectations: those are the references. */
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Shape } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { waves } from './helpers.ts'

export interface OpCase {
  readonly name: string
  readonly inputs: readonly HostTensor[]
  readonly f: (...x: readonly Tensor[]) => Tensor
  /** Largest relative error; a few roundings of float32 by default. */
  readonly tolerance: number
  /** Errors are relative to max(|value|, floor) of each element; without it, to the largest magnitude of all. */
  readonly floor: number | undefined
  readonly opset: number
}

type Options = { readonly tolerance?: number; readonly floor?: number; readonly opset?: number }
export const cases: OpCase[] = []

function one(name: string, a: HostTensor, f: (a: Tensor) => Tensor, options: Options = {}): void {
  many(name, [a], (x) => f(x as Tensor), options)
}

function two(name: string, a: HostTensor, b: HostTensor, f: (a: Tensor, b: Tensor) => Tensor, o: Options = {}): void {
  many(name, [a, b], (x, y) => f(x as Tensor, y as Tensor), o)
}

function many(name: string, inputs: readonly HostTensor[], f: OpCase['f'], options: Options = {}): void {
  const { tolerance = 1e-6, floor, opset = 17 } = options
  cases.push({ name, inputs, f, tolerance, floor, opset })
}

const floats = (values: readonly number[], shape: Shape = [values.length]) =>
  hostTensor(Float32Array.from(values), shape)
const ints = (values: readonly number[], shape: Shape = [values.length]) => hostTensor(Int32Array.from(values), shape)
const bools = (values: readonly number[], shape: Shape = [values.length]) =>
  hostTensor(Uint8Array.from(values), shape, 'bool')

const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN]
const usual = [-30, -2.5, -1.5, -1, -0.5, -1e-3, -1e-6, -0, 0, 1e-7, 1e-3, 0.4, 0.5, 1, 1.5, 2, 2.5, 3, 17, 30]
const positive = usual.map(Math.abs)
const special = [-inf, inf, nan]

/** The function, its arguments, and below which magnitude errors are absolute (cancellation that float32 code has too). */
const unary: Record<string, readonly [f: (x: Tensor) => Tensor, values: readonly number[], floor: number]> = {
  neg: [ops.neg, [...usual, ...special], 0],
  abs: [ops.abs, [...usual, ...special], 0],
  sign: [ops.sign, [...usual, -inf, inf], 0],
  exp: [ops.exp, [...usual, ...special], 0],
  expm1: [ops.expm1, usual, 0],
  log: [ops.log, [...positive, ...special], 0],
  log1p: [ops.log1p, [...positive, -0.5, -0.999, -1e-4, -1, inf, nan], 0],
  sqrt: [ops.sqrt, [...positive, -1, inf, nan], 0],
  rsqrt: [ops.rsqrt, [...positive, inf, nan], 0],
  reciprocal: [ops.reciprocal, [...usual, ...special], 0],
  square: [ops.square, [...usual, ...special], 0],
  sin: [ops.sin, [...usual, nan], 1],
  cos: [ops.cos, [...usual, nan], 1],
  tanh: [ops.tanh, [...usual, ...special], 0],
  sigmoid: [ops.sigmoid, [...usual, ...special], 1e-7],
  softplus: [ops.softplus, [...usual, ...special], 1e-7],
  relu: [ops.relu, [...usual, ...special], 0],
  leaky_relu: [(x) => ops.leakyRelu(x, 0.2), [...usual, ...special], 0],
  erf: [ops.erf, [...usual, ...special], 0],
  floor: [ops.floor, [...usual, ...special], 0],
  ceil: [ops.ceil, [...usual, ...special], 0],
  round: [ops.round, [...usual, ...special], 0],
  is_finite: [ops.finite, [...usual, ...special, 3.4e38], 0],
  silu: [ops.silu, [...usual, inf, nan], 1],
  gelu: [ops.gelu, [...usual, inf, nan], 1],
  elu: [(x) => ops.elu(x, 0.7), [...usual, ...special], 1],
  clamp: [(x) => ops.clamp(x, -1.25, 2), [...usual, ...special], 0],
  stop_gradient: [ops.stopGradient, usual, 0],
}
for (const [name, [f, values, floor]] of Object.entries(unary)) {
  one(name, floats(values), f, { floor, tolerance: 2e-6 })
  one(`${name} of a scalar`, floats([0.75], []), f, { tolerance: 2e-6 })
}

// Two operands: all pairs by broadcasting a column against a row.
const side = [-2.5, -1, -0, 0, 0.5, 1, 3]
const binary: Record<string, readonly [f: (a: Tensor, b: Tensor) => Tensor, extra: readonly number[]]> = {
  add: [ops.add, special],
  sub: [ops.sub, special],
  mul: [ops.mul, special],
  div: [ops.div, special],
  maximum: [ops.maximum, special],
  minimum: [ops.minimum, special],
  eq: [ops.eq, special],
  ne: [ops.ne, special],
  lt: [ops.lt, special],
  le: [ops.le, special],
  gt: [ops.gt, special],
  ge: [ops.ge, special],
}
for (const [name, [f, extra]] of Object.entries(binary)) {
  const values = [...side, ...extra]
  two(name, floats(values, [values.length, 1]), floats(values), f, { floor: 0 })
  const whole = [-7, -2, -1, 0, 1, 2, 5, 2 ** 30, -(2 ** 31)]
  two(`${name} of int32`, ints(whole, [9, 1]), ints(whole), f, { floor: 0 })
}
two('rem', ints([-7, -6, -1, 0, 1, 6, 7], [7, 1]), ints([-3, 3, 1, -1, 5, 0]), ops.rem, { floor: 0 })
two('pow', floats([0, 0.3, 1, 2.5, 30], [5, 1]), floats([-2, -0.5, 0, 0.5, 1, 3.25]), ops.pow, {
  floor: 0,
  tolerance: 2e-6,
})
two('logical_and', bools([0, 1], [2, 1]), bools([0, 1]), ops.logicalAnd)
two('logical_or', bools([0, 1], [2, 1]), bools([0, 1]), ops.logicalOr)
one('logical_not', bools([0, 1, 1]), ops.logicalNot)
const condition = bools([1, 0, 1], [3, 1])
many('select', [condition, floats([1, 2, nan]), floats([-1, inf, -3])], (c, a, b) =>
  ops.select(c as Tensor, a as Tensor, b as Tensor),
)
many('select of int32', [condition, ints([1, 2]), ints([3, 4])], (c, a, b) =>
  ops.select(c as Tensor, a as Tensor, b as Tensor),
)
many('select of bool', [condition, bools([1, 0]), bools([0, 1])], (c, a, b) =>
  ops.select(c as Tensor, a as Tensor, b as Tensor),
)

// Casts
one('cast float32 to int32', floats([-2.7, -1, -0.5, 0, 0.5, 2.7, 1e6]), (x) => ops.cast(x, 'int32'))
one('cast float32 to bool', floats([-2.7, 0, -0, 0.1, inf]), (x) => ops.cast(x, 'bool'))
one('cast float32 to uint8', floats([0, 0.9, 17.2, 255]), (x) => ops.cast(x, 'uint8'))
one('cast int32 to float32', ints([-5, 0, 2 ** 24]), (x) => ops.cast(x, 'float32'))
one('cast uint8 to float32', hostTensor(Uint8Array.from([0, 7, 255]), [3]), (x) => ops.cast(x, 'float32'))
one('cast bool to int32', bools([0, 1]), (x) => ops.cast(x, 'int32'))

// Reductions
const cube = waves([3, 4, 5])
for (const [name, f] of Object.entries({ sum: ops.sum, max: ops.max, min: ops.min, logsumexp: ops.logsumexp })) {
  one(`${name} of an axis`, cube, (x) => f(x, 1))
  one(`${name} of two axes, kept`, cube, (x) => f(x, [0, 2], { keepDims: true }), { tolerance: 2e-6 })
  one(`${name} of everything`, cube, (x) => f(x), { tolerance: 2e-6 })
  one(`${name} of one element`, waves([2, 1]), (x) => f(x, 1))
}
one('sum of int32', ints([1, -2, 3, 4], [2, 2]), (x) => ops.sum(x, 0))
one(
  'logsumexp of large, lost and infinite values',
  floats([1000, 999, -1000, -1001, -inf, 0, -inf, -inf], [4, 2]),
  (x) => ops.logsumexp(x, 1),
  { floor: 0 },
)
one('argmax', floats([1, 3, 3, -1, -5, -5], [2, 3]), (x) => ops.argmax(x))
one('argmax of the first axis', cube, (x) => ops.argmax(x, 0))

// Composites
one('softmax', floats([1000, 999, 0, 1, -30, 30], [3, 2]), (x) => ops.softmax(x), { floor: 1e-12 })
one('softmax of the middle axis', cube, (x) => ops.softmax(x, 1))
one('log_softmax', floats([1000, 999, 0, 1, -30, 30], [3, 2]), (x) => ops.logSoftmax(x), { floor: 1e-3 })
one('normalize', waves([2, 3, 7]), (x) => ops.normalize(x, [1, 2]), { tolerance: 3e-6 })
one('normalize over the first axis with eps', waves([5, 3]), (x) => ops.normalize(x, 0, { eps: 0.1 }), {
  tolerance: 3e-6,
})
two('softmax_cross_entropy, labels outside too', waves([5, 4]), ints([0, 3, 2, -1, 4]), ops.softmaxCrossEntropy)
one('one_hot, labels outside too', ints([0, 3, -1, 4, 2, 1], [2, 3]), (x) => ops.oneHot(x, 4))

// Shapes
one('reshape', cube, (x) => ops.reshape(x, [15, 4]))
one('reshape of a scalar', floats([2], []), (x) => ops.reshape(x, [1, 1]))
one('transpose', cube, (x) => ops.transpose(x, [2, 0, 1]))
one('transpose of bool', bools([1, 0, 0, 1, 1, 1], [2, 3]), (x) => ops.transpose(x))
one('broadcast', waves([3, 1]), (x) => ops.broadcast(x, [2, 3, 4]))
one('broadcast of bool', bools([1, 0], [2, 1]), (x) => ops.broadcast(x, [2, 3]))
one('slice', cube, (x) => ops.slice(x, [0, 1, 1], [3, 3, 5], [2, 1, 3]))
one('slice to nothing', cube, (x) => ops.slice(x, [0, 2, 0], [3, 2, 5]))
one('pad', waves([2, 3]), (x) => ops.pad(x, { low: [1, 0], high: [0, 2], value: 2.5 }))
one('pad between', waves([3, 2, 1]), (x) =>
  ops.pad(x, { low: [0, 1, 1], interior: [1, 2, 3], high: [2, 0, 0], value: -1 }),
)
one('pad of int32', ints([1, 2, 3]), (x) => ops.pad(x, { low: [2], interior: [1], value: 7 }))
two('concat', waves([2, 3]), waves([2, 1], 5), (a, b) => ops.concat([a, b, a], 1))
many('iota', [], () => ops.iota([2, 3, 2], 1))
many('iota of float32', [], () => ops.iota([4], 0, 'float32'))
two('gather', cube, ints([2, 0, 9, -4], [2, 2]), (x, i) => ops.gather(x, i, { axis: 1 }))
two('gather of int32 by a scalar', ints([4, 5, 6]), ints([1], []), (x, i) => ops.gather(x, i))
many('scatter_add, repeated and outside', [waves([3, 4]), ints([2, 0, 2, 9]), waves([3, 4], 7)], (x, i, u) =>
  ops.scatterAdd(x as Tensor, i as Tensor, u as Tensor, { axis: 1 }),
)
many('scatter_add of rows', [waves([4, 2]), ints([1, 1]), waves([2, 2], 7)], (x, i, u) =>
  ops.scatterAdd(x as Tensor, i as Tensor, u as Tensor),
)

// Matrix products
two('matmul', waves([3, 5]), waves([5, 2], 4), (a, b) => ops.matmul(a, b))
two('matmul, both transposed', waves([5, 3]), waves([2, 5], 4), (a, b) =>
  ops.matmul(a, b, { transposeA: true, transposeB: true }),
)
two('matmul of stacks, broadcast', waves([2, 1, 3, 4]), waves([3, 4, 2], 4), (a, b) => ops.matmul(a, b))

// Convolutions: y, and both adjoints through gradients of a quadratic.
const geometries: readonly [string, Shape, Shape, Parameters<typeof ops.conv2d>[2]][] = [
  ['3x3 padded', [2, 3, 6, 5], [4, 3, 3, 3], { padding: 1 }],
  ['stride 2 that does not divide', [2, 3, 6, 7], [4, 3, 3, 3], { padding: 1, stride: 2 }],
  ['stride 3 leaves rows over', [1, 2, 9, 8], [2, 2, 2, 2], { stride: 3 }],
  ['uneven padding', [1, 2, 5, 5], [3, 2, 3, 2], { padding: [0, 1, 2, 1], stride: [2, 1] }],
  ['dilated', [1, 2, 9, 7], [3, 2, 3, 3], { dilation: [2, 1], padding: [2, 1] }],
  ['dilated with stride', [1, 2, 9, 8], [3, 2, 3, 2], { dilation: 2, stride: [2, 3], padding: [2, 0] }],
  ['in groups', [2, 4, 5, 5], [6, 2, 3, 3], { groups: 2, padding: 1, stride: 2 }],
  ['depthwise', [1, 3, 5, 4], [3, 1, 3, 3], { groups: 3, padding: 1 }],
  ['1x1', [2, 3, 4, 4], [5, 3, 1, 1], { stride: 2 }],
]
for (const [name, x, w, options] of geometries) {
  const gradientOf = (i: number) => (a: Tensor, b: Tensor) =>
    grad(ops.sum(ops.square(ops.conv2d(a, b, options))), [a, b])[i] as Tensor
  two(`conv2d ${name}`, waves(x), waves(w, 3), (a, b) => ops.conv2d(a, b, options))
  two(`conv2d_input_grad ${name}`, waves(x), waves(w, 3), gradientOf(0), { tolerance: 2e-6 })
  two(`conv2d_weight_grad ${name}`, waves(x), waves(w, 3), gradientOf(1), { tolerance: 2e-6 })
}

// Pooling and resizing, with their adjoints
const plane = waves([2, 3, 7, 6])
const weighted = (y: Tensor) => ops.sum(ops.mul(ops.square(y), ops.add(ops.iota(y.shape, 3, 'float32'), 1)))
const gradOf = (f: (x: Tensor) => Tensor) => (x: Tensor) => grad(weighted(f(x)), [x])[0] as Tensor
const pools: readonly [string, Parameters<typeof ops.avgpool2d>[1]][] = [
  ['', { kernel: 2 }],
  [' overlapping, padded', { kernel: 3, stride: 2, padding: 1 }],
  [' uneven', { kernel: [3, 2], stride: [1, 3], padding: [0, 1, 2, 0] }],
  [' without the padding', { kernel: 3, stride: 2, padding: 1, countIncludePad: false }],
]
for (const [name, options] of pools) {
  one(`avgpool2d${name}`, plane, (x) => ops.avgpool2d(x, options))
  one(
    `avgpool2d_grad${name}`,
    plane,
    gradOf((x) => ops.avgpool2d(x, options)),
  )
  if (options.countIncludePad === undefined) {
    one(`maxpool2d${name}`, plane, (x) => ops.maxpool2d(x, options))
    one(
      `maxpool2d_grad${name}`,
      plane,
      gradOf((x) => ops.maxpool2d(x, options)),
    )
    one(`maxpool2d_select${name}`, plane, gradOf(gradOf((x) => ops.maxpool2d(x, options))))
  }
}
one(
  'maxpool2d_grad at ties',
  floats([1, 1, 1, 1, 2, 2, 0, 2, 2], [1, 1, 3, 3]),
  gradOf((x) => ops.maxpool2d(x, { kernel: 2, stride: 1 })),
)
const resizes: readonly Parameters<typeof ops.resize2d>[1][] = [
  { size: [14, 12] },
  { size: [3, 4] },
  { size: [5, 11], mode: 'bilinear' },
  { size: [10, 4], mode: 'bilinear', alignCorners: true },
  { size: [1, 1], mode: 'bilinear' },
]
for (const options of resizes) {
  const name = `${options.size} ${options.mode ?? 'nearest'}${options.alignCorners === true ? ' by corners' : ''}`
  one(`resize2d to ${name}`, plane, (x) => ops.resize2d(x, options), { tolerance: 2e-6 })
  one(
    `resize2d_grad from ${name}`,
    plane,
    gradOf((x) => ops.resize2d(x, options)),
    { tolerance: 3e-6 },
  )
}

// Draws and the data path
const keys: readonly [string, HostTensor][] = [
  ['a small key', hostTensor(ops.seedKey(7, 1), [4])],
  ['a key of all bits', ints([-1, -2147483648, -1, 123456789])],
]
for (const [name, key] of keys) {
  one(`normal from ${name}`, key, (k) => ops.normal(k, [5, 3], 3), { opset: 18, tolerance: 1e-5 })
  one(`uniform from ${name}`, key, (k) => ops.uniform(k, [13], 2 ** 32 - 1), { opset: 18, floor: 0, tolerance: 0 })
  one(`random_int from ${name}`, key, (k) => ops.randomInt(k, [9], { bound: 2 ** 31 - 1 }), { opset: 18, tolerance: 0 })
}
const [, key] = keys[0] as [string, HostTensor]
two('bernoulli', key, floats([0, 0.2, 0.5, 0.9, 1]), (k, p) => ops.bernoulli(k, p, 1), { opset: 18 })
two('categorical', key, waves([6, 4]), (k, l) => ops.categorical(k, l, 1), { opset: 18 })
many(
  'gaussian_rows',
  [bools([1, 0, 1]), ints([1, 0, 7]), waves([2, 3]), waves([2, 3, 2], 4), waves([3, 2], 8)],
  (m, c, mean, factor, z) => ops.gaussianRows(m as Tensor, c as Tensor, mean as Tensor, factor as Tensor, z as Tensor),
)
