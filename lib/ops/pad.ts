/** Padding of any axis with a constant: before, behind, and between elements. Slicing with a step undoes it, and is its gradient. */
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectDim, expectFinite, expectInteger } from './check.ts'
import { defineOp, type OnnxContext } from './define.ts'
import { one } from './onnx.ts'
import { at, indexMap, refArray, stridesOf } from './ref.ts'
import { slice } from './shape.ts'

type PadAttrs = {
  readonly low: readonly number[]
  readonly high: readonly number[]
  readonly interior: readonly number[]
  readonly value: number
}

const padOp = defineOp<PadAttrs>({
  name: 'pad',
  kind: 'structured',
  infer: (inputs, { low, high, interior, value }) => {
    const x = at(inputs, 0)
    expectFinite('pad', 'value', value)
    for (const [name, list] of Object.entries({ low, high, interior })) {
      expectDim('pad', `number of ${name}`, list.length, x.shape.length)
      list.forEach((v, i) => {
        expectInteger('pad', `${name}[${i}]`, v, 0)
      })
    }
    const shape = x.shape.map((d, i) => at(low, i) + at(high, i) + d + Math.max(0, d - 1) * at(interior, i))
    return { shape, dtype: x.dtype }
  },
  gradient: ({ attrs, inputs, grad }) => [unpad(grad, at(inputs, 0).shape, attrs)],
  reference: (inputs, { low, interior, value }, output) => {
    const x = at(inputs, 0)
    const strides = stridesOf(output.shape)
    const offset = low.reduce((n, l, i) => n + l * at(strides, i), 0)
    const out = refArray(output.shape)
    out.data.fill(value)
    const places = indexMap(
      x.shape,
      strides.map((s, i) => s * (at(interior, i) + 1)),
      offset,
    )
    places.forEach((p, e) => {
      out.data[p] = at(x.data, e)
    })
    return out
  },
  onnx: (c) => {
    const { low, high, interior, value } = c.attrs
    const spread = interior.some((v) => v > 0) ? onnxSpread(c, at(c.inputs, 0), interior, value) : at(c.inputs, 0)
    const fill = c.emit.cast(c.emit.floats([value], []), c.output.dtype)
    return one(c, 'Pad', [spread, c.emit.shape('pads', [...low, ...high]), fill], { mode: { string: 'constant' } })
  },
})

/** Interior padding in ONNX: per axis, unsqueeze behind it, pad the new axis, merge the two, cut the tail off. */
function onnxSpread(c: OnnxContext<PadAttrs>, x: string, interior: readonly number[], value: number): string {
  const shape = [...at(c.types, 0).shape]
  const fill = c.emit.cast(c.emit.floats([value], []), c.output.dtype)
  let y = x
  interior.forEach((extra, axis) => {
    if (extra === 0) return
    const column = one(c, 'Unsqueeze', [y, c.emit.ints([axis + 1])])
    const pads = new Array<number>(2 * shape.length + 2).fill(0)
    pads[shape.length + 1 + axis + 1] = extra
    const wide = one(c, 'Pad', [column, c.emit.ints(pads), fill], { mode: { string: 'constant' } })
    const n = at(shape, axis)
    shape[axis] = n * (extra + 1)
    const merged = one(c, 'Reshape', [wide, c.emit.shape(`spread${axis}`, shape)], { allowzero: { int: 1 } })
    shape[axis] = n + Math.max(0, n - 1) * extra
    const stop = c.emit.shape(`stop${axis}`, [at(shape, axis)])
    y = one(c, 'Slice', [merged, c.emit.ints([0]), stop, c.emit.ints([axis])])
  })
  return y
}

export interface PadOptions {
  /** Elements added before each axis. Default 0. */
  readonly low?: readonly number[]
  /** Elements added behind each axis. Default 0. */
  readonly high?: readonly number[]
  /** Elements added between neighbours of each axis. Default 0. */
  readonly interior?: readonly number[]
  /** What is added. Default 0. */
  readonly value?: number
}

/** x with constant elements added around and between. */
export function pad(x: Tensor, { low, high, interior, value = 0 }: PadOptions): Tensor {
  const none = x.shape.map(() => 0)
  const attrs = { low: [...(low ?? none)], high: [...(high ?? none)], interior: [...(interior ?? none)], value }
  return [...attrs.low, ...attrs.high, ...attrs.interior].every((v) => v === 0) ? x : padOp([x], attrs)
}

/** The elements that padding a tensor of `shape` kept. */
function unpad(g: Tensor, shape: Shape, { low, interior }: PadAttrs): Tensor {
  const step = interior.map((v) => v + 1)
  const stop = shape.map((d, i) => at(low, i) + (d === 0 ? 0 : (d - 1) * at(step, i) + 1))
  return slice(g, low, stop, step)
}
