/**
 * Ops that move elements: reshape, transpose, broadcast, slice, concat, and the friendly forms made of them.
 * A builder whose op would change nothing returns its input.
 */
import { shapeError } from '../graph/errors.ts'
import {
  broadcastShapes,
  normalizeAxes,
  normalizeAxis,
  type Shape,
  sameShape,
  showShape,
  sizeOf,
} from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectDim, expectInteger, type NoAttrs, sameDtype } from './check.ts'
import { defineOp } from './define.ts'
import { one } from './onnx.ts'
import { pad } from './pad.ts'
import { unbroadcast } from './reduce.ts'
import { at, broadcastStrides, indexMap, refArray, stridesOf, takeRef } from './ref.ts'

const reshapeOp = defineOp<{ readonly shape: Shape }>({
  name: 'reshape',
  kind: 'view',
  infer: (inputs, { shape }) => {
    const x = at(inputs, 0)
    if (sizeOf(x.shape) !== sizeOf(shape)) {
      throw shapeError(
        'reshape',
        `${showShape(shape)} must hold ${sizeOf(x.shape)} elements, as ${showShape(x.shape)} does`,
        {
          from: x.shape,
          to: shape,
        },
      )
    }
    return { shape, dtype: x.dtype }
  },
  gradient: ({ inputs, grad }) => [reshape(grad, at(inputs, 0).shape)],
  reference: (inputs, { shape }) => refArray(shape, at(inputs, 0).data),
  // allowzero: a dimension of 0 means 0, not "as in the input".
  onnx: (c) => one(c, 'Reshape', [at(c.inputs, 0), c.emit.shape('shape', c.attrs.shape)], { allowzero: { int: 1 } }),
})

/** The same elements in the same order under another shape; one dimension may be -1 and is then inferred. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const to = inferDimension(x, shape)
  // A reshape of a reshape stays two nodes here, as a gradient may be asked for between them; the plan folds them.
  return sameShape(x.shape, to) ? x : reshapeOp([x], { shape: to })
}

function inferDimension(x: Tensor, shape: Shape): Shape {
  const unknown = shape.indexOf(-1)
  if (unknown < 0) return [...shape]
  const rest = shape.reduce((n, d, i) => (i === unknown ? n : n * d), 1)
  if (rest <= 0 || x.size % rest !== 0) {
    throw shapeError('reshape', `cannot infer -1 in ${showShape(shape)} from ${showShape(x.shape)}`, { shape })
  }
  return shape.map((d, i) => (i === unknown ? x.size / rest : d))
}

const stopGradientOp = defineOp<NoAttrs>({
  name: 'stop_gradient',
  kind: 'view',
  infer: (inputs) => at(inputs, 0),
  gradient: 'none',
  reference: (inputs) => at(inputs, 0),
  onnx: (c) => one(c, 'Identity', c.inputs),
})

/** x, through which no gradient flows. */
export function stopGradient(x: Tensor): Tensor {
  return x.op.name === 'stop_gradient' || x.op.name === 'constant' ? x : stopGradientOp([x], {})
}

const transposeOp = defineOp<{ readonly perm: readonly number[] }>({
  name: 'transpose',
  kind: 'structured',
  infer: (inputs, { perm }) => {
    const x = at(inputs, 0)
    const sorted = [...perm].sort((a, b) => a - b)
    if (perm.length !== x.shape.length || sorted.some((p, i) => p !== i)) {
      throw shapeError(
        'transpose',
        `perm must order the ${x.shape.length} axes of ${showShape(x.shape)}; got ${showShape(perm)}`,
        { perm, shape: x.shape },
      )
    }
    return { shape: perm.map((p) => at(x.shape, p)), dtype: x.dtype }
  },
  gradient: ({ attrs, grad }) => [transpose(grad, inverse(attrs.perm))],
  reference: (inputs, { perm }, output) => {
    const x = at(inputs, 0)
    const strides = stridesOf(x.shape)
    return takeRef(
      x,
      output.shape,
      indexMap(
        output.shape,
        perm.map((p) => at(strides, p)),
      ),
    )
  },
  onnx: (c) => one(c, 'Transpose', c.inputs, { perm: { ints: c.attrs.perm } }),
})

function inverse(perm: readonly number[]): number[] {
  return perm.map((_, i) => perm.indexOf(i))
}

/** Axes reordered: axis i of the result is axis perm[i] of x. Reverses all axes by default. */
export function transpose(x: Tensor, perm?: readonly number[]): Tensor {
  const order = perm ?? x.shape.map((_, i) => x.rank - 1 - i)
  const p = order.map((a) => normalizeAxis('transpose', a, x.rank))
  return p.length === x.rank && p.every((a, i) => a === i) ? x : transposeOp([x], { perm: p })
}

const broadcastOp = defineOp<{ readonly shape: Shape }>({
  name: 'broadcast',
  kind: 'elementwise',
  infer: (inputs, { shape }) => {
    const x = at(inputs, 0)
    if (!sameShape(broadcastShapes('broadcast', x.shape, shape), shape)) {
      throw shapeError('broadcast', `${showShape(x.shape)} does not stretch to ${showShape(shape)}`, {
        from: x.shape,
        to: shape,
      })
    }
    return { shape, dtype: x.dtype }
  },
  gradient: ({ inputs, grad }) => [unbroadcast(grad, at(inputs, 0).shape)],
  reference: (inputs, { shape }) => {
    const x = at(inputs, 0)
    return takeRef(x, shape, indexMap(shape, broadcastStrides(x.shape, shape)))
  },
  onnx: (c) => one(c, 'Expand', [at(c.inputs, 0), c.emit.shape('shape', c.attrs.shape)]),
})

/** x stretched to `shape` by NumPy's rule. */
export function broadcast(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : broadcastOp([x], { shape: [...shape] })
}

type SliceAttrs = {
  readonly start: readonly number[]
  readonly stop: readonly number[]
  readonly step: readonly number[]
}

const sliceOp = defineOp<SliceAttrs>({
  name: 'slice',
  kind: 'structured',
  infer: (inputs, { start, stop, step }) => {
    const x = at(inputs, 0)
    for (const list of [start, stop, step])
      expectDim('slice', 'number of start, stop, step', list.length, x.shape.length)
    const shape = x.shape.map((d, i) => {
      const [a, b, s] = [at(start, i), at(stop, i), at(step, i)]
      expectInteger('slice', `step[${i}]`, s, 1)
      if (!(Number.isInteger(a) && Number.isInteger(b) && 0 <= a && a <= b && b <= d)) {
        throw shapeError(
          'slice',
          `needs 0 ≤ start ≤ stop ≤ ${d} at axis ${i} of ${showShape(x.shape)}; got ${a}..${b}`,
          {
            axis: i,
            start: a,
            stop: b,
          },
        )
      }
      return Math.ceil((b - a) / s)
    })
    return { shape, dtype: x.dtype }
  },
  gradient: ({ inputs, attrs: { start, step }, grad }) => {
    const x = at(inputs, 0)
    const high = grad.shape.map((n, i) => at(x.shape, i) - (n === 0 ? 0 : (n - 1) * at(step, i) + 1) - at(start, i))
    return [pad(grad, { low: start, high, interior: step.map((s) => s - 1) })]
  },
  reference: (inputs, { start, step }, output) => {
    const x = at(inputs, 0)
    const strides = stridesOf(x.shape)
    const offset = start.reduce((n, s, i) => n + s * at(strides, i), 0)
    return takeRef(
      x,
      output.shape,
      indexMap(
        output.shape,
        strides.map((s, i) => s * at(step, i)),
        offset,
      ),
    )
  },
  onnx: (c) => {
    const { start, stop, step } = c.attrs
    const axes = c.emit.ints(start.map((_, i) => i))
    return one(c, 'Slice', [
      at(c.inputs, 0),
      c.emit.shape('start', start),
      c.emit.shape('stop', stop),
      axes,
      c.emit.shape('step', step),
    ])
  },
})

/** Elements start, start+step, ... below stop, along each axis; negative start and stop count from the end. */
export function slice(x: Tensor, start: readonly number[], stop: readonly number[], step?: readonly number[]): Tensor {
  const from = (list: readonly number[]) => list.map((v, i) => (v < 0 ? v + (x.shape[i] ?? 0) : v))
  const attrs = { start: from(start), stop: from(stop), step: [...(step ?? x.shape.map(() => 1))] }
  const whole = attrs.start.length === x.rank && attrs.stop.length === x.rank && attrs.step.length === x.rank
  if (whole && x.shape.every((d, i) => attrs.start[i] === 0 && attrs.stop[i] === d && attrs.step[i] === 1)) return x
  return sliceOp([x], attrs)
}

/** Elements start..stop-1 of one axis. */
export function sliceAxis(x: Tensor, axis: number, start: number, stop: number): Tensor {
  const a = normalizeAxis('slice', axis, x.rank)
  return slice(
    x,
    x.shape.map((_, i) => (i === a ? start : 0)),
    x.shape.map((d, i) => (i === a ? stop : d)),
  )
}

const concatOp = defineOp<{ readonly axis: number }>({
  name: 'concat',
  kind: 'structured',
  infer: (inputs, { axis }) => {
    const first = at(inputs, 0)
    for (const t of inputs) {
      sameDtype('concat', first, t)
      if (t.shape.length !== first.shape.length || t.shape.some((d, i) => i !== axis && d !== first.shape[i])) {
        throw shapeError(
          'concat',
          `shapes must agree except at axis ${axis}; got ${inputs.map((i) => showShape(i.shape)).join(', ')}`,
          { axis },
        )
      }
    }
    const total = inputs.reduce((n, t) => n + at(t.shape, axis), 0)
    return { shape: first.shape.map((d, i) => (i === axis ? total : d)), dtype: first.dtype }
  },
  gradient: ({ inputs, attrs: { axis }, grad }) => {
    let start = 0
    return inputs.map((x) => {
      start += at(x.shape, axis)
      return sliceAxis(grad, axis, start - at(x.shape, axis), start)
    })
  },
  reference: (inputs, { axis }, output) => {
    const out = refArray(output.shape)
    const strides = stridesOf(output.shape)
    let start = 0
    for (const x of inputs) {
      indexMap(x.shape, strides, start * at(strides, axis)).forEach((p, e) => {
        out.data[p] = at(x.data, e)
      })
      start += at(x.shape, axis)
    }
    return out
  },
  onnx: (c) => one(c, 'Concat', c.inputs, { axis: { int: c.attrs.axis } }),
})

/** Tensors one behind another along an axis (default 0). */
export function concat(parts: readonly Tensor[], axis = 0): Tensor {
  const first = parts[0]
  if (first === undefined) throw new RangeError('[concat] needs at least one tensor; got none')
  const a = normalizeAxis('concat', axis, first.rank)
  return parts.length === 1 ? first : concatOp(parts, { axis: a })
}

/** Tensors of one shape along a new axis (default 0). */
export function stack(parts: readonly Tensor[], axis = 0): Tensor {
  return concat(
    parts.map((p) => unsqueeze(p, axis)),
    axis,
  )
}

/** A new axis of size 1 at `axis` (of the result; negative counts from its end). */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const a = normalizeAxis('unsqueeze', axis, x.rank + 1)
  return reshape(x, [...x.shape.slice(0, a), 1, ...x.shape.slice(a)])
}

export { unsqueeze as expandDims }

/** Without the given axes, which must be 1; all axes of size 1 by default. */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const list =
    axes === undefined ? x.shape.flatMap((d, i) => (d === 1 ? [i] : [])) : normalizeAxes('squeeze', axes, x.rank)
  for (const a of list) expectDim('squeeze', `axis ${a} of ${showShape(x.shape)}`, at(x.shape, a), 1)
  return reshape(
    x,
    x.shape.filter((_, i) => !list.includes(i)),
  )
}

/** Axes from `startAxis` (default 1, keeping the batch) on merged into one. */
export function flatten(x: Tensor, startAxis = 1): Tensor {
  const a = x.rank === startAxis ? x.rank : normalizeAxis('flatten', startAxis, x.rank)
  return reshape(x, [...x.shape.slice(0, a), sizeOf(x.shape.slice(a))])
}
