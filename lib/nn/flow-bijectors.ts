/**
 * The bijectors without a conditioner: fixed affine maps, actnorm, permutations, LU mixing, the logit, squeeze, flatten and the
 * multi-scale split. Vectors are [n, d], images [n, c, h, w]; per-channel parameters belong to axis 1 of either.
 */
import { shapeError } from '../graph/errors.ts'
import { type Shape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { rowSum } from '../ops/rows.ts'
import { type Bijector, type Mapped, noChange } from './flow.ts'
import type { Scope, VariableSpec } from './variables.ts'

const ZERO: VariableSpec['init'] = { kind: 'constant', value: 0 }

/** Numbers of axis 1 from one for all or one for each. @throws RangeError for another count or non-finite values. */
export function perChannel(name: string, value: number | readonly number[], channels: number): number[] {
  const list = typeof value === 'number' ? new Array<number>(channels).fill(value) : [...value]
  if (list.length !== channels || !list.every(Number.isFinite)) {
    throw new RangeError(
      `${name} must be a finite number or ${channels} of them, one a channel; got ${JSON.stringify(value)}`,
    )
  }
  return list
}

/** A vector [c] shaped to broadcast along axis 1 of examples of `shape`. */
function alongAxis1(v: Tensor, shape: Shape): Tensor {
  return ops.reshape(v, [1, shape[0] as number, ...shape.slice(1).map(() => 1)])
}

/** Positions that share one channel: pixels of an image, 1 for a vector. */
function pixels(shape: Shape): number {
  return sizeOf(shape.slice(1))
}

/** The same log |det| for every example of the batch: a scalar to [n]. */
function everyRow(logDet: Tensor, x: Tensor): Tensor {
  return ops.broadcast(ops.reshape(logDet, [1]), [x.shape[0] as number])
}

/**
 * z = (x - shift) / scale with fixed numbers, such as the data's mean and standard deviation, per channel.
 * @throws RangeError when a scale is not positive
 */
export function fixedAffine(
  shape: Shape,
  options: { readonly shift: number | readonly number[]; readonly scale: number | readonly number[] },
): Bijector {
  const channels = shape[0] as number
  const shift = perChannel('shift', options.shift, channels)
  const scale = perChannel('scale', options.scale, channels)
  const bad = scale.find((s) => s <= 0)
  if (bad !== undefined) {
    throw new RangeError(
      `scale must be positive; got ${bad}. A feature that never varies has no density: drop it or add noise.`,
    )
  }
  const logDet = -pixels(shape) * scale.reduce((sum, s) => sum + Math.log(s), 0)
  const constant = (v: readonly number[]): Tensor => alongAxis1(ops.constant(v, [channels]), shape)
  return {
    kind: 'fixed_affine',
    forward: (x) => ({
      value: ops.div(ops.sub(x, constant(shift)), constant(scale)),
      logDet: everyRow(ops.scalar(logDet), x),
    }),
    inverse: (z) => ({
      value: ops.add(ops.mul(z, constant(scale)), constant(shift)),
      logDet: everyRow(ops.scalar(-logDet), z),
    }),
  }
}

/** z = (x + shift) · exp(log_scale), learned per channel and the identity at first (Kingma & Dhariwal 2018, without their data-dependent start). */
export function actNorm(shape: Shape): Bijector {
  const channels = shape[0] as number
  const variables = (scope: Scope) => ({
    shift: alongAxis1(scope.parameter('shift', [channels], ZERO), shape),
    logScale: scope.parameter('log_scale', [channels], ZERO),
  })
  return {
    kind: 'act_norm',
    forward(x, scope) {
      const { shift, logScale } = variables(scope)
      const value = ops.mul(ops.add(x, shift), alongAxis1(ops.exp(logScale), shape))
      return { value, logDet: everyRow(ops.mul(ops.sum(logScale), pixels(shape)), x) }
    },
    inverse(z, scope) {
      const { shift, logScale } = variables(scope)
      const value = ops.sub(ops.mul(z, alongAxis1(ops.exp(ops.neg(logScale)), shape)), shift)
      return { value, logDet: everyRow(ops.mul(ops.sum(logScale), -pixels(shape)), z) }
    },
  }
}

/** The permutation that undoes `order`. @throws RangeError unless `order` holds 0..n-1 once each. */
function inverseOrder(order: readonly number[]): number[] {
  const back = order.map((_, i) => order.indexOf(i))
  if (back.includes(-1)) throw new RangeError(`a permutation holds 0..${order.length - 1} once each; got [${order}]`)
  return back
}

function indices(order: readonly number[]): Tensor {
  return ops.constant(Int32Array.from(order), [order.length])
}

/** Channel i of z is channel order[i] of x. */
export function permutation(order: readonly number[]): Bijector {
  const back = inverseOrder(order)
  return {
    kind: 'permutation',
    forward: (x) => ({ value: ops.gather(x, indices(order), 1), logDet: noChange(x) }),
    inverse: (z) => ({ value: ops.gather(z, indices(back), 1), logDet: noChange(z) }),
  }
}

/** Channels in reverse. */
export function reversal(channels: number): Bijector {
  return { ...permutation(Array.from({ length: channels }, (_, i) => channels - 1 - i)), kind: 'reversal' }
}

/** float32 [d, d] with 1 where `holds(row, column)`. */
function matrixMask(d: number, holds: (row: number, column: number) => boolean): Tensor {
  return ops.constant(
    Float32Array.from({ length: d * d }, (_, i) => (holds(Math.floor(i / d), i % d) ? 1 : 0)),
    [d, d],
  )
}

/**
 * The inverse of a triangular [d, d] matrix of the given inverse diagonal [d], by doubling: the inverse X of the blocks of size b on the
 * diagonal gives that of the blocks of size 2b as X - X M X, M being the part of the matrix in those blocks and outside the smaller ones.
 * ⌈log₂ d⌉ rounds of dense products, as stable as block substitution; there is no kernel for triangular solves.
 */
function triangularInverse(matrix: Tensor, inverseDiagonal: Tensor): Tensor {
  const d = matrix.shape[0] as number
  const eye = matrixMask(d, (i, j) => i === j)
  let x = ops.mul(eye, ops.reshape(inverseDiagonal, [1, d]))
  for (let b = 1; b < d; b *= 2) {
    const sameBlock = (i: number, j: number, size: number) => Math.floor(i / size) === Math.floor(j / size)
    const between = matrixMask(d, (i, j) => sameBlock(i, j, 2 * b) && !sameBlock(i, j, b))
    x = ops.sub(x, ops.matmul(x, ops.matmul(ops.mul(matrix, between), x)))
  }
  return x
}

/**
 * z = L U P x over the channels, for an image at every pixel (the invertible 1x1 convolution of Kingma & Dhariwal 2018 in LU form):
 * P a fixed permutation (`order` as in {@link permutation}; default none), L unit lower triangular, U upper triangular with
 * diagonal exp(log_diagonal). Starts as P. log |det| is the pixels times the sum of log_diagonal.
 */
export function luLinear(shape: Shape, order?: readonly number[]): Bijector {
  const c = shape[0] as number
  const places = order ?? Array.from({ length: c }, (_, i) => i)
  if (places.length !== c)
    throw new RangeError(`luLinear: the permutation must have ${c} entries; got ${places.length}`)
  const back = inverseOrder(places)
  const identity = back.every((p, i) => p === i)
  const variables = (scope: Scope) => {
    const logDiagonal = scope.parameter('log_diagonal', [c], ZERO)
    const strictLower = ops.mul(
      scope.parameter('lower', [c, c], ZERO),
      matrixMask(c, (i, j) => i > j),
    )
    const strictUpper = ops.mul(
      scope.parameter('upper', [c, c], ZERO),
      matrixMask(c, (i, j) => i < j),
    )
    return { logDiagonal, strictLower, strictUpper }
  }
  return {
    kind: 'lu_linear',
    forward(x, scope) {
      const { logDiagonal, strictLower, strictUpper } = variables(scope)
      const eye = matrixMask(c, (i, j) => i === j)
      const upper = ops.add(strictUpper, ops.mul(eye, ops.reshape(ops.exp(logDiagonal), [1, c])))
      const product = ops.matmul(ops.add(strictLower, eye), upper)
      const weight = identity ? product : ops.gather(product, indices(back), 1)
      return { value: mixChannels(x, weight), logDet: everyRow(ops.mul(ops.sum(logDiagonal), pixels(shape)), x) }
    },
    inverse(z, scope) {
      const { logDiagonal, strictLower, strictUpper } = variables(scope)
      const lower = triangularInverse(strictLower, ops.ones([c]))
      const upper = triangularInverse(strictUpper, ops.exp(ops.neg(logDiagonal)))
      const product = ops.matmul(upper, lower)
      const weight = identity ? product : ops.gather(product, indices(back), 0)
      return { value: mixChannels(z, weight), logDet: everyRow(ops.mul(ops.sum(logDiagonal), -pixels(shape)), z) }
    },
  }
}

/** weight [c, c] times the channels of x. */
function mixChannels(x: Tensor, weight: Tensor): Tensor {
  if (x.rank === 2) return ops.matmul(x, weight, { transposeB: true })
  const c = weight.shape[0] as number
  return ops.conv2d(x, ops.reshape(weight, [c, c, 1, 1]))
}

/**
 * Pixels in [-1, 1] to the whole line: u = α + (1 - 2α)(x + 1)/2, z = log u - log(1 - u) (Dinh 2017, 4.1, with α = 0.05).
 * The flow's density then lives on |x| < 1/(1 - 2α); beyond it log q(x) is -∞.
 * @throws RangeError unless 0 < alpha < 0.5
 */
export function logit(alpha = 0.05): Bijector {
  if (!(alpha > 0 && alpha < 0.5)) throw new RangeError(`logit: alpha must lie between 0 and 0.5; got ${alpha}`)
  const half = (1 - 2 * alpha) / 2
  // Half a float32 step from 0 and 1: no finite z comes from beyond.
  const edge = 2 ** -24
  return {
    kind: 'logit',
    forward(x) {
      const u = ops.add(ops.mul(x, half), 0.5)
      const inside = ops.logicalAnd(ops.gt(u, 0), ops.lt(u, 1))
      const safe = ops.clamp(u, edge, 1 - edge)
      const [logU, logRest] = [ops.log(safe), ops.log1p(ops.neg(safe))]
      const each = ops.sub(Math.log(half), ops.add(logU, logRest))
      return {
        value: ops.sub(logU, logRest),
        logDet: rowSum(ops.select(inside, each, Number.NEGATIVE_INFINITY)),
      }
    },
    inverse(z) {
      const u = ops.sigmoid(z)
      // log du/dz = -softplus(z) - softplus(-z)
      const each = ops.neg(ops.add(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))), Math.log(half)))
      return { value: ops.div(ops.sub(u, 0.5), half), logDet: rowSum(each) }
    },
  }
}

/** [n, c, h, w] to [n, 4c, h/2, w/2]: the four pixels of each 2x2 square become channels 4c'..4c'+3 (row-major in the square). */
export function squeeze2x2(shape: Shape): Bijector {
  const [c, h, w] = imageShape('squeeze2x2', shape)
  if (h % 2 !== 0 || w % 2 !== 0)
    throw shapeError('squeeze2x2', `height and width must be even; got ${showShape(shape)}. Use fewer levels, or pad.`)
  return {
    kind: 'squeeze',
    forward(x) {
      const n = x.shape[0] as number
      const squares = ops.transpose(ops.reshape(x, [n, c, h / 2, 2, w / 2, 2]), [0, 1, 3, 5, 2, 4])
      return { value: ops.reshape(squares, [n, 4 * c, h / 2, w / 2]), logDet: noChange(x) }
    },
    inverse(z) {
      const n = z.shape[0] as number
      const rows = ops.transpose(ops.reshape(z, [n, c, 2, 2, h / 2, w / 2]), [0, 1, 4, 2, 5, 3])
      return { value: ops.reshape(rows, [n, c, h, w]), logDet: noChange(z) }
    },
  }
}

/** [n, ...shape] to [n, d]. */
export function flattenBijector(shape: Shape): Bijector {
  const n = (x: Tensor) => x.shape[0] as number
  return {
    kind: 'flatten',
    forward: (x) => ({ value: ops.reshape(x, [n(x), sizeOf(shape)]), logDet: noChange(x) }),
    inverse: (z) => ({ value: ops.reshape(z, [n(z), ...shape]), logDet: noChange(z) }),
  }
}

/**
 * The multi-scale split (Dinh 2017, 3.6): the first half of the channels goes through `rest`, which must give [n, d]; the others are
 * done. z = [rest's, then the others'] as [n, c·h·w].
 */
export function multiScaleSplit(shape: Shape, rest: Bijector): Bijector {
  const c = shape[0] as number
  if (c < 2) throw shapeError('multiScaleSplit', `needs 2 channels or more to split; got ${showShape(shape)}`)
  const deep = Math.ceil(c / 2)
  const deepSize = deep * pixels(shape)
  const restScope = (scope: Scope) => scope.child('rest')
  return {
    kind: 'split',
    forward(x, scope): Mapped {
      const inner = rest.forward(ops.sliceAxis(x, 1, 0, deep), restScope(scope))
      const done = ops.flatten(ops.sliceAxis(x, 1, deep, c))
      return { value: ops.concat([inner.value, done], 1), logDet: inner.logDet }
    },
    inverse(z, scope): Mapped {
      const inner = rest.inverse(ops.sliceAxis(z, 1, 0, deepSize), restScope(scope))
      const flat = ops.sliceAxis(z, 1, deepSize, sizeOf(shape))
      const done = ops.reshape(flat, [z.shape[0] as number, c - deep, ...shape.slice(1)])
      return { value: ops.concat([inner.value, done], 1), logDet: inner.logDet }
    },
  }
}

/** @throws LangevinError E_SHAPE unless `shape` is [channels, height, width]. */
export function imageShape(where: string, shape: Shape): readonly [number, number, number] {
  const [c, h, w] = shape
  if (shape.length !== 3 || c === undefined || h === undefined || w === undefined)
    throw shapeError(where, `takes images [channels, height, width]; got ${showShape(shape)}`)
  return [c, h, w]
}
