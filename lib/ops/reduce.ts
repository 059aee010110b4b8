/** Sums, extrema and what is built of them: mean, moments, norms; and the sum that undoes a broadcast. */
import { type DType, normalizeAxes, reducedShape, type Shape, sameShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { operand } from './check.ts'
import { defineOp, type OnnxRule, type OpDefinition } from './define.ts'
import { add, cast, div, eq, maximum, mul, sub } from './elementwise.ts'
import { onnxReduce } from './onnx.ts'
import { at, foldRef, wrap } from './ref.ts'
import { broadcast, reshape, slice, stopGradient } from './shape.ts'
import { sqrt, square } from './unary.ts'

/** Axes as one index, a list, or all when omitted; negative ones count from the end. */
export type Axes = number | readonly number[] | undefined
export interface ReduceOptions {
  /** Keep the reduced axes as 1. Default false. */
  readonly keepDims?: boolean
}
export type ReduceAttrs = { readonly axes: readonly number[]; readonly keepDims: boolean }

type Fold = { readonly start: (dtype: DType) => number; readonly f: (a: number, b: number) => number }

function reduction(
  name: string,
  fold: Fold,
  gradient: OpDefinition<ReduceAttrs>['gradient'],
  onnx: OnnxRule<ReduceAttrs>,
) {
  const build = defineOp<ReduceAttrs>({
    name,
    kind: 'reduce',
    infer: (inputs, { axes, keepDims }) => {
      const x = operand(name, inputs, 0, 'float32', 'int32')
      return { shape: reducedShape(x.shape, normalizeAxes(name, axes, x.shape.length), keepDims), dtype: x.dtype }
    },
    gradient,
    reference: (inputs, { axes }, output) =>
      foldRef(at(inputs, 0), axes, output.shape, fold.start(output.dtype), (a, b) => wrap(output.dtype, fold.f(a, b))),
    onnx,
  })
  return (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor => {
    const list = normalizeAxes(name, axes, x.rank)
    return list.length === 0 ? x : build([x], { axes: list, keepDims: options.keepDims ?? false })
  }
}

/** A reduced tensor with its axes back as 1, so that it broadcasts against what was reduced. */
function keep(y: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  return reshape(y, reducedShape(x.shape, axes, true))
}

/** Sum over axes (all by default); float32 or int32. The sum of nothing is 0. */
export const sum = reduction(
  'sum',
  { start: () => 0, f: (a, b) => a + b },
  ({ inputs, attrs, grad }) => [broadcast(keep(grad, at(inputs, 0), attrs.axes), at(inputs, 0).shape)],
  (c) => onnxReduce(c, 'ReduceSum', at(c.inputs, 0), c.attrs.axes, c.attrs.keepDims),
)

/** Equal shares to all that attain the extremum. */
const extremumGradient: OpDefinition<ReduceAttrs>['gradient'] = ({ inputs, attrs: { axes }, grad, output }) => {
  const x = at(inputs, 0)
  const mask = cast(eq(x, keep(output, x, axes)), 'float32')
  return [mul(mask, div(keep(grad, x, axes), sum(mask, axes, { keepDims: true })))]
}

/** Largest over axes (all by default). NaN if any is NaN; of nothing -inf. Ties share the gradient equally. */
export const max = reduction(
  'max',
  { start: (dtype) => (dtype === 'int32' ? -(2 ** 31) : Number.NEGATIVE_INFINITY), f: Math.max },
  extremumGradient,
  (c) => onnxReduce(c, 'ReduceMax', at(c.inputs, 0), c.attrs.axes, c.attrs.keepDims),
)

/** Smallest over axes (all by default). NaN if any is NaN; of nothing +inf. Ties share the gradient equally. */
export const min = reduction(
  'min',
  { start: (dtype) => (dtype === 'int32' ? 2 ** 31 - 1 : Number.POSITIVE_INFINITY), f: Math.min },
  extremumGradient,
  (c) => onnxReduce(c, 'ReduceMin', at(c.inputs, 0), c.attrs.axes, c.attrs.keepDims),
)

/** Number of elements that each result of a reduction sees. */
export function countOf(shape: Shape, axes: readonly number[]): number {
  return axes.reduce((n, a) => n * at(shape, a), 1)
}

/** Mean over axes (all by default): the sum times 1/n. NaN over nothing. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const list = normalizeAxes('mean', axes, x.rank)
  if (list.length === 0) return x
  return mul(sum(x, list, options), 1 / countOf(x.shape, list))
}

/** Mean and biased variance over axes. */
export interface Moments {
  readonly mean: Tensor
  readonly variance: Tensor
}

/**
 * Mean and biased variance in one pass: with a pivot p (the first element along the axes) and d = x - p, m = p + Σd/n and
 * v = Σd²/n - (Σd/n)². The shift removes the cancellation of the unshifted formula, and both sums fuse into one loop.
 * The pivot carries no gradient: neither result depends on it.
 */
export function moments(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Moments {
  const list = normalizeAxes('moments', axes, x.rank)
  const n = countOf(x.shape, list)
  if (n === 0) throw new RangeError(`[moments] needs at least one element along the axes; x is ${x}`)
  const pivot = firstAlong(stopGradient(x), list)
  const d = sub(x, pivot)
  const shift = mul(sum(d, list, { keepDims: true }), 1 / n)
  const m = add(pivot, shift)
  const v = maximum(sub(mul(sum(square(d), list, { keepDims: true }), 1 / n), square(shift)), 0)
  if (options.keepDims) return { mean: m, variance: v }
  const shape = reducedShape(x.shape, list, false)
  return { mean: reshape(m, shape), variance: reshape(v, shape) }
}

function firstAlong(x: Tensor, axes: readonly number[]): Tensor {
  const start = x.shape.map(() => 0)
  return slice(
    x,
    start,
    x.shape.map((d, i) => (axes.includes(i) ? 1 : d)),
  )
}

/** Biased variance over axes (all by default), by {@link moments}. */
export function variance(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return moments(x, axes, options).variance
}

/** Euclidean norm over axes (all by default); its gradient at the origin is 0. */
export function norm(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return sqrt(sum(square(x), axes, options))
}

/** Sums a tensor of a broadcast shape back to `shape`: the adjoint of broadcasting. */
export function unbroadcast(g: Tensor, shape: Shape): Tensor {
  if (sameShape(g.shape, shape)) return g
  const lead = g.rank - shape.length
  const axes = g.shape.flatMap((d, i) => (i < lead || (at(shape, i - lead) === 1 && d !== 1) ? [i] : []))
  return reshape(sum(g, axes), shape)
}
