/**
 * Average and maximum over windows of [N,C,H,W], and the adjoints that close them under differentiation:
 * avgpool2d ↔ avgpool2d_grad are linear and each other's gradient; maxpool2d_grad (scatter to the first maximum) and
 * maxpool2d_select (gather from it) are each other's gradient in their linear argument, and constant in x.
 */
import { shapeError } from '../graph/errors.ts'
import { type Shape, sameShape, showShape, type TensorType } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectRank, operand } from './check.ts'
import { defineOp, type OnnxContext, type OpBuilder, type RefArray } from './define.ts'
import { one } from './onnx.ts'
import { at, refArray } from './ref.ts'
import {
  expectList,
  forEachTap,
  fourSides,
  type Padding,
  type Pair,
  pair,
  type WindowAttrs,
  windowCounts,
} from './window.ts'

type PoolAttrs = WindowAttrs & { readonly kernel: readonly number[] }
type AverageAttrs = PoolAttrs & { readonly countIncludePad: boolean }
type AverageGradAttrs = AverageAttrs & { readonly inputSize: readonly number[] }

function pooledShape(op: string, x: Shape, attrs: PoolAttrs): number[] {
  expectRank(op, 'x', x, 4, '[N,C,H,W]')
  const counts = windowCounts(op, x.slice(2), attrs.kernel, attrs)
  attrs.padding.forEach((p, i) => {
    if (p >= at(attrs.kernel, i % 2)) {
      throw new RangeError(
        `[${op}] padding must be smaller than the kernel; got ${showShape(attrs.padding)} and ${showShape(attrs.kernel)}`,
      )
    }
  })
  return [at(x, 0), at(x, 1), ...counts]
}

/** Calls `visit(plane, window, tap)` with flat positions in the image and in the pooled plane. */
function forEachPooled(x: Shape, y: Shape, attrs: PoolAttrs, visit: (y: number, x: number) => void): void {
  const planes = at(x, 0) * at(x, 1)
  const [h, w, oH, oW] = [at(x, 2), at(x, 3), at(y, 2), at(y, 3)]
  for (let p = 0; p < planes; p++) {
    forEachTap([h, w], attrs.kernel, [oH, oW], attrs, [1, 1], (oh, ow, _kh, _kw, ih, iw) => {
      visit((p * oH + oh) * oW + ow, (p * h + ih) * w + iw)
    })
  }
}

/** What each window divides by, [oH·oW]: its area, or the part of it that lies inside the image. */
function divisors(x: Shape, y: Shape, attrs: AverageAttrs): Float64Array {
  const area = at(attrs.kernel, 0) * at(attrs.kernel, 1)
  const out = new Float64Array(at(y, 2) * at(y, 3))
  if (attrs.countIncludePad) return out.fill(area)
  forEachPooled([1, 1, ...x.slice(2)], [1, 1, ...y.slice(2)], attrs, (iy) => {
    out[iy] = at(out, iy) + 1
  })
  return out
}

const avgpool2dOp: OpBuilder<AverageAttrs> = defineOp<AverageAttrs>({
  name: 'avgpool2d',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('avgpool2d', inputs, 0, 'float32')
    return { shape: pooledShape('avgpool2d', x.shape, attrs), dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [
    avgpool2dGradOp([grad], { ...attrs, inputSize: at(inputs, 0).shape.slice(2) }),
  ],
  reference: (inputs, attrs, output) => {
    const x = at(inputs, 0)
    const out = refArray(output.shape)
    const n = divisors(x.shape, output.shape, attrs)
    forEachPooled(x.shape, output.shape, attrs, (iy, ix) => {
      out.data[iy] = at(out.data, iy) + at(x.data, ix) / at(n, iy % n.length)
    })
    return out
  },
  onnx: (c) =>
    one(c, 'AveragePool', c.inputs, {
      ...poolOnnx(c.attrs),
      count_include_pad: { int: c.attrs.countIncludePad ? 1 : 0 },
    }),
})

function poolOnnx({ kernel, stride, padding }: PoolAttrs) {
  return { kernel_shape: { ints: kernel }, strides: { ints: stride }, pads: { ints: padding } }
}

const avgpool2dGradOp: OpBuilder<AverageGradAttrs> = defineOp<AverageGradAttrs>({
  name: 'avgpool2d_grad',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const dy = operand('avgpool2d_grad', inputs, 0, 'float32')
    expectRank('avgpool2d_grad', 'dy', dy.shape, 4, '[N,C,H,W]')
    expectList('avgpool2d_grad', 'inputSize', attrs.inputSize, 2, 1)
    const shape = [at(dy.shape, 0), at(dy.shape, 1), ...attrs.inputSize]
    expectShape('avgpool2d_grad', 'dy', dy, pooledShape('avgpool2d_grad', shape, attrs))
    return { shape, dtype: 'float32' }
  },
  gradient: ({ attrs: { inputSize: _, ...attrs }, grad }) => [avgpool2dOp([grad], attrs)],
  reference: (inputs, attrs, output) => {
    const dy = at(inputs, 0)
    const out = refArray(output.shape)
    const n = divisors(output.shape, dy.shape, attrs)
    forEachPooled(output.shape, dy.shape, attrs, (iy, ix) => {
      out.data[ix] = at(out.data, ix) + at(dy.data, iy) / at(n, iy % n.length)
    })
    return out
  },
  // A depthwise transposed convolution with a kernel of ones over dy divided by the windows' counts.
  onnx: (c) => {
    const { kernel, stride, padding, inputSize } = c.attrs
    const [dy, channels] = [at(c.types, 0).shape, at(c.output.shape, 1)]
    const share = Array.from(divisors(c.output.shape, dy, c.attrs), (n) => 1 / n)
    const scaled = one(c, 'Mul', [at(c.inputs, 0), c.emit.floats(share, [1, 1, at(dy, 2), at(dy, 3)])])
    const area = at(kernel, 0) * at(kernel, 1)
    const weight = c.emit.floats(new Array<number>(channels * area).fill(1), [channels, 1, ...kernel])
    const rest = [0, 1].map((i) => {
      const made = at(stride, i) * (at(dy, i + 2) - 1) + at(kernel, i) - at(padding, i) - at(padding, i + 2)
      return at(inputSize, i) - made
    })
    return one(c, 'ConvTranspose', [scaled, weight], {
      ...poolOnnx(c.attrs),
      group: { int: channels },
      output_padding: { ints: rest },
    })
  },
})

function expectShape(op: string, what: string, t: TensorType, want: Shape): void {
  if (!sameShape(t.shape, want)) {
    throw shapeError(op, `${what} must have shape ${showShape(want)}; got ${showShape(t.shape)}`, {
      got: t.shape,
      want,
    })
  }
}

/** For each window the position in x of its first maximum (a NaN counts as larger than everything). */
function firstMaxima(x: RefArray, y: Shape, attrs: PoolAttrs): Int32Array {
  const best = new Int32Array(y.reduce((a, b) => a * b, 1)).fill(-1)
  forEachPooled(x.shape, y, attrs, (iy, ix) => {
    const have = at(best, iy)
    const [old, value] = [have < 0 ? Number.NEGATIVE_INFINITY : at(x.data, have), at(x.data, ix)]
    if (have < 0 || value > old || (Number.isNaN(value) && !Number.isNaN(old))) best[iy] = ix
  })
  return best
}

const maxpool2dOp: OpBuilder<PoolAttrs> = defineOp<PoolAttrs>({
  name: 'maxpool2d',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('maxpool2d', inputs, 0, 'float32')
    return { shape: pooledShape('maxpool2d', x.shape, attrs), dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [maxpool2dGradOp([at(inputs, 0), grad], attrs)],
  reference: (inputs, attrs, output) => {
    const x = at(inputs, 0)
    return refArray(
      output.shape,
      Float64Array.from(firstMaxima(x, output.shape, attrs), (p) => at(x.data, p)),
    )
  },
  onnx: (c) => one(c, 'MaxPool', c.inputs, poolOnnx(c.attrs)),
})

const maxpool2dGradOp: OpBuilder<PoolAttrs> = defineOp<PoolAttrs>({
  name: 'maxpool2d_grad',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('maxpool2d_grad', inputs, 0, 'float32')
    const dy = operand('maxpool2d_grad', inputs, 1, 'float32')
    expectShape('maxpool2d_grad', 'dy', dy, pooledShape('maxpool2d_grad', x.shape, attrs))
    return { shape: x.shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [null, maxpool2dSelectOp([at(inputs, 0), grad], attrs)],
  reference: (inputs, attrs, output) => {
    const [x, dy] = [at(inputs, 0), at(inputs, 1)]
    const out = refArray(output.shape)
    firstMaxima(x, dy.shape, attrs).forEach((p, e) => {
      out.data[p] = at(out.data, p) + at(dy.data, e)
    })
    return out
  },
  onnx: (c) => {
    const count = c.emit.shape('count', [c.output.shape.reduce((a, b) => a * b, 1)])
    const nothing = one(c, 'Expand', [c.emit.floats([0], []), count])
    const flat = (name: string) => one(c, 'Reshape', [name, c.emit.ints([-1])])
    const sum = one(c, 'ScatterElements', [nothing, flat(maximaOnnx(c)), flat(at(c.inputs, 1))], {
      axis: { int: 0 },
      reduction: { string: 'add' },
    })
    return one(c, 'Reshape', [sum, c.emit.shape('shape', c.output.shape)], { allowzero: { int: 1 } })
  },
})

/** MaxPool's second output: positions in the flattened x. */
function maximaOnnx(c: OnnxContext<PoolAttrs>): string {
  return at(c.emit.node('MaxPool', [at(c.inputs, 0)], { ...poolOnnx(c.attrs), storage_order: { int: 0 } }, 2), 1)
}

const maxpool2dSelectOp: OpBuilder<PoolAttrs> = defineOp<PoolAttrs>({
  name: 'maxpool2d_select',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('maxpool2d_select', inputs, 0, 'float32')
    const t = operand('maxpool2d_select', inputs, 1, 'float32')
    expectShape('maxpool2d_select', 't', t, x.shape)
    return { shape: pooledShape('maxpool2d_select', x.shape, attrs), dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => [null, maxpool2dGradOp([at(inputs, 0), grad], attrs)],
  reference: (inputs, attrs, output) => {
    const [x, t] = [at(inputs, 0), at(inputs, 1)]
    return refArray(
      output.shape,
      Float64Array.from(firstMaxima(x, output.shape, attrs), (p) => at(t.data, p)),
    )
  },
  onnx: (c) => one(c, 'Gather', [one(c, 'Reshape', [at(c.inputs, 1), c.emit.ints([-1])]), maximaOnnx(c)]),
})

export interface PoolOptions {
  /** Window size. */
  readonly kernel: Pair
  /** Default: the kernel, so that windows do not overlap. */
  readonly stride?: Pair
  /** Default 0; must be smaller than the kernel. */
  readonly padding?: Padding
}

function poolAttrs({ kernel, stride = kernel, padding = 0 }: PoolOptions): PoolAttrs {
  return { kernel: pair(kernel), stride: pair(stride), padding: fourSides(padding) }
}

/** Averages over windows of [N,C,H,W]. Padded zeros count in the divisor unless `countIncludePad` is false. */
export function avgpool2d(
  x: Tensor,
  { countIncludePad = true, ...options }: PoolOptions & { readonly countIncludePad?: boolean },
): Tensor {
  return avgpool2dOp([x], { ...poolAttrs(options), countIncludePad })
}

/** Maxima over windows of [N,C,H,W]; padding never wins. The gradient goes to the first maximum of a window. */
export function maxpool2d(x: Tensor, options: PoolOptions): Tensor {
  return maxpool2dOp([x], poolAttrs(options))
}

/** Adjoint of {@link avgpool2d}: spreads dy [N,C,H',W'] evenly back over the windows, to [N,C,...inputSize]. */
export function avgpool2dGrad(
  dy: Tensor,
  {
    countIncludePad = true,
    inputSize,
    ...options
  }: PoolOptions & { readonly countIncludePad?: boolean; readonly inputSize: Pair },
): Tensor {
  return avgpool2dGradOp([dy], { ...poolAttrs(options), countIncludePad, inputSize: pair(inputSize) })
}

/** Gradient of {@link maxpool2d}: adds each dy to the first maximum of its window of x. */
export function maxpool2dGrad(x: Tensor, dy: Tensor, options: PoolOptions): Tensor {
  return maxpool2dGradOp([x, dy], poolAttrs(options))
}

/** For each window the element of t (x's shape) that stands where x has its first maximum. */
export function maxpool2dSelect(x: Tensor, t: Tensor, options: PoolOptions): Tensor {
  return maxpool2dSelectOp([x, t], poolAttrs(options))
}
