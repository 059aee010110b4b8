/** Reading and writing by index: gather, scatter_add, scatter_rows, argmax. Indices are int32; out-of-range ones are clamped. */
import { shapeError } from '../graph/errors.ts'
import { normalizeAxis, type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { operand, sameDtype } from './check.ts'
import { defineOp, type OnnxContext, type OpBuilder, type RefArray } from './define.ts'
import { one } from './onnx.ts'
import { at, refArray } from './ref.ts'
import { zerosLike } from './source.ts'

type AxisAttrs = { readonly axis: number }

/** An axis by itself or as an option. */
export type AxisOption = number | { readonly axis?: number }

function axisOf(along: AxisOption): number {
  return typeof along === 'number' ? along : (along.axis ?? 0)
}

function gatheredShape(x: Shape, indices: Shape, axis: number): number[] {
  return [...x.slice(0, axis), ...indices, ...x.slice(axis + 1)]
}

/** Calls `visit(positionInX, positionInGathered)` for every element of the gathered shape, row-major. */
function forEachGathered(x: Shape, indices: RefArray, axis: number, visit: (from: number, to: number) => void): void {
  const [outer, length, inner] = [sizeOf(x.slice(0, axis)), at(x, axis), sizeOf(x.slice(axis + 1))]
  let to = 0
  for (let o = 0; o < outer; o++) {
    for (const raw of indices.data) {
      const index = Math.min(length - 1, Math.max(0, raw))
      for (let i = 0; i < inner; i++) visit((o * length + index) * inner + i, to++)
    }
  }
}

function expectNonEmpty(op: string, x: Shape, axis: number, indices: Shape): void {
  if (at(x, axis) === 0 && sizeOf(indices) > 0) {
    throw shapeError(op, `axis ${axis} of ${showShape(x)} is empty, so no index is valid`, { shape: x, axis })
  }
}

const gatherOp: OpBuilder<AxisAttrs> = defineOp<AxisAttrs>({
  name: 'gather',
  kind: 'structured',
  infer: (inputs, { axis }) => {
    const [x, indices] = [at(inputs, 0), operand('gather', inputs, 1, 'int32')]
    expectNonEmpty('gather', x.shape, axis, indices.shape)
    return { shape: gatheredShape(x.shape, indices.shape, axis), dtype: x.dtype }
  },
  gradient: ({ inputs, attrs, grad }) => {
    const [x, indices] = [at(inputs, 0), at(inputs, 1)]
    return [scatterAddOp([zerosLike(x), indices, grad], attrs), null]
  },
  reference: (inputs, { axis }, output) => {
    const [x, indices] = [at(inputs, 0), at(inputs, 1)]
    const out = refArray(output.shape)
    forEachGathered(x.shape, indices, axis, (from, to) => {
      out.data[to] = at(x.data, from)
    })
    return out
  },
  onnx: (c) => one(c, 'Gather', [at(c.inputs, 0), clampedIndices(c)], { axis: { int: c.attrs.axis } }),
})

/** int64 indices limited to the axis. */
function clampedIndices(c: OnnxContext<AxisAttrs>): string {
  const length = one(c, 'Squeeze', [c.emit.shape('length', [at(at(c.types, 0).shape, c.attrs.axis)])])
  const last = one(c, 'Sub', [length, c.emit.ints([1], [])])
  const wide = c.emit.cast(at(c.inputs, 1), 'int64')
  return one(c, 'Max', [one(c, 'Min', [wide, last]), c.emit.ints([0], [])])
}

/** Elements of x along `axis` (default 0) at int32 indices: shape x[:axis] + indices.shape + x[axis+1:]. Indices are clamped. */
export function gather(x: Tensor, indices: Tensor, along: AxisOption = 0): Tensor {
  return gatherOp([x, indices], { axis: normalizeAxis('gather', axisOf(along), x.rank) })
}

const scatterAddOp: OpBuilder<AxisAttrs> = defineOp<AxisAttrs>({
  name: 'scatter_add',
  kind: 'structured',
  infer: (inputs, { axis }) => {
    const x = operand('scatter_add', inputs, 0, 'float32')
    const indices = operand('scatter_add', inputs, 1, 'int32')
    const updates = operand('scatter_add', inputs, 2, 'float32')
    expectNonEmpty('scatter_add', x.shape, axis, indices.shape)
    const want = gatheredShape(x.shape, indices.shape, axis)
    if (!sameShape(updates.shape, want)) {
      throw shapeError('scatter_add', `updates must have shape ${showShape(want)}; got ${showShape(updates.shape)}`, {
        x: x.shape,
        indices: indices.shape,
        updates: updates.shape,
      })
    }
    return { shape: x.shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [grad, null, gatherOp([grad, at(inputs, 1)], attrs)],
  reference: (inputs, { axis }) => {
    const [x, indices, updates] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)]
    const out = refArray(x.shape, Float64Array.from(x.data))
    forEachGathered(x.shape, indices, axis, (to, from) => {
      out.data[to] = at(out.data, to) + at(updates.data, from)
    })
    return out
  },
  // ScatterND indexes leading axes: the axis goes to the front, and back afterwards.
  onnx: (c) => {
    const { axis } = c.attrs
    const rank = at(c.types, 0).shape.length
    const indexRank = at(c.types, 1).shape.length
    const front = Array.from({ length: rank }, (_, i) => (i === 0 ? axis : i <= axis ? i - 1 : i))
    const span = (from: number, n: number) => Array.from({ length: n }, (_, i) => from + i)
    const updatesFront = [...span(axis, indexRank), ...span(0, axis), ...span(axis + indexRank, rank - axis - 1)]
    const moved = (name: string, perm: number[]) =>
      axis === 0 ? name : one(c, 'Transpose', [name], { perm: { ints: perm } })
    const column = one(c, 'Unsqueeze', [clampedIndices(c), c.emit.ints([-1])])
    const inputs = [moved(at(c.inputs, 0), front), column, moved(at(c.inputs, 2), updatesFront)]
    const sum = one(c, 'ScatterND', inputs, { reduction: { string: 'add' } })
    return moved(
      sum,
      front.map((_, i) => front.indexOf(i)),
    )
  },
})

/** x plus `updates` added at int32 indices along `axis` (default 0): the adjoint of {@link gather}. Repeated indices add up. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor, along: AxisOption = 0): Tensor {
  return scatterAddOp([x, indices, updates], { axis: normalizeAxis('scatter_add', axisOf(along), x.rank) })
}

const scatterRowsOp = defineOp<{ readonly [name: string]: never }>({
  name: 'scatter_rows',
  kind: 'structured',
  infer: (inputs) => {
    const [x, indices, rows] = [at(inputs, 0), operand('scatter_rows', inputs, 1, 'int32'), at(inputs, 2)]
    sameDtype('scatter_rows', x, rows)
    const want = [at(indices.shape, 0), ...x.shape.slice(1)]
    if (x.shape.length === 0 || indices.shape.length !== 1 || !sameShape(rows.shape, want)) {
      throw shapeError(
        'scatter_rows',
        `needs indices [n] and rows [n, ...] like x's; got x ${showShape(x.shape)}, indices ${showShape(indices.shape)}, rows ${showShape(rows.shape)}`,
        { x: x.shape, indices: indices.shape, rows: rows.shape },
      )
    }
    expectNonEmpty('scatter_rows', x.shape, 0, indices.shape)
    return x
  },
  gradient: { missing: 'it updates stored state, such as a replay buffer' },
  reference: (inputs) => {
    const [x, indices, rows] = [at(inputs, 0), at(inputs, 1), at(inputs, 2)]
    const out = refArray(x.shape, Float64Array.from(x.data))
    forEachGathered(x.shape, indices, 0, (to, from) => {
      out.data[to] = at(rows.data, from)
    })
    return out
  },
  onnx: { unsupported: 'it updates stored state; ONNX leaves the order of repeated rows open' },
})

/** x with the rows (axis 0) at int32 `indices` [n] replaced by `rows` [n, ...]; of repeated indices the last wins. */
export function scatterRows(x: Tensor, indices: Tensor, rows: Tensor): Tensor {
  return scatterRowsOp([x, indices, rows], {})
}

const argmaxOp = defineOp<AxisAttrs>({
  name: 'argmax',
  kind: 'structured',
  infer: (inputs, { axis }) => {
    const x = operand('argmax', inputs, 0, 'float32')
    const a = normalizeAxis('argmax', axis, x.shape.length)
    if (x.shape[a] === 0) throw shapeError('argmax', `axis ${a} of ${showShape(x.shape)} is empty`, { shape: x.shape })
    return { shape: x.shape.filter((_, i) => i !== a), dtype: 'int32' }
  },
  gradient: 'none',
  reference: (inputs, { axis }, output) => {
    const x = at(inputs, 0)
    const [length, inner] = [at(x.shape, axis), sizeOf(x.shape.slice(axis + 1))]
    return refArray(
      output.shape,
      Array.from({ length: sizeOf(output.shape) }, (_, e) => {
        const start = Math.floor(e / inner) * length * inner + (e % inner)
        return firstLargest(length, (k) => at(x.data, start + k * inner))
      }),
    )
  },
  onnx: (c) => c.emit.cast(one(c, 'ArgMax', c.inputs, { axis: { int: c.attrs.axis }, keepdims: { int: 0 } }), 'int32'),
})

/** Position of the first largest of n values; a NaN counts as larger than everything. */
function firstLargest(n: number, value: (k: number) => number): number {
  let best = 0
  for (let k = 1; k < n && !Number.isNaN(value(best)); k++) {
    if (value(k) > value(best) || Number.isNaN(value(k))) best = k
  }
  return best
}

/** Index of the largest along an axis (default the last), which goes; the first of equals; NaN counts as largest. int32. */
export function argmax(x: Tensor, axis = -1): Tensor {
  return argmaxOp([x], { axis: normalizeAxis('argmax', axis, x.rank) })
}
