/**
 * Two-dimensional cross-correlation and its two adjoints. The three are one trilinear form with an argument left open,
 * so the gradients of each are the other two, and the set is closed under differentiation to any order.
 */
import { shapeError } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { expectDim, expectInteger, expectRank, operand } from './check.ts'
import { defineOp, type OnnxContext, type OpBuilder, type RefArray } from './define.ts'
import { one } from './onnx.ts'
import { at, refArray } from './ref.ts'
import { expectList, forEachTap, fourSides, type Padding, type Pair, pair, windowCounts } from './window.ts'

/** Geometry of a convolution as plans hold it. */
export type ConvAttrs = {
  readonly stride: readonly number[]
  readonly padding: readonly number[]
  readonly dilation: readonly number[]
  readonly groups: number
}
type InputGradAttrs = ConvAttrs & { readonly inputSize: readonly number[] }
type WeightGradAttrs = ConvAttrs & { readonly kernelSize: readonly number[] }

/** Shape of y for x [N,C,H,W] and w [O,C/groups,kh,kw]. */
function convShape(op: string, x: Shape, w: Shape, attrs: ConvAttrs): number[] {
  expectRank(op, 'x', x, 4, '[N,C,H,W]')
  expectRank(op, 'w', w, 4, '[O,C/groups,kh,kw]')
  const { groups } = attrs
  expectInteger(op, 'groups', groups, 1)
  const [c, o] = [at(x, 1), at(w, 0)]
  if (c !== at(w, 1) * groups || o % groups !== 0) {
    throw shapeError(
      op,
      `channels of x (${c}) must equal w.shape[1] × groups (${at(w, 1)} × ${groups}) and groups divide w.shape[0]; ` +
        `got x ${showShape(x)}, w ${showShape(w)}`,
      { x, w, groups },
    )
  }
  return [at(x, 0), o, ...windowCounts(op, x.slice(2), w.slice(2), attrs, attrs.dilation)]
}

/** Calls `visit(y, x, w)` with flat positions for every product of the trilinear form Σ y·x·w. */
function forEachProduct(
  y: Shape,
  x: Shape,
  w: Shape,
  attrs: ConvAttrs,
  visit: (y: number, x: number, w: number) => void,
) {
  const [n, o, oH, oW] = y as [number, number, number, number]
  const [, c, h, wd] = x as [number, number, number, number]
  const [, perGroup, kH, kW] = w as [number, number, number, number]
  const outPerGroup = o / attrs.groups
  forEachTap([h, wd], [kH, kW], [oH, oW], attrs, attrs.dilation, (oh, ow, kh, kw, ih, iw) => {
    for (let b = 0; b < n; b++) {
      for (let q = 0; q < o; q++) {
        const first = Math.floor(q / outPerGroup) * perGroup
        for (let p = 0; p < perGroup; p++) {
          visit(
            ((b * o + q) * oH + oh) * oW + ow,
            ((b * c + first + p) * h + ih) * wd + iw,
            ((q * perGroup + p) * kH + kh) * kW + kw,
          )
        }
      }
    }
  })
}

function accumulate(out: RefArray, position: number, value: number): void {
  out.data[position] = at(out.data, position) + value
}

const conv2dOp: OpBuilder<ConvAttrs> = defineOp<ConvAttrs>({
  name: 'conv2d',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('conv2d', inputs, 0, 'float32')
    const w = operand('conv2d', inputs, 1, 'float32')
    return { shape: convShape('conv2d', x.shape, w.shape, attrs), dtype: 'float32' }
  },
  gradient: ({ inputs, attrs, grad }) => {
    const [x, w] = [at(inputs, 0), at(inputs, 1)]
    return [
      conv2dInputGradOp([grad, w], { ...attrs, inputSize: x.shape.slice(2) }),
      conv2dWeightGradOp([x, grad], { ...attrs, kernelSize: w.shape.slice(2) }),
    ]
  },
  reference: (inputs, attrs, output) => {
    const [x, w] = [at(inputs, 0), at(inputs, 1)]
    const out = refArray(output.shape)
    forEachProduct(output.shape, x.shape, w.shape, attrs, (iy, ix, iw) => {
      accumulate(out, iy, at(x.data, ix) * at(w.data, iw))
    })
    return out
  },
  onnx: (c) => one(c, 'Conv', c.inputs, convOnnx(c.attrs, at(c.types, 1).shape.slice(2))),
})

function convOnnx({ stride, padding, dilation, groups }: ConvAttrs, kernel: Shape) {
  return {
    strides: { ints: stride },
    pads: { ints: padding },
    dilations: { ints: dilation },
    group: { int: groups },
    kernel_shape: { ints: kernel },
  }
}

const conv2dInputGradOp: OpBuilder<InputGradAttrs> = defineOp<InputGradAttrs>({
  name: 'conv2d_input_grad',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const dy = operand('conv2d_input_grad', inputs, 0, 'float32')
    const w = operand('conv2d_input_grad', inputs, 1, 'float32')
    expectRank('conv2d_input_grad', 'dy', dy.shape, 4, '[N,O,H,W]')
    expectRank('conv2d_input_grad', 'w', w.shape, 4, '[O,C/groups,kh,kw]')
    expectList('conv2d_input_grad', 'inputSize', attrs.inputSize, 2, 1)
    const shape = [at(dy.shape, 0), at(w.shape, 1) * attrs.groups, ...attrs.inputSize]
    expectOutput('conv2d_input_grad', dy.shape, convShape('conv2d_input_grad', shape, w.shape, attrs))
    return { shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs: { inputSize: _, ...attrs }, grad }) => {
    const [dy, w] = [at(inputs, 0), at(inputs, 1)]
    return [conv2dOp([grad, w], attrs), conv2dWeightGradOp([grad, dy], { ...attrs, kernelSize: w.shape.slice(2) })]
  },
  reference: (inputs, attrs, output) => {
    const [dy, w] = [at(inputs, 0), at(inputs, 1)]
    const out = refArray(output.shape)
    forEachProduct(dy.shape, output.shape, w.shape, attrs, (iy, ix, iw) => {
      accumulate(out, ix, at(dy.data, iy) * at(w.data, iw))
    })
    return out
  },
  // ConvTranspose makes stride·(n-1) + span - padding; output_padding adds the rows that no window's stride reached.
  onnx: (c) => {
    const { stride, padding, dilation, inputSize } = c.attrs
    const kernel = at(c.types, 1).shape.slice(2)
    const rest = [0, 1].map((i) => {
      const span = at(dilation, i) * (at(kernel, i) - 1) + 1
      const made = at(stride, i) * (at(at(c.types, 0).shape, i + 2) - 1) + span - at(padding, i) - at(padding, i + 2)
      return at(inputSize, i) - made
    })
    const attrs = { ...convOnnx(c.attrs, kernel), output_padding: { ints: rest } }
    return one(c, 'ConvTranspose', c.inputs, attrs)
  },
})

function expectOutput(op: string, got: Shape, want: Shape): void {
  got.forEach((d, i) => {
    expectDim(op, `dy.shape[${i}] of ${showShape(got)}`, d, at(want, i))
  })
}

const conv2dWeightGradOp: OpBuilder<WeightGradAttrs> = defineOp<WeightGradAttrs>({
  name: 'conv2d_weight_grad',
  kind: 'structured',
  infer: (inputs, attrs) => {
    const x = operand('conv2d_weight_grad', inputs, 0, 'float32')
    const dy = operand('conv2d_weight_grad', inputs, 1, 'float32')
    expectRank('conv2d_weight_grad', 'x', x.shape, 4, '[N,C,H,W]')
    expectRank('conv2d_weight_grad', 'dy', dy.shape, 4, '[N,O,H,W]')
    expectList('conv2d_weight_grad', 'kernelSize', attrs.kernelSize, 2, 1)
    const shape = [at(dy.shape, 1), at(x.shape, 1) / attrs.groups, ...attrs.kernelSize]
    expectOutput('conv2d_weight_grad', dy.shape, convShape('conv2d_weight_grad', x.shape, shape, attrs))
    return { shape, dtype: 'float32' }
  },
  gradient: ({ inputs, attrs: { kernelSize: _, ...attrs }, grad }) => {
    const [x, dy] = [at(inputs, 0), at(inputs, 1)]
    return [conv2dInputGradOp([dy, grad], { ...attrs, inputSize: x.shape.slice(2) }), conv2dOp([x, grad], attrs)]
  },
  reference: (inputs, attrs, output) => {
    const [x, dy] = [at(inputs, 0), at(inputs, 1)]
    const out = refArray(output.shape)
    forEachProduct(dy.shape, x.shape, output.shape, attrs, (iy, ix, iw) => {
      accumulate(out, iw, at(dy.data, iy) * at(x.data, ix))
    })
    return out
  },
  onnx: (c) => weightGradOnnx(c),
})

/**
 * The weight gradient as a convolution: batch and channels change places, dy is the kernel, stride and dilation swap. With groups it
 * runs once a group. The result is cropped, since strides that do not divide leave extra rows.
 */
function weightGradOnnx(c: OnnxContext<WeightGradAttrs>): string {
  const { stride, padding, dilation, groups, kernelSize } = c.attrs
  const swap = { perm: { ints: [1, 0, 2, 3] } }
  const [x, dy] = [one(c, 'Transpose', [at(c.inputs, 0)], swap), one(c, 'Transpose', [at(c.inputs, 1)], swap)]
  const parts = Array.from({ length: groups }, (_, g) => {
    const part = (name: string, channels: number) =>
      groups === 1
        ? name
        : one(c, 'Slice', [
            name,
            c.emit.ints([(g * channels) / groups]),
            c.emit.ints([((g + 1) * channels) / groups]),
            c.emit.ints([0]),
          ])
    const full = one(c, 'Conv', [part(x, at(at(c.types, 0).shape, 1)), part(dy, at(at(c.types, 1).shape, 1))], {
      strides: { ints: dilation },
      pads: { ints: padding },
      dilations: { ints: stride },
      kernel_shape: { ints: at(c.types, 1).shape.slice(2) },
    })
    return one(c, 'Slice', [full, c.emit.ints([0, 0]), c.emit.ints(kernelSize), c.emit.ints([2, 3])])
  })
  const joined = groups === 1 ? at(parts, 0) : one(c, 'Concat', parts, { axis: { int: 1 } })
  return one(c, 'Transpose', [joined], swap)
}

export interface ConvOptions {
  /** Default 1. */
  readonly stride?: Pair
  /** Zeros added around the image. Default 0. */
  readonly padding?: Padding
  /** Distance between kernel taps. Default 1. */
  readonly dilation?: Pair
  /** Default 1. */
  readonly groups?: number
}

function convAttrs({ stride = 1, padding = 0, dilation = 1, groups = 1 }: ConvOptions): ConvAttrs {
  return { stride: pair(stride), padding: fourSides(padding), dilation: pair(dilation), groups }
}

/** Cross-correlation of x [N,C,H,W] with w [O,C/groups,kh,kw], as PyTorch's conv2d without bias: [N,O,H',W']. */
export function conv2d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  return conv2dOp([x, w], convAttrs(options))
}

/** Adjoint of {@link conv2d} in x: from dy [N,O,H',W'] and w back to [N,C,...inputSize]. Also a transposed convolution. */
export function conv2dInputGrad(
  dy: Tensor,
  w: Tensor,
  { inputSize, ...options }: ConvOptions & { readonly inputSize: Pair },
): Tensor {
  return conv2dInputGradOp([dy, w], { ...convAttrs(options), inputSize: pair(inputSize) })
}

/** Adjoint of {@link conv2d} in w: from x and dy to [O,C/groups,...kernelSize]. */
export function conv2dWeightGrad(
  x: Tensor,
  dy: Tensor,
  { kernelSize, ...options }: ConvOptions & { readonly kernelSize: Pair },
): Tensor {
  return conv2dWeightGradOp([x, dy], { ...convAttrs(options), kernelSize: pair(kernelSize) })
}
