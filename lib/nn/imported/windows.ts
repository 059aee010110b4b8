/** Rules of convolutions and pools: their geometry (pads, automatic pads, ceil mode), and one-dimensional ones as images of height 1. */
import type { Shape } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import type { Attributes, Call, OpRule } from './call.ts'

/** A window over [H, W]; pads are [top, left, bottom, right]. */
interface Window {
  readonly kernel: [number, number]
  readonly stride: [number, number]
  readonly dilation: [number, number]
  readonly padding: [number, number, number, number]
}

const geometry = ['kernel_shape', 'strides', 'pads', 'dilations', 'auto_pad'] as const

/** Numbers of a window's axes for two axes, a missing height being 1 axis of size 1. */
function twoAxes(list: readonly number[] | undefined, axes: number, otherwise: number): [number, number] {
  const full = list ?? new Array<number>(axes).fill(otherwise)
  return axes === 1 ? [otherwise, full[0] as number] : [full[0] as number, full[1] as number]
}

/** [N,C,L] as [N,C,1,L]; [N,C,H,W] as it is. */
function asImage(c: Call, x: Tensor): Tensor {
  if (x.rank === 4) return x
  if (x.rank === 3) return ops.unsqueeze(x, 2)
  throw c.fail(`takes [batch, channels, width] or [batch, channels, height, width]; got rank ${x.rank}`)
}

/** Back to the rank that the node was given. */
function fromImage(y: Tensor, rank: number): Tensor {
  return rank === 3 ? ops.squeeze(y, [2]) : y
}

/** The window of a node over an image of this size. `kernel` is that of the weight, where there is one. */
function windowOf(c: Call, size: Shape, axes: number, kernelOfWeight?: [number, number]): Window {
  const kernel = kernelOfWeight ?? twoAxes(c.numbers('kernel_shape'), axes, 1)
  const stride = twoAxes(c.numbers('strides'), axes, 1)
  const dilation = twoAxes(c.numbers('dilations'), axes, 1)
  const automatic = c.text('auto_pad', 'NOTSET')
  const pads = c.numbers('pads') ?? []
  const at = (i: number): number => pads[i] ?? 0
  const given = axes === 1 ? [0, at(0), 0, at(1)] : [at(0), at(1), at(2), at(3)]
  const side = (axis: 0 | 1): [number, number] => {
    if (!automatic.startsWith('SAME')) return [given[axis] as number, given[axis + 2] as number]
    const span = (kernel[axis] - 1) * dilation[axis] + 1
    const need = (Math.ceil((size[axis] as number) / stride[axis]) - 1) * stride[axis] + span - (size[axis] as number)
    const total = Math.max(0, need)
    const less = Math.floor(total / 2)
    return automatic === 'SAME_UPPER' ? [less, total - less] : [total - less, less]
  }
  const [[top, bottom], [left, right]] = [side(0), side(1)]
  return { kernel, stride, dilation, padding: [top, left, bottom, right] }
}

function knownPadding(a: Attributes): string | undefined {
  const automatic = a.text('auto_pad', 'NOTSET')
  if (!['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'].includes(automatic))
    return `auto_pad '${automatic}' is not known`
  const axes = a.numbers('kernel_shape')?.length ?? 2
  return axes > 2 ? `windows of ${axes} dimensions are not supported (1 and 2 are)` : undefined
}

/** y + bias, one number a channel. */
function withBias(y: Tensor, bias: Tensor | undefined): Tensor {
  return bias === undefined ? y : ops.add(y, ops.reshape(bias, [1, bias.size, 1, 1]))
}

function conv(c: Call): Tensor {
  const [x, w] = [asImage(c, c.x(0)), asImage(c, c.x(1))]
  const kernel: [number, number] = [w.shape[2] as number, w.shape[3] as number]
  const { stride, dilation, padding } = windowOf(c, x.shape.slice(2), c.x(0).rank - 2, kernel)
  const groups = c.number('group', 1)
  return fromImage(withBias(ops.conv2d(x, w, { stride, dilation, padding, groups }), c.maybe(2)), c.x(0).rank)
}

/** The adjoint of a convolution with the same weight: size = stride·(n - 1) + output_padding + span - pads. */
function convTranspose(c: Call): Tensor {
  const [x, w] = [asImage(c, c.x(0)), asImage(c, c.x(1))]
  const axes = c.x(0).rank - 2
  const kernel: [number, number] = [w.shape[2] as number, w.shape[3] as number]
  const { stride, dilation, padding } = windowOf(c, x.shape.slice(2), axes, kernel)
  const extra = twoAxes(c.numbers('output_padding'), axes, 0)
  const asked = c.numbers('output_shape')?.slice(-axes)
  const automatic = c.text('auto_pad', 'NOTSET')
  const sides = [...padding] as [number, number, number, number]
  const size = [0, 1].map((i) => {
    const axis = i as 0 | 1
    const whole =
      stride[axis] * ((x.shape[axis + 2] as number) - 1) + extra[axis] + (kernel[axis] - 1) * dilation[axis] + 1
    const same = automatic.startsWith('SAME') ? (x.shape[axis + 2] as number) * stride[axis] : undefined
    const target = axis === 0 && axes === 1 ? undefined : (asked?.[axis - (2 - axes)] ?? same)
    if (target === undefined) return whole - sides[axis] - sides[(axis + 2) as 2 | 3]
    const total = whole - target
    const half = Math.floor(total / 2)
    const begin = automatic === 'SAME_UPPER' ? half : total - half
    sides[axis] = begin
    sides[(axis + 2) as 2 | 3] = total - begin
    return target
  }) as [number, number]
  if (sides.some((v) => v < 0)) throw c.fail(`output_shape [${asked}] is larger than what the input reaches`)
  const groups = c.number('group', 1)
  const y = ops.conv2dInputGrad(x, w, { stride, dilation, padding: sides, groups, inputSize: size })
  return fromImage(withBias(y, c.maybe(2)), c.x(0).rank)
}

/** Cells that the last window of ceil mode reaches beyond the padded image, at the far sides. Windows that begin there do not count. */
function overhang(size: Shape, { kernel, stride, padding }: Window): [number, number] {
  const over = (axis: 0 | 1): number => {
    const [near, far] = [padding[axis], padding[(axis + 2) as 2 | 3]]
    const room = (size[axis] as number) + near + far - kernel[axis]
    let count = Math.ceil(room / stride[axis]) + 1
    if ((count - 1) * stride[axis] >= (size[axis] as number) + near) count--
    return Math.max(0, (count - 1) * stride[axis] - room)
  }
  return [over(0), over(1)]
}

function pool(c: Call, kind: 'max' | 'average'): Tensor {
  let x = asImage(c, c.x())
  const window = windowOf(c, x.shape.slice(2), c.x().rank - 2)
  const { kernel, stride } = window
  let [top, left, bottom, right] = window.padding
  const [down, across] = c.number('ceil_mode', 0) ? overhang(x.shape.slice(2), window) : [0, 0]
  if (kind === 'average' && c.number('count_include_pad', 0)) {
    // The given zeros count in the divisor, the cells of ceil mode do not.
    x = ops.pad(x, { low: [0, 0, top, left], high: [0, 0, bottom, right] })
    ;[top, left, bottom, right] = [0, 0, 0, 0]
  }
  const options = { kernel, stride, padding: [top, left, bottom + down, right + across] as const }
  const y = kind === 'max' ? ops.maxpool2d(x, options) : ops.avgpool2d(x, { ...options, countIncludePad: false })
  return fromImage(y, c.x().rank)
}

function noDilation(a: Attributes): string | undefined {
  const spread = a.numbers('dilations')?.some((d) => d !== 1)
  return spread ? 'dilated pools are not supported' : knownPadding(a)
}

/** All axes behind the channels. */
function spatial(x: Tensor): number[] {
  return x.shape.map((_, i) => i).slice(2)
}

export const windows: Readonly<Record<string, OpRule>> = {
  Conv: { attributes: [...geometry, 'group'], affine: 'first', refuse: knownPadding, build: conv },
  ConvTranspose: {
    attributes: [...geometry, 'group', 'output_padding', 'output_shape'],
    affine: 'first',
    refuse: knownPadding,
    build: convTranspose,
  },
  MaxPool: {
    attributes: [...geometry, 'ceil_mode', 'storage_order'],
    refuse: noDilation,
    build: (c) => pool(c, 'max'),
  },
  AveragePool: {
    attributes: [...geometry, 'ceil_mode', 'count_include_pad'],
    affine: 'first',
    refuse: noDilation,
    build: (c) => pool(c, 'average'),
  },
  GlobalAveragePool: {
    attributes: [],
    affine: 'all',
    build: (c) => ops.mean(c.x(), spatial(c.x()), { keepDims: true }),
  },
  GlobalMaxPool: { attributes: [], build: (c) => ops.max(c.x(), spatial(c.x()), { keepDims: true }) },
}
