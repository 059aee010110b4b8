/** Rules about shapes: reshapes, broadcasts, transposes, reductions, and transposes that matmul can read by itself. */
import { normalizeAxes, reducedShape, type Shape, sameShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { GraphBuilder } from './builder.ts'
import { constantOf, isConstant, scalarOf } from './constants.ts'
import type { Candidate, Rule } from './simplify.ts'
import { pad, slice, sumOfSlice } from './simplify-slice.ts'

const reshape: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  const shape = c.type.shape
  if (sameShape(x.shape, shape)) return x
  if (x.op.name === 'reshape') return b.reshape(x.inputs[0] as Tensor, shape)
  if (isConstant(x) && x.data !== undefined) return b.constant(constantOf(x.data, shape, x.dtype))
  const source = x.op.name === 'broadcast' ? (x.inputs[0] as Tensor) : undefined
  return source?.size === 1 ? b.broadcast(b.reshape(source, []), shape) : undefined
}

const broadcast: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  const shape = c.type.shape
  if (sameShape(x.shape, shape)) return x
  if (x.op.name === 'broadcast') return b.broadcast(x.inputs[0] as Tensor, shape)
  const source = x.op.name === 'reshape' ? (x.inputs[0] as Tensor) : undefined
  // Leading dimensions of 1 are broadcasting's own.
  if (source && source.rank < x.rank && sameShape(paddedShape(source, x.rank), x.shape))
    return b.broadcast(source, shape)
  if (x.op.name === 'iota' || x.size !== sizeOf(shape)) return undefined
  return b.reshape(x, shape)
}

const transpose: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  const perm = c.attrs.perm as readonly number[]
  if (perm.every((p, i) => p === i)) return x
  if (x.op.name === 'transpose') {
    const inner = x.attrs.perm as readonly number[]
    return b.make('transpose', [x.inputs[0] as Tensor], { perm: perm.map((p) => inner[p] as number) })
  }
  // Moving only dimensions of 1 leaves the elements where they are.
  const kept = perm.filter((p) => x.shape[p] !== 1)
  if (kept.every((p, i) => i === 0 || p > (kept[i - 1] as number))) return b.reshape(x, c.type.shape)
  const source = x.op.name === 'broadcast' ? (x.inputs[0] as Tensor) : undefined
  return source?.size === 1 ? b.broadcast(b.reshape(source, []), c.type.shape) : undefined
}

const stopGradient: Rule = (_b, c) => c.inputs[0]

const matmul: Rule = (b, c) => {
  const [x, y] = c.inputs as [Tensor, Tensor]
  const inner = x.shape[x.rank - (c.attrs.transposeA === true ? 2 : 1)]
  if (inner === 1) return outerProduct(b, c, x, y)
  const uniform = ofUniform(b, c, x, y)
  if (uniform !== undefined) return uniform
  const vector = timesVector(b, c, x, y)
  if (vector !== undefined) return vector
  const swapX = swapsLastTwo(x)
  const swapY = swapsLastTwo(y)
  if (!swapX && !swapY) return undefined
  const inputs = [swapX ? (x.inputs[0] as Tensor) : x, swapY ? (y.inputs[0] as Tensor) : y]
  const { transposeA = false, transposeB = false } = c.attrs
  return b.make('matmul', inputs, { ...c.attrs, transposeA: transposeA !== swapX, transposeB: transposeB !== swapY })
}

/** A product over an inner dimension of 1 is elementwise: column times row. */
function outerProduct(b: GraphBuilder, c: Candidate, x: Tensor, y: Tensor): Tensor {
  const [m, n] = c.type.shape.slice(-2) as [number, number]
  const column = b.reshape(x, [...x.shape.slice(0, -2), m, 1])
  const row = b.reshape(y, [...y.shape.slice(0, -2), 1, n])
  return b.broadcast(b.make('mul', [column, row], {}), c.type.shape)
}

/** A matrix of one repeated value times y sums y's columns (and the other way round): ones come from gradients of sums. */
function ofUniform(b: GraphBuilder, c: Candidate, x: Tensor, y: Tensor): Tensor | undefined {
  const [kx, ky] = [scalarOf(x), scalarOf(y)]
  const other = kx !== undefined ? y : x
  const k = kx ?? ky
  if (k === undefined || x.dtype !== 'float32') return undefined
  const summed = kx !== undefined ? (c.attrs.transposeB === true ? 1 : 2) : c.attrs.transposeA === true ? 2 : 1
  const [m, n] = c.type.shape.slice(-2) as [number, number]
  const sums = b.make('sum', [other], { axes: [other.rank - summed], keepDims: false })
  const placed = b.reshape(sums, [...other.shape.slice(0, -2), ...(kx !== undefined ? [1, n] : [m, 1])])
  return b.broadcast(b.make('mul', [placed, b.scalar(k, 'float32')], {}), c.type.shape)
}

/**
 * A sum over the rows of a matrix that a loop computes, weighted by a vector: a sum in that loop, and the matrix need not be stored for it. (Along
 * the columns a product is faster than a loop's sum.)
 */
function timesVector(b: GraphBuilder, c: Candidate, x: Tensor, y: Tensor): Tensor | undefined {
  const [m, n] = c.type.shape as [number, number]
  if (c.type.shape.length !== 2 || (m !== 1 && n !== 1) || x.rank !== 2 || y.rank !== 2) return undefined
  const [matrix, vector] = n === 1 ? [x, y] : [y, x]
  if (b.definition(matrix.op.name).kind !== 'elementwise') return undefined
  const summed = n === 1 ? (c.attrs.transposeA === true ? 0 : 1) : c.attrs.transposeB === true ? 1 : 0
  if (summed !== 0) return undefined
  const placed = b.reshape(vector, [vector.size, 1])
  const sums = b.make('sum', [b.make('mul', [matrix, placed], {})], { axes: [0], keepDims: false })
  return b.reshape(sums, c.type.shape)
}

function swapsLastTwo(t: Tensor): boolean {
  if (t.op.name !== 'transpose' || t.rank < 2) return false
  const perm = t.attrs.perm as readonly number[]
  const n = t.rank
  return perm[n - 1] === n - 2 && perm[n - 2] === n - 1 && perm.slice(0, n - 2).every((p, i) => p === i)
}

const concat: Rule = (_b, c) => (c.inputs.length === 1 ? c.inputs[0] : undefined)

/** One rule for sum, max and min. */
function reduce(name: 'sum' | 'max' | 'min'): Rule {
  return (b, c) => {
    const x = c.inputs[0] as Tensor
    if (x.dtype !== c.type.dtype) return undefined
    const axes = normalizeAxes(name, c.attrs.axes as readonly number[] | undefined, x.rank)
    if (axes.every((a) => x.shape[a] === 1)) return b.reshape(x, c.type.shape)
    // One form, so that reductions are equal whether or not they keep dimensions.
    if (c.attrs.keepDims === true) return b.reshape(b.make(name, [x], { axes, keepDims: false }), c.type.shape)
    if (x.op.name === name) return twice(b, name, c, axes, x)
    if (x.op.name === 'reshape') return beforeReshape(b, name, c, axes, x)
    if (x.op.name === 'broadcast') return ofBroadcast(b, name, c, axes, x)
    return name === 'sum' ? (sumOfSlice(b, c, x) ?? withoutFactors(b, c, axes, x)) : undefined
  }
}

/** Reducing a reduction by the same op: once, over both sets of axes. */
function twice(b: GraphBuilder, name: string, c: Candidate, axes: readonly number[], x: Tensor): Tensor {
  const source = x.inputs[0] as Tensor
  const first = normalizeAxes(name, x.attrs.axes as readonly number[] | undefined, source.rank)
  const kept = remaining(source.rank, first)
  const all = [...new Set([...first, ...axes.map((a) => kept[a] as number)])].sort((p, q) => p - q)
  return b.reshape(b.make(name, [source], { axes: all, keepDims: false }), c.type.shape)
}

function remaining(rank: number, axes: readonly number[]): number[] {
  return Array.from({ length: rank }, (_, i) => i).filter((i) => !axes.includes(i))
}

/** Reducing merged axes is reducing each of them: lets flatten-then-sum read the tensor in the shape its producer has. */
function beforeReshape(b: GraphBuilder, name: string, c: Candidate, axes: readonly number[], x: Tensor) {
  const source = x.inputs[0] as Tensor
  const parts = mergedAxes(source.shape, x.shape)
  if (parts === undefined) return undefined
  const all = axes.flatMap((a) => parts[a] as number[])
  return b.reshape(b.make(name, [source], { axes: all, keepDims: false }), c.type.shape)
}

/** For a reshape that only merges neighbours and adds or drops dimensions of 1: which axes of `from` each axis of `to` is made of; otherwise undefined. */
export function mergedAxes(from: Shape, to: Shape): number[][] | undefined {
  if (sizeOf(from) === 0) return undefined
  const parts: number[][] = []
  let at = 0
  for (const d of to) {
    const part: number[] = []
    for (let n = 1; n < d; at++) {
      if (at >= from.length) return undefined
      n *= from[at] as number
      if (n > d) return undefined
      part.push(at)
    }
    parts.push(part)
  }
  return parts
}

/** Equal elements are not summed one by one: n times the value (max and min: the value). */
function ofBroadcast(b: GraphBuilder, name: string, c: Candidate, axes: readonly number[], x: Tensor) {
  const source = x.inputs[0] as Tensor
  const padded = [...new Array<number>(x.rank - source.rank).fill(1), ...source.shape]
  const equal = axes.filter((a) => padded[a] === 1 && (x.shape[a] as number) > 1)
  if (equal.length === 0 || x.size === 0 || x.dtype !== 'float32') return undefined
  const count = equal.reduce((n, a) => n * (x.shape[a] as number), 1)
  const once = x.shape.map((d, i) => (equal.includes(i) ? 1 : d))
  const values = b.broadcast(b.reshape(source, padded), once)
  const reduced = b.reshape(b.make(name, [values], { axes, keepDims: false }), reducedShape(once, axes, false))
  const scaled = name === 'sum' ? b.make('mul', [reduced, b.scalar(count, 'float32')], {}) : reduced
  return b.reshape(scaled, c.type.shape)
}

/** Longest product that is taken apart. */
const mostFactors = 8

/**
 * Factors that do not vary along the summed axes leave the sum: Σ a·b·c = b·Σ a·c. Fewer operations at full size, and sums that differ
 * only in such factors become one (in batch norm's backward pass those with and without the scale).
 */
function withoutFactors(b: GraphBuilder, c: Candidate, axes: readonly number[], x: Tensor): Tensor | undefined {
  if (x.dtype !== 'float32') return undefined
  const factors = factorsOf(b, x).map((f) => ({ f, shape: paddedShape(f, x.rank) }))
  const constant = factors.filter(({ shape }) => axes.every((a) => shape[a] === 1))
  const varying = factors.filter(({ shape }) => axes.some((a) => shape[a] !== 1))
  if (constant.length === 0 || varying.length === 0) return undefined
  const product = productOf(
    b,
    varying.map(({ f }) => f),
  )
  const whole = b.reshape(product, paddedShape(product, x.rank))
  const summed = b.make('sum', [whole], { axes, keepDims: false })
  const outside = productOf(
    b,
    constant.map(({ f, shape }) => b.reshape(f, reducedShape(shape, axes, false))),
  )
  return b.reshape(b.make('mul', [summed, outside], {}), c.type.shape)
}

function factorsOf(b: GraphBuilder, x: Tensor): Tensor[] {
  const factors = [x]
  for (let i = 0; i < factors.length && factors.length < mostFactors; ) {
    const f = factors[i] as Tensor
    if (f.op.name === 'mul') factors.splice(i, 1, ...f.inputs)
    else if (f.op.name === 'neg') factors.splice(i, 1, f.inputs[0] as Tensor, b.scalar(-1, 'float32'))
    else if (f.op.name === 'broadcast') factors.splice(i, 1, f.inputs[0] as Tensor)
    else i++
  }
  return factors
}

function paddedShape(t: Tensor, rank: number): Shape {
  return [...new Array<number>(rank - t.rank).fill(1), ...t.shape]
}

/** In order of age, so that equal products become equal nodes. */
function productOf(b: GraphBuilder, factors: readonly Tensor[]): Tensor {
  const [first, ...rest] = [...factors].sort((p, q) => p.id - q.id) as [Tensor, ...Tensor[]]
  return rest.reduce((p, f) => b.make('mul', [p, f], {}), first)
}

export const shapeRules: { readonly [op: string]: Rule } = {
  reshape,
  broadcast,
  transpose,
  stop_gradient: stopGradient,
  matmul,
  slice,
  pad,
  concat,
  sum: reduce('sum'),
  max: reduce('max'),
  min: reduce('min'),
}
