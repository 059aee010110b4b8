/**
 * Ops that are replaced by plainer ones before planning (`decompose`), but have a gradient and often an ONNX node of their own:
 * the softmax family, normalisation, cross entropy, one-hot rows and smooth activations.
 */
import { shapeError } from '../graph/errors.ts'
import { normalizeAxes, normalizeAxis, reducedShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectFinite, expectInteger, type NoAttrs, operand } from './check.ts'
import { defineOp, type OnnxContext, type RefArray } from './define.ts'
import { add, cast, div, eq, finite, ge, gt, iota, logicalAnd, lt, minimum, mul, select, sub } from './elementwise.ts'
import { one, onnxReduce } from './onnx.ts'
import { type Axes, max, mean, moments, type ReduceAttrs, type ReduceOptions, sum } from './reduce.ts'
import { at, erfReference, foldRef, mapRef } from './ref.ts'
import { reshape, stopGradient, unsqueeze } from './shape.ts'
import { lift, type TensorLike } from './source.ts'
import { erf, exp, expm1, log, neg, rsqrt, sigmoid, square } from './unary.ts'

/** The largest along axes, without gradient, and 0 where it is infinite, so that x - it is never inf - inf. */
function safeMax(x: Tensor, axes: readonly number[]): Tensor {
  const m = stopGradient(max(x, axes, { keepDims: true }))
  return select(finite(m), m, 0)
}

function safeMaxRef(x: RefArray, axes: readonly number[]): RefArray {
  const m = foldRef(x, axes, reducedShape(x.shape, axes, true), Number.NEGATIVE_INFINITY, Math.max)
  return mapRef(m.shape, [m], (v) => (Number.isFinite(v) ? v : 0))
}

/** exp(x - max) and its sum over axes (kept). */
function expSumRef(x: RefArray, axes: readonly number[]): [RefArray, RefArray, RefArray] {
  const m = safeMaxRef(x, axes)
  const e = mapRef(x.shape, [x, m], (v, w) => Math.exp(v - w))
  return [m, e, foldRef(e, axes, m.shape, 0, (a, b) => a + b)]
}

const logsumexpOp = defineOp<ReduceAttrs>({
  name: 'logsumexp',
  kind: 'composite',
  infer: (inputs, { axes, keepDims }) => {
    const x = operand('logsumexp', inputs, 0, 'float32')
    return {
      shape: reducedShape(x.shape, normalizeAxes('logsumexp', axes, x.shape.length), keepDims),
      dtype: 'float32',
    }
  },
  // The softmax, from the same maximum and exponentials as the value, which common subexpressions then share.
  gradient: ({ inputs, attrs: { axes }, grad }) => {
    const x = at(inputs, 0)
    const g = reshape(grad, reducedShape(x.shape, axes, true))
    return [mul(g, softmaxOver(x, axes))]
  },
  decompose: (inputs, { axes, keepDims }) => {
    const x = at(inputs, 0)
    const m = safeMax(x, axes)
    const y = add(log(sum(exp(sub(x, m)), axes, { keepDims: true })), m)
    return keepDims ? y : reshape(y, reducedShape(x.shape, axes, false))
  },
  reference: (inputs, { axes }, output) => {
    const [m, , s] = expSumRef(at(inputs, 0), axes)
    return { shape: output.shape, data: mapRef(m.shape, [m, s], (a, b) => a + Math.log(b)).data }
  },
  onnx: (c) => onnxReduce(c, 'ReduceLogSumExp', at(c.inputs, 0), c.attrs.axes, c.attrs.keepDims),
})

/** Softmax over several axes at once: an own op for one axis, its definition for more. */
function softmaxOver(x: Tensor, axes: readonly number[]): Tensor {
  if (axes.length === 1) return softmaxOp([x], { axis: at(axes, 0) })
  const e = exp(sub(x, safeMax(x, axes)))
  return div(e, sum(e, axes, { keepDims: true }))
}

/** log Σ exp(x) over axes (all by default), stable for any finite x; -inf where all are -inf. */
export function logsumexp(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes('logsumexp', axes, x.rank)
  return list.length === 0 ? x : logsumexpOp([x], { axes: list, keepDims: options.keepDims ?? false })
}

const softmaxOp = defineOp<{ readonly axis: number }>({
  name: 'softmax',
  kind: 'composite',
  infer: (inputs, { axis }) => {
    const x = operand('softmax', inputs, 0, 'float32')
    normalizeAxis('softmax', axis, x.shape.length)
    return { shape: x.shape, dtype: 'float32' }
  },
  // y·(g - Σ g·y)
  gradient: ({ attrs: { axis }, grad, output }) => [
    mul(output, sub(grad, sum(mul(grad, output), axis, { keepDims: true }))),
  ],
  decompose: (inputs, { axis }) => {
    const x = at(inputs, 0)
    const e = exp(sub(x, safeMax(x, [axis])))
    return div(e, sum(e, axis, { keepDims: true }))
  },
  reference: (inputs, { axis }, output) => {
    const [, e, s] = expSumRef(at(inputs, 0), [axis])
    return mapRef(output.shape, [e, s], (a, b) => a / b)
  },
  onnx: (c) => one(c, 'Softmax', c.inputs, { axis: { int: c.attrs.axis } }),
})

/** exp(x) / Σ exp(x) along an axis (default the last). */
export function softmax(x: Tensor, axis = -1): Tensor {
  return softmaxOp([x], { axis: normalizeAxis('softmax', axis, x.rank) })
}

const logSoftmaxOp = defineOp<{ readonly axis: number }>({
  name: 'log_softmax',
  kind: 'composite',
  infer: (inputs, { axis }) => {
    const x = operand('log_softmax', inputs, 0, 'float32')
    normalizeAxis('log_softmax', axis, x.shape.length)
    return { shape: x.shape, dtype: 'float32' }
  },
  // g - softmax(x)·Σg
  gradient: ({ inputs, attrs: { axis }, grad }) => [
    sub(grad, mul(softmax(at(inputs, 0), axis), sum(grad, axis, { keepDims: true }))),
  ],
  decompose: (inputs, { axis }) => {
    const x = at(inputs, 0)
    const shifted = sub(x, safeMax(x, [axis]))
    return sub(shifted, log(sum(exp(shifted), axis, { keepDims: true })))
  },
  reference: (inputs, { axis }, output) => {
    const x = at(inputs, 0)
    const [m, , s] = expSumRef(x, [axis])
    return mapRef(output.shape, [x, m, s], (v, w, z) => v - w - Math.log(z))
  },
  onnx: (c) => one(c, 'LogSoftmax', c.inputs, { axis: { int: c.attrs.axis } }),
})

/** x - logsumexp(x) along an axis (default the last). */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return logSoftmaxOp([x], { axis: normalizeAxis('log_softmax', axis, x.rank) })
}

type NormalizeAttrs = { readonly axes: readonly number[]; readonly eps: number }

/** Mean and 1/sqrt(variance + eps), kept. */
function meanAndRstd(x: Tensor, { axes, eps }: NormalizeAttrs): [Tensor, Tensor] {
  const { mean: m, variance } = moments(x, axes, { keepDims: true })
  return [m, rsqrt(add(variance, eps))]
}

const normalizeOp = defineOp<NormalizeAttrs>({
  name: 'normalize',
  kind: 'composite',
  infer: (inputs, { axes, eps }) => {
    const x = operand('normalize', inputs, 0, 'float32')
    normalizeAxes('normalize', axes, x.shape.length)
    expectFinite('normalize', 'eps', eps)
    if (eps < 0) throw new RangeError(`[normalize] eps must not be negative; got ${eps}`)
    if (axes.some((a) => x.shape[a] === 0)) {
      throw shapeError('normalize', `needs at least one element along the axes; got ${showShape(x.shape)}`, { axes })
    }
    return { shape: x.shape, dtype: 'float32' }
  },
  // r·(g - mean(g) - x̂·mean(g·x̂)): both means are sums over the same loop.
  gradient: ({ inputs, attrs, grad, output }) => {
    const [, r] = meanAndRstd(at(inputs, 0), attrs)
    const over = (t: Tensor) => mean(t, attrs.axes, { keepDims: true })
    return [mul(r, sub(sub(grad, over(grad)), mul(output, over(mul(grad, output)))))]
  },
  decompose: (inputs, attrs) => {
    const x = at(inputs, 0)
    const [m, r] = meanAndRstd(x, attrs)
    return mul(sub(x, m), r)
  },
  reference: (inputs, { axes, eps }, output) => {
    const x = at(inputs, 0)
    const shape = reducedShape(x.shape, axes, true)
    const n = axes.reduce((k, a) => k * at(x.shape, a), 1)
    const average = (t: RefArray) => mapRef(shape, [foldRef(t, axes, shape, 0, (a, b) => a + b)], (v) => v / n)
    const m = average(x)
    const v = average(mapRef(x.shape, [x, m], (a, b) => (a - b) ** 2))
    return mapRef(output.shape, [x, m, v], (a, b, c) => (a - b) / Math.sqrt(c + eps))
  },
  onnx: (c) => {
    const { axes, eps } = c.attrs
    const x = at(c.inputs, 0)
    const d = one(c, 'Sub', [x, onnxReduce(c, 'ReduceMean', x, axes, true)])
    const v = onnxReduce(c, 'ReduceMean', one(c, 'Mul', [d, d]), axes, true)
    return one(c, 'Div', [d, one(c, 'Sqrt', [one(c, 'Add', [v, c.emit.floats([eps], [])])])])
  },
})

/** x with zero mean and unit biased variance over axes: (x - mean) / sqrt(variance + eps). Default eps 1e-5. */
export function normalize(x: Tensor, axes?: Axes, { eps = 1e-5 }: { readonly eps?: number } = {}): Tensor {
  return normalizeOp([x], { axes: normalizeAxes('normalize', axes, x.rank), eps })
}

const softmaxCrossEntropyOp = defineOp<NoAttrs>({
  name: 'softmax_cross_entropy',
  kind: 'composite',
  infer: (inputs) => {
    const logits = operand('softmax_cross_entropy', inputs, 0, 'float32')
    const labels = operand('softmax_cross_entropy', inputs, 1, 'int32')
    const rows = logits.shape.slice(0, -1)
    if (logits.shape.length === 0 || showShape(rows) !== showShape(labels.shape)) {
      throw shapeError(
        'softmax_cross_entropy',
        `labels must have the logits' shape without its last axis; got ${showShape(logits.shape)} and ${showShape(labels.shape)}`,
        { logits: logits.shape, labels: labels.shape },
      )
    }
    return { shape: labels.shape, dtype: 'float32' }
  },
  // g·(softmax(x) - onehot), and nothing for rows whose label selects no class.
  gradient: ({ inputs, grad }) => {
    const [x, labels] = [at(inputs, 0), at(inputs, 1)]
    const classes = at(x.shape, x.rank - 1)
    const counted = select(logicalAnd(ge(labels, 0), lt(labels, classes)), grad, 0)
    return [mul(unsqueeze(counted, -1), sub(softmax(x), oneHot(labels, classes))), null]
  },
  decompose: (inputs) => {
    const [x, labels] = [at(inputs, 0), at(inputs, 1)]
    const hit = eq(unsqueeze(labels, -1), iota([at(x.shape, x.rank - 1)]))
    return neg(sum(select(hit, logSoftmax(x), 0), -1))
  },
  reference: (inputs, _, output) => {
    const [x, labels] = [at(inputs, 0), at(inputs, 1)]
    const axis = x.shape.length - 1
    const classes = at(x.shape, axis)
    const [m, , s] = expSumRef(x, [axis])
    return mapRef(
      output.shape,
      [labels, { shape: output.shape, data: m.data }, { shape: output.shape, data: s.data }, rowNumbers(output.shape)],
      (y, w, z, row) => (y < 0 || y >= classes ? 0 : w + Math.log(z) - at(x.data, row * classes + y)),
    )
  },
  onnx: (c) => {
    const classes = at(at(c.types, 0).shape, at(c.types, 0).shape.length - 1)
    const picked = one(c, 'Mul', [
      one(c, 'LogSoftmax', [at(c.inputs, 0)], { axis: { int: -1 } }),
      oneHotOnnx(c, at(c.inputs, 1), classes),
    ])
    return one(c, 'Neg', [onnxReduce(c, 'ReduceSum', picked, [at(c.types, 0).shape.length - 1], false)])
  },
})

function rowNumbers(shape: readonly number[]): RefArray {
  const n = shape.reduce((a, b) => a * b, 1)
  return { shape, data: Float64Array.from({ length: n }, (_, i) => i) }
}

/**
 * Cross entropy of each row: -log softmax(logits)[label]. logits [..., classes], labels int32 [...] in 0..classes-1 (a label outside
 * selects nothing: loss 0, as padding). Result [...].
 */
export function softmaxCrossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return softmaxCrossEntropyOp([logits, labels], {})
}

const oneHotOp = defineOp<{ readonly classes: number }>({
  name: 'one_hot',
  kind: 'composite',
  infer: (inputs, { classes }) => {
    expectInteger('one_hot', 'classes', classes, 1)
    return { shape: [...operand('one_hot', inputs, 0, 'int32').shape, classes], dtype: 'float32' }
  },
  gradient: 'none',
  decompose: (inputs, { classes }) => cast(eq(unsqueeze(at(inputs, 0), -1), iota([classes])), 'float32'),
  reference: (inputs, { classes }, output) => {
    const x = at(inputs, 0)
    const data = Float64Array.from({ length: x.data.length * classes }, (_, i) =>
      at(x.data, Math.floor(i / classes)) === i % classes ? 1 : 0,
    )
    return { shape: output.shape, data }
  },
  onnx: (c) => oneHotOnnx(c, at(c.inputs, 0), c.attrs.classes),
})

/** Comparison with 0..classes-1: ONNX's own OneHot would wrap negative labels around. */
function oneHotOnnx(c: Pick<OnnxContext<NoAttrs>, 'emit'>, labels: string, classes: number): string {
  const column = one(c, 'Unsqueeze', [labels, c.emit.ints([-1])])
  const counter = c.emit.cast(c.emit.ints(Array.from({ length: classes }, (_, i) => i)), 'int32')
  return c.emit.cast(one(c, 'Equal', [column, counter]), 'float32')
}

/** float32 rows with 1 at the label: [...] int32 to [..., classes]. A label outside 0..classes-1 gives a row of zeros. */
export function oneHot(labels: Tensor, classes: number): Tensor {
  return oneHotOp([labels], { classes })
}

function logistic(x: number): number {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))
}

const siluOp = defineOp<NoAttrs>({
  name: 'silu',
  kind: 'composite',
  infer: (inputs) => ({ shape: operand('silu', inputs, 0, 'float32').shape, dtype: 'float32' }),
  // s·(1 + x·(1 - s)), s = sigmoid(x)
  gradient: ({ inputs, grad }) => {
    const x = at(inputs, 0)
    const s = sigmoid(x)
    return [mul(grad, mul(s, add(mul(x, sub(1, s)), 1)))]
  },
  decompose: (inputs) => mul(at(inputs, 0), sigmoid(at(inputs, 0))),
  reference: (inputs, _, output) => mapRef(output.shape, inputs, (x) => x * logistic(x)),
  onnx: (c) => one(c, 'Mul', [at(c.inputs, 0), one(c, 'Sigmoid', c.inputs)]),
})

/** x·sigmoid(x), also called swish. */
export function silu(x: TensorLike): Tensor {
  return siluOp([lift(x)], {})
}

const geluOp = defineOp<NoAttrs>({
  name: 'gelu',
  kind: 'composite',
  infer: (inputs) => ({ shape: operand('gelu', inputs, 0, 'float32').shape, dtype: 'float32' }),
  // Φ(x) + x·φ(x)
  gradient: ({ inputs, grad }) => {
    const x = at(inputs, 0)
    const density = mul(exp(mul(square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return [mul(grad, add(normalCdf(x), mul(x, density)))]
  },
  decompose: (inputs) => mul(at(inputs, 0), normalCdf(at(inputs, 0))),
  reference: (inputs, _, output) => mapRef(output.shape, inputs, (x) => x * 0.5 * (1 + erfReference(x / Math.SQRT2))),
  onnx: (c) => {
    const scaled = one(c, 'Mul', [at(c.inputs, 0), c.emit.floats([Math.SQRT1_2], [])])
    const twice = one(c, 'Add', [one(c, 'Erf', [scaled]), c.emit.floats([1], [])])
    return one(c, 'Mul', [at(c.inputs, 0), one(c, 'Mul', [twice, c.emit.floats([0.5], [])])])
  },
})

function normalCdf(x: Tensor): Tensor {
  return mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5)
}

/** x·Φ(x), exactly (with erf). */
export function gelu(x: TensorLike): Tensor {
  return geluOp([lift(x)], {})
}

const eluOp = defineOp<{ readonly alpha: number }>({
  name: 'elu',
  kind: 'composite',
  infer: (inputs, { alpha }) => {
    expectFinite('elu', 'alpha', alpha)
    return { shape: operand('elu', inputs, 0, 'float32').shape, dtype: 'float32' }
  },
  // The minimum keeps the unselected branch finite, so that 0·inf never arises; at x = 0 the left slope alpha is taken.
  gradient: ({ inputs, attrs: { alpha }, grad }) => {
    const x = at(inputs, 0)
    return [select(gt(x, 0), grad, mul(grad, mul(exp(minimum(x, 0)), alpha)))]
  },
  decompose: (inputs, { alpha }) => {
    const x = at(inputs, 0)
    return select(gt(x, 0), x, mul(expm1(minimum(x, 0)), alpha))
  },
  reference: (inputs, { alpha }, output) => mapRef(output.shape, inputs, (x) => (x > 0 ? x : alpha * Math.expm1(x))),
  onnx: (c) => one(c, 'Elu', c.inputs, { alpha: { float: c.attrs.alpha } }),
})

/** x where x > 0, alpha·(exp(x) - 1) elsewhere. Default alpha 1. */
export function elu(x: TensorLike, alpha = 1): Tensor {
  return eluOp([lift(x)], { alpha })
}
