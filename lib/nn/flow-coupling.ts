/**
 * Coupling layers: part of an example passes unchanged and, through a conditioner network, sets an elementwise map of the rest
 * (Dinh 2017; Durkan 2019). Three choices make one: the partition (halves of the channels, or a checkerboard of pixels), the map
 * (affine or spline) and the conditioner (an MLP, or a small residual convolution). Also the spline without a conditioner.
 * The conditioner's last layer starts at zero, so that every coupling starts as the identity.
 */
import { shapeError, suggestion } from '../graph/errors.ts'
import { type Shape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { rowSum } from '../ops/rows.ts'
import type { Bijector, Mapped } from './flow.ts'
import { imageShape } from './flow-bijectors.ts'
import { rationalQuadraticSpline, type SplineOptions, splineOptions, splineParameterCount } from './flow-spline.ts'
import { type ActivationName, activation, conv, type Layer, layer, linear, sequence } from './layer.ts'
import type { Scope } from './variables.ts'

/** Which part of an example is given, and which is changed. */
export interface Partition {
  /** Shape of what the conditioner sees, and of what is changed, of one example. */
  readonly givenShape: Shape
  readonly changedShape: Shape
  given(x: Tensor): Tensor
  changed(x: Tensor): Tensor
  /** x with its changed part replaced. */
  join(x: Tensor, changed: Tensor): Tensor
  /** Log derivatives of the changed part, 0 where an element was not changed after all. */
  counted(logDet: Tensor): Tensor
}

/** Channels: the first ⌈c/2⌉ are given, the others changed. @throws LangevinError E_SHAPE for a single channel. */
export function halves(shape: Shape): Partition {
  const c = shape[0] as number
  if (shape.length === 0 || c < 2) {
    throw shapeError('coupling', `needs 2 channels or features to split; got an example of shape ${showShape(shape)}`)
  }
  const given = Math.ceil(c / 2)
  return {
    givenShape: [given, ...shape.slice(1)],
    changedShape: [c - given, ...shape.slice(1)],
    given: (x) => ops.sliceAxis(x, 1, 0, given),
    changed: (x) => ops.sliceAxis(x, 1, given, c),
    join: (x, changed) => ops.concat([ops.sliceAxis(x, 1, 0, given), changed], 1),
    counted: (logDet) => logDet,
  }
}

/** Pixels whose row + column has the given parity are given, the others changed (Dinh 2017, 3.4). */
export function checkerboard(shape: Shape, parity: 0 | 1): Partition {
  const [, h, w] = imageShape('checkerboard', shape)
  if (h * w < 2) throw shapeError('checkerboard', `needs 2 pixels or more; got ${showShape(shape)}`)
  const pixels = Uint8Array.from({ length: h * w }, (_, i) => (((Math.floor(i / w) + (i % w)) & 1) === parity ? 1 : 0))
  const isGiven = (): Tensor => ops.constant(pixels, [1, 1, h, w], 'bool')
  return {
    givenShape: shape,
    changedShape: shape,
    given: (x) => ops.select(isGiven(), x, 0),
    changed: (x) => x,
    join: (x, changed) => ops.select(isGiven(), x, changed),
    counted: (logDet) => ops.select(isGiven(), 0, logDet),
  }
}

/** An elementwise invertible map whose parameters a conditioner gives: `perElement` channels for each channel that is changed. */
export interface ElementwiseMap {
  readonly kind: 'affine' | 'spline'
  readonly perElement: number
  /** x [n, m, ...], raw [n, perElement·m, ...]; the result and the log derivative of the map asked for, of x's shape. */
  apply(x: Tensor, raw: Tensor, direction: 'forward' | 'inverse'): Mapped
}

/** x ↦ x·exp(s) + t with s = limit·tanh(raw/limit), the first half of the raw channels, and t the second. */
export function affineMap(limit = 3): ElementwiseMap {
  if (!(limit > 0 && Number.isFinite(limit)))
    throw new RangeError(`affine coupling: maxLogScale must be positive; got ${limit}`)
  return {
    kind: 'affine',
    perElement: 2,
    apply(x, raw, direction) {
      const m = x.shape[1] as number
      // A bounded log scale keeps one bad step from overflowing exp; near 0 it is raw itself.
      const s = ops.mul(ops.tanh(ops.div(ops.sliceAxis(raw, 1, 0, m), limit)), limit)
      const t = ops.sliceAxis(raw, 1, m, 2 * m)
      return direction === 'forward'
        ? { value: ops.add(ops.mul(x, ops.exp(s)), t), logDet: s }
        : { value: ops.mul(ops.sub(x, t), ops.exp(ops.neg(s))), logDet: ops.neg(s) }
    },
  }
}

/** The rational-quadratic spline; raw channel m·(3K - 1) + j is parameter j of changed channel m. */
export function splineMap(options: SplineOptions = {}): ElementwiseMap {
  const full = splineOptions(options)
  const perElement = splineParameterCount(full.bins)
  return {
    kind: 'spline',
    perElement,
    apply(x, raw, direction) {
      const [n, m] = x.shape as [number, number]
      const split = ops.reshape(raw, [n, m, perElement, ...x.shape.slice(2)])
      const last = x.rank === 2 ? split : ops.transpose(split, [0, 1, 3, 4, 2])
      return rationalQuadraticSpline(x, last, direction, full)
    },
  }
}

export interface ConditionerOptions {
  /** Widths of the MLP's hidden layers (vectors); default [128, 128]. */
  readonly hidden?: readonly number[]
  /** Channels of the convolutions (images); default 32. */
  readonly channels?: number
  /** Residual blocks of the convolutional conditioner; default 1. */
  readonly blocks?: number
  /** Default 'silu', which has the smooth derivatives that a score needs. */
  readonly activation?: ActivationName
}

/** A conditioner from the given part to `outputs` channels: an MLP on vectors, a residual convolution on images. */
export function conditioner(given: Shape, outputs: number, options: ConditionerOptions = {}): Layer {
  if (given.length === 1) return mlpConditioner(outputs, options)
  if (given.length === 3) return convConditioner(outputs, options)
  throw shapeError(
    'coupling',
    `takes vectors [features] or images [channels, height, width]; got ${showShape(given)}. Reshape, or flatten first.`,
  )
}

/** Names `0.weight`, `2.weight`, ... as in PyTorch's Sequential(Linear, act, Linear, ...). */
function mlpConditioner(outputs: number, { hidden = [128, 128], activation: act = 'silu' }: ConditionerOptions): Layer {
  return sequence([...hidden.flatMap((width) => [linear(width), activation(act)]), zeroLinear(outputs)])
}

/** 3x3 convolution, residual blocks of (activation, 3x3, activation, 1x1), activation, 3x3 convolution of zeros. */
function convConditioner(outputs: number, options: ConditionerOptions): Layer {
  const { channels = 32, blocks = 1, activation: act = 'silu' } = options
  const a = activation(act)
  const block = layer('residual', (x, scope) => {
    const h = conv(channels, 3, { padding: 1 }).apply(a.apply(x, scope), scope.child('conv1'))
    return ops.add(x, conv(channels, 1).apply(a.apply(h, scope), scope.child('conv2')))
  })
  return sequence([
    conv(channels, 3, { padding: 1 }),
    ...Array.from({ length: blocks }, () => block),
    a,
    layer('conv', (x, scope) => withZeroBias(conv(outputs, 3, { ...zeroWeight, padding: 1 }).apply(x, scope), scope)),
  ])
}

const zeroWeight = { bias: false, init: { kind: 'constant', value: 0 } } as const

function zeroLinear(outputs: number): Layer {
  return layer('linear', (x, scope) => withZeroBias(linear(outputs, zeroWeight).apply(x, scope), scope))
}

/** y plus a bias per channel that starts at zero (a layer's own bias starts at random). */
function withZeroBias(y: Tensor, scope: Scope): Tensor {
  const c = y.shape[1] as number
  const bias = scope.parameter('bias', [c], { kind: 'constant', value: 0 })
  return ops.add(y, ops.reshape(bias, [1, c, ...y.shape.slice(2).map(() => 1)]))
}

/** A coupling layer from its parts. Variables are the conditioner's, under `net`. */
export function coupling(partition: Partition, map: ElementwiseMap, options: ConditionerOptions = {}): Bijector {
  const net = conditioner(partition.givenShape, map.perElement * (partition.changedShape[0] as number), options)
  const run = (x: Tensor, scope: Scope, direction: 'forward' | 'inverse'): Mapped => {
    const raw = net.apply(partition.given(x), scope.child('net'))
    const { value, logDet } = map.apply(partition.changed(x), raw, direction)
    return { value: partition.join(x, value), logDet: rowSum(partition.counted(logDet)) }
  }
  return {
    kind: `${map.kind}_coupling`,
    forward: (x, scope) => run(x, scope, 'forward'),
    inverse: (z, scope) => run(z, scope, 'inverse'),
  }
}

/**
 * A spline at each element with parameters of its own and no conditioner: variable `spline` [...shape, 3K - 1], zeros (the identity) at
 * first. All that a flow of one dimension can be made of, and marginals for any other.
 */
export function elementwiseSpline(shape: Shape, options: SplineOptions = {}): Bijector {
  const full = splineOptions(options)
  const perElement = splineParameterCount(full.bins)
  const run = (x: Tensor, scope: Scope, direction: 'forward' | 'inverse'): Mapped => {
    const n = x.shape[0] as number
    const own = scope.parameter('spline', [...shape, perElement], { kind: 'constant', value: 0 })
    const raw = ops.reshape(own, [1, sizeOf(shape), perElement])
    const { value, logDet } = rationalQuadraticSpline(ops.flatten(x), raw, direction, full)
    return { value: ops.reshape(value, [n, ...shape]), logDet: ops.sum(logDet, 1) }
  }
  return {
    kind: 'elementwise_spline',
    forward: (x, scope) => run(x, scope, 'forward'),
    inverse: (z, scope) => run(z, scope, 'inverse'),
  }
}

/** The map of a coupling by name. @throws RangeError for another name. */
export function elementwiseMap(
  kind: 'affine' | 'spline',
  options: SplineOptions & { readonly maxLogScale?: number } = {},
): ElementwiseMap {
  if (kind === 'affine') return affineMap(options.maxLogScale)
  if (kind === 'spline') return splineMap(options)
  throw new RangeError(`coupling '${String(kind)}' is not known.${suggestion(String(kind), ['affine', 'spline'])}`)
}
