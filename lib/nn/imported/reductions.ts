/** Rules of reductions. Axes are an attribute in older opsets and an input in newer ones. */
import { sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import type { Call, OpRule } from './call.ts'

type Reduce = (x: Tensor, axes: readonly number[], keep: { readonly keepDims: boolean }) => Tensor

function reduction(f: Reduce, affine?: OpRule['affine']): OpRule {
  return {
    attributes: ['axes', 'keepdims', 'noop_with_empty_axes'],
    ...(affine && { affine }),
    build: (c) => reduce(c, f),
  }
}

function reduce(c: Call, f: Reduce): Tensor {
  const x = c.x()
  const given = c.listed('axes', 1) ?? []
  if (given.length === 0 && c.number('noop_with_empty_axes', 0)) return x
  const axes = given.length === 0 ? x.shape.map((_, i) => i) : given.map((a) => c.axis(a))
  return f(x, axes, { keepDims: c.number('keepdims', 1) !== 0 })
}

/** Products are needed of shapes only, so they are taken of known numbers. */
function product(c: Call): Tensor {
  const x = c.x()
  const values = c.needed(0)
  const axes = c.listed('axes', 1) ?? []
  if (axes.length > 0 && axes.length < x.rank) throw c.fail('products over some of the axes are not supported')
  const shape = c.number('keepdims', 1) ? x.shape.map(() => 1) : []
  return ops.constant(new Array<number>(sizeOf(shape)).fill(values.reduce((a, b) => a * b, 1)), shape, x.dtype)
}

export const reductions: Readonly<Record<string, OpRule>> = {
  ReduceSum: reduction(ops.sum, 'all'),
  ReduceMean: reduction(ops.mean, 'all'),
  ReduceMax: reduction(ops.max),
  ReduceMin: reduction(ops.min),
  ReduceL1: reduction((x, axes, keep) => ops.sum(ops.abs(x), axes, keep)),
  ReduceL2: reduction(ops.norm),
  ReduceSumSquare: reduction((x, axes, keep) => ops.sum(ops.square(x), axes, keep)),
  ReduceLogSumExp: reduction(ops.logsumexp),
  ReduceLogSum: reduction((x, axes, keep) => ops.log(ops.sum(x, axes, keep))),
  ReduceProd: { attributes: ['axes', 'keepdims', 'noop_with_empty_axes'], build: product },
}
