/**
 * Where annealing begins: a distribution with known density that can be drawn from, as graphs. Normal, fitted Gaussian, uniform box, or
 * the caller's own. The interface is that of a sampler's distribution, so that any of those serves as a base as well.
 */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { checkFinite } from './checks.ts'
import { momentsOf } from './frechet.ts'

/** A normalised distribution over one example. `tensor(name)` gives the graph tensor of a parameter. */
export interface AnnealingBase {
  /** Shape of one example. */
  readonly shape: Shape
  readonly parameters: ReadonlyMap<string, HostTensor>
  /** `count` independent draws: float32 [count, ...shape]. */
  sample(tensor: (name: string) => Tensor, key: Tensor, count: number, stream: number): Tensor
  /** Normalised log density of x [n, ...shape]: [n], nats; -Infinity outside the support. */
  logDensity(tensor: (name: string) => Tensor, x: Tensor): Tensor
}

export type BaseOptions =
  | SimpleBase
  /** Any distribution with a density. */
  | AnnealingBase

/** The bases that a few numbers describe. */
export type SimpleBase =
  /** N(0, std²) in every dimension; default std 1. */
  | { readonly kind: 'normal'; readonly std?: number }
  /**
   * The Gaussian of the data's mean and covariance, widened by the factor `inflate` (default 1.2) so that it covers the tails. `form`
   * 'full' takes a Cholesky factor (default up to 128 dimensions), 'diagonal' the variances. `data`: float32 [n, ...shape], n >= 2.
   */
  | {
      readonly kind: 'fitted'
      readonly data: HostTensor
      readonly form?: 'full' | 'diagonal'
      readonly inflate?: number
    }
  /** Uniform on [low, high] in every dimension. The estimate is then log of the integral of exp(-E) over that box. */
  | { readonly kind: 'uniform'; readonly low: number; readonly high: number }

const kinds = ['normal', 'fitted', 'uniform']

/** The base that the options describe, for examples of `shape`. @throws LangevinError E_CONFIG, E_SHAPE, E_DATA, RangeError */
export function makeBase(options: BaseOptions, shape: Shape): AnnealingBase {
  if ('logDensity' in options) {
    if (sameShape(options.shape, shape)) return options
    throw new LangevinError(
      'E_SHAPE',
      `base: the distribution is over ${showShape(options.shape)}, the model over ${showShape(shape)}`,
    )
  }
  switch (options.kind) {
    case 'normal':
      return diagonalGaussian(shape, new Float64Array(sizeOf(shape)), () => positive('std', options.std ?? 1))
    case 'fitted':
      return fittedGaussian(shape, options)
    case 'uniform':
      return uniformBox(shape, options.low, options.high)
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError('E_CONFIG', `base '${kind}' is not known.${suggestion(kind, kinds)}`)
    }
  }
}

function positive(name: string, value: number): number {
  if (!Number.isFinite(value) || value <= 0) throw new RangeError(`base: ${name} must be positive; got ${value}`)
  return value
}

const halfLog2Pi = 0.5 * Math.log(2 * Math.PI)

function diagonalGaussian(shape: Shape, mean: Float64Array, std: (i: number) => number): AnnealingBase {
  const d = sizeOf(shape)
  const scale = Float64Array.from({ length: d }, (_, i) => std(i))
  const constant = -d * halfLog2Pi - scale.reduce((s, v) => s + Math.log(v), 0)
  return {
    shape,
    parameters: new Map([
      ['mean', hostTensor(Float32Array.from(mean), [...shape])],
      ['scale', hostTensor(Float32Array.from(scale), [...shape])],
    ]),
    sample: (tensor, key, count, stream) =>
      ops.add(tensor('mean'), ops.mul(tensor('scale'), ops.normal(key, [count, ...shape], stream))),
    logDensity(tensor, x) {
      const z = ops.div(ops.sub(x, tensor('mean')), tensor('scale'))
      return ops.add(ops.mul(ops.sum(ops.square(ops.flatten(z)), 1), -0.5), constant)
    },
  }
}

function fittedGaussian(shape: Shape, options: SimpleBase & { readonly kind: 'fitted' }): AnnealingBase {
  const { data, inflate = 1.2 } = options
  positive('inflate', inflate)
  if (data.dtype !== 'float32' || !sameShape(data.shape.slice(1), shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `base: data must be float32 [n,${shape.join(',')}]; got ${data.dtype}${showShape(data.shape)}`,
    )
  }
  const { mean, covariance, dimensions: d } = momentsOf(data)
  const form = options.form ?? (d <= 128 ? 'full' : 'diagonal')
  if (form !== 'full' && form !== 'diagonal') {
    throw new LangevinError(
      'E_CONFIG',
      `base: form '${String(form)}' is not known.${suggestion(form, ['full', 'diagonal'])}`,
    )
  }
  // A dimension that never varies (a border pixel) gets a little room, or the density would not exist.
  const average = covariance.reduce((s, v, i) => (i % (d + 1) === 0 ? s + v / d : s), 0)
  const floor = 1e-4 * (average > 0 ? average : 1)
  for (let i = 0; i < d; i++) covariance[i * d + i]! += floor
  if (form === 'diagonal') return diagonalGaussian(shape, mean, (i) => inflate * Math.sqrt(covariance[i * d + i]!))
  return fullGaussian(
    shape,
    mean,
    covariance.map((v) => v * inflate * inflate),
  )
}

function fullGaussian(shape: Shape, mean: Float64Array, covariance: Float64Array): AnnealingBase {
  const d = mean.length
  const factor = choleskyFactor(covariance, d)
  const constant = -d * halfLog2Pi - mean.reduce((s, _, i) => s + Math.log(factor[i * d + i]!), 0)
  const matrix = (m: Float64Array): HostTensor => hostTensor(Float32Array.from(m), [d, d])
  return {
    shape,
    parameters: new Map([
      ['mean', hostTensor(Float32Array.from(mean), [d])],
      ['factor', matrix(factor)],
      ['inverse', matrix(invertLower(factor, d))],
    ]),
    sample(tensor, key, count, stream) {
      const z = ops.normal(key, [count, d], stream)
      const x = ops.add(tensor('mean'), ops.matmul(z, tensor('factor'), { transposeB: true }))
      return ops.reshape(x, [count, ...shape])
    },
    logDensity(tensor, x) {
      const centred = ops.sub(ops.reshape(x, [x.shape[0] ?? 0, d]), tensor('mean'))
      const z = ops.matmul(centred, tensor('inverse'), { transposeB: true })
      return ops.add(ops.mul(ops.sum(ops.square(z), 1), -0.5), constant)
    },
  }
}

function uniformBox(shape: Shape, low: number, high: number): AnnealingBase {
  checkFinite('base: low and high', [low, high])
  if (!(low < high)) throw new RangeError(`base: uniform needs low < high; got [${low}, ${high}]`)
  const logVolume = sizeOf(shape) * Math.log(high - low)
  return {
    shape,
    parameters: new Map(),
    sample: (_, key, count, stream) => ops.add(ops.mul(ops.uniform(key, [count, ...shape], stream), high - low), low),
    logDensity(_, x) {
      const flat = ops.flatten(x)
      const inside = ops.logicalAnd(ops.ge(ops.min(flat, 1), low), ops.le(ops.max(flat, 1), high))
      return ops.select(inside, -logVolume, Number.NEGATIVE_INFINITY)
    },
  }
}

/** Lower Cholesky factor L of a positive definite matrix, LL' = a; both flat [d, d]. */
function choleskyFactor(a: Float64Array, d: number): Float64Array {
  const l = new Float64Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * d + j]!
      for (let k = 0; k < j; k++) sum -= l[i * d + k]! * l[j * d + k]!
      l[i * d + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / l[j * d + j]!
    }
  }
  return l
}

/** The inverse of a lower triangular matrix. */
function invertLower(l: Float64Array, d: number): Float64Array {
  const out = new Float64Array(d * d)
  for (let j = 0; j < d; j++) {
    out[j * d + j] = 1 / l[j * d + j]!
    for (let i = j + 1; i < d; i++) {
      let sum = 0
      for (let k = j; k < i; k++) sum -= l[i * d + k]! * out[k * d + j]!
      out[i * d + j] = sum / l[i * d + i]!
    }
  }
  return out
}
