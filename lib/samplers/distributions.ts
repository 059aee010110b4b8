/**
 * Distributions with an exact density and independent draws, as graphs: the noise of noise-contrastive estimation, the base of annealed
 * importance sampling, a start of chains. Their numbers are named parameters that a caller keeps as state. Fitting is lib/data's part.
 */
import { shapeError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

/** Gives the graph tensor of a parameter: a state tensor under a prefix, or {@link inlineParameters}. */
export type ParameterTensors = (name: string) => Tensor

export interface Distribution {
  /** Shape of one example. */
  readonly shape: Shape
  /** float32 numbers by name; empty for a distribution without any. */
  readonly parameters: ReadonlyMap<string, HostTensor>
  /** `count` independent draws, float32 [count, ...shape], from the key's streams `stream` and `stream + 1`. */
  sample(tensor: ParameterTensors, key: Tensor, count: number, stream: number): Tensor
  /** Normalised log density in nats of x [n, ...shape]: float32 [n]. Differentiable in x. */
  logDensity(tensor: ParameterTensors, x: Tensor): Tensor
}

/** The parameters as constants of the graph, for distributions that never change. */
export function inlineParameters(distribution: Distribution): ParameterTensors {
  const made = new Map<string, Tensor>()
  return (name) => {
    const have = made.get(name)
    if (have !== undefined) return have
    const value = distribution.parameters.get(name)
    if (value === undefined) {
      const known = [...distribution.parameters.keys()].join(', ') || 'none'
      throw new RangeError(`inlineParameters: the distribution has no parameter '${name}'; it has ${known}`)
    }
    const t = ops.constant(value.data, value.shape)
    made.set(name, t)
    return t
  }
}

/** N(0, I). */
export function standardNormal(shape: Shape): Distribution {
  const d = sizeOf(shape)
  return {
    shape,
    parameters: new Map(),
    sample: (_, key, count, stream) => ops.normal(key, [count, ...shape], stream),
    logDensity: (_, x) => standardLogDensity(rows('standardNormal', shape, x)).sub(d * halfLogTau),
  }
}

/** Independent normals: `mean` and `scale` (standard deviations, positive) of the example's shape. */
export function diagonalGaussian(mean: HostTensor, scale: HostTensor): Distribution {
  const { shape } = mean
  checkPair('diagonalGaussian', 'scale', scale, mean)
  for (const [i, s] of scale.data.entries()) {
    if (!(s > 0 && s < Infinity))
      throw new RangeError(`diagonalGaussian: every scale must be positive and finite; number ${i} is ${s}`)
  }
  const logScale = Array.from(scale.data).reduce((sum, s) => sum + Math.log(s), 0)
  return {
    shape,
    parameters: new Map([
      ['mean', mean],
      ['scale', scale],
      ['offset', floats([-sizeOf(shape) * halfLogTau - logScale], [])],
    ]),
    sample: (tensor, key, count, stream) =>
      ops
        .normal(key, [count, ...shape], stream)
        .mul(tensor('scale'))
        .add(tensor('mean')),
    logDensity: (tensor, x) => {
      const z = checked('diagonalGaussian', shape, x).sub(tensor('mean')).div(tensor('scale'))
      return standardLogDensity(z).add(tensor('offset'))
    },
  }
}

/**
 * N(mean, factor factorᵀ), as `fitGaussian` gives it.
 * @param mean float32, of the example's shape (d numbers)
 * @param factor float32 [d, d], lower triangular with a positive diagonal. Its inverse is taken here, once, in float64: d³/6 operations.
 */
export function gaussian(mean: HostTensor, factor: HostTensor): Distribution {
  const { shape } = mean
  const d = sizeOf(shape)
  checkFactor('gaussian', factor, [d, d])
  const { inverse, logDeterminant } = invertLower('gaussian', factor.data, d)
  const flat = (tensor: ParameterTensors): Tensor => tensor('mean').reshape([d])
  return {
    shape,
    parameters: new Map([
      ['mean', mean],
      ['factor', factor],
      ['inverse', hostTensor(inverse, [d, d])],
      ['offset', floats([-d * halfLogTau - logDeterminant], [])],
    ]),
    sample: (tensor, key, count, stream) =>
      ops
        .matmul(ops.normal(key, [count, d], stream), tensor('factor'), { transposeB: true })
        .add(flat(tensor))
        .reshape([count, ...shape]),
    logDensity: (tensor, x) => {
      const centred = rows('gaussian', shape, x).sub(flat(tensor))
      return standardLogDensity(ops.matmul(centred, tensor('inverse'), { transposeB: true })).add(tensor('offset'))
    },
  }
}

/**
 * Σ_k weights[k] N(means[k], factors[k] factors[k]ᵀ), as `fitGaussianMixture` gives it.
 * @param weights float32 [k], positive; divided by their sum
 * @param means float32 [k, ...shape]
 * @param factors float32 [k, d, d], lower triangular with positive diagonals
 */
export function gaussianMixture(weights: HostTensor, means: HostTensor, factors: HostTensor): Distribution {
  const [k = 0, ...shape] = means.shape
  const d = sizeOf(shape)
  if (k < 1 || !sameShape(weights.shape, [k])) {
    throw shapeError(
      'gaussianMixture',
      `weights must be [k] for means [k,...shape] with k ≥ 1; got ${showShape(weights.shape)} and ${showShape(means.shape)}`,
    )
  }
  checkFactor('gaussianMixture', factors, [k, d, d])
  const logits = logShares(weights)
  const inverse = new Float32Array(k * d * d)
  const offset = logits.map((logit, c) => {
    const one = invertLower('gaussianMixture', factors.data.subarray(c * d * d, (c + 1) * d * d), d)
    inverse.set(one.inverse, c * d * d)
    return logit - one.logDeterminant - d * halfLogTau
  })
  return {
    shape,
    parameters: new Map([
      ['logits', floats(logits, [k])],
      ['means', means],
      ['factors', factors],
      ['inverses', hostTensor(inverse, [k, d, d])],
      ['offset', floats(offset, [k])],
    ]),
    sample: (tensor, key, count, stream) => {
      const component = ops.categorical(key, tensor('logits').broadcast([count, k]), stream)
      const all = ops.ge(component, 0)
      const z = ops.normal(key, [count, d], stream + 1)
      const drawn = ops.gaussianRows(all, component, tensor('means').reshape([k, d]), tensor('factors'), z)
      return drawn.reshape([count, ...shape])
    },
    logDensity: (tensor, x) => {
      const flat = rows('gaussianMixture', shape, x)
      const centred = flat.unsqueeze(0).sub(tensor('means').reshape([k, 1, d]))
      const white = ops.matmul(centred, tensor('inverses'), { transposeB: true })
      return white
        .square()
        .sum(-1)
        .mul(-0.5)
        .add(tensor('offset').reshape([k, 1]))
        .logsumexp(0)
    },
  }
}

/** Uniform in a box with corners `low` < `high`, both of the example's shape. The log density outside is -Infinity, its gradient 0. */
export function uniformBox(low: HostTensor, high: HostTensor): Distribution {
  const { shape } = low
  checkPair('uniformBox', 'high', high, low)
  let logVolume = 0
  const width = Float32Array.from(low.data, (a, i) => {
    const b = high.data[i] as number
    if (!(a < b && b - a < Infinity)) {
      throw new RangeError(`uniformBox: low must be below high, both finite; number ${i} has low ${a} and high ${b}`)
    }
    logVolume += Math.log(b - a)
    return b - a
  })
  return {
    shape,
    parameters: new Map([
      ['low', low],
      ['high', high],
      ['width', hostTensor(width, shape)],
      ['offset', floats([-logVolume], [])],
    ]),
    sample: (tensor, key, count, stream) =>
      ops
        .uniform(key, [count, ...shape], stream)
        .mul(tensor('width'))
        .add(tensor('low')),
    logDensity: (tensor, x) => {
      const given = checked('uniformBox', shape, x)
      const within = ops.logicalAnd(given.ge(tensor('low')), given.le(tensor('high')))
      const all = flatten(within.cast('float32')).min(1).gt(0.5)
      return ops.select(all, tensor('offset'), -Infinity)
    },
  }
}

/** A distribution of one's own: functions that build the graphs. `logDensity` must be normalised for NCE and AIS to mean anything. */
export function customDistribution(options: {
  readonly shape: Shape
  /** Default none; `tensor` gives their graph tensors. */
  readonly parameters?: ReadonlyMap<string, HostTensor>
  sample(key: Tensor, count: number, stream: number, tensor: ParameterTensors): Tensor
  logDensity(x: Tensor, tensor: ParameterTensors): Tensor
}): Distribution {
  const { shape } = options
  const expect = (what: string, t: Tensor, want: Shape): Tensor => {
    if (sameShape(t.shape, want) && t.dtype === 'float32') return t
    throw shapeError('customDistribution', `${what} must give float32${showShape(want)}; got ${t}`, { shape: t.shape })
  }
  return {
    shape,
    parameters: options.parameters ?? new Map(),
    sample: (tensor, key, count, stream) =>
      expect('sample', options.sample(key, count, stream, tensor), [count, ...shape]),
    logDensity: (tensor, x) => {
      const n = checked('customDistribution', shape, x).shape[0] as number
      return expect('logDensity', options.logDensity(x, tensor), [n])
    },
  }
}

/** log(2π) / 2. */
const halfLogTau = 0.5 * Math.log(2 * Math.PI)

/** -|z|²/2 of each row. */
function standardLogDensity(z: Tensor): Tensor {
  return flatten(z).square().sum(1).mul(-0.5)
}

function flatten(x: Tensor): Tensor {
  return x.reshape([x.shape[0] as number, sizeOf(x.shape.slice(1))])
}

/** x, which must be [n, ...shape]. */
function checked(where: string, shape: Shape, x: Tensor): Tensor {
  if (x.rank !== shape.length + 1 || !sameShape(x.shape.slice(1), shape) || x.dtype !== 'float32') {
    throw shapeError(where, `logDensity takes x float32 [n${shape.map((d) => `,${d}`).join('')}]; got ${x}`, {
      shape: x.shape,
    })
  }
  return x
}

/** x as [n, d]. */
function rows(where: string, shape: Shape, x: Tensor): Tensor {
  return flatten(checked(where, shape, x))
}

function floats(values: readonly number[], shape: Shape): HostTensor {
  return hostTensor(Float32Array.from(values), shape)
}

function checkPair(where: string, name: string, value: HostTensor, like: HostTensor): void {
  if (!sameShape(value.shape, like.shape) || value.dtype !== 'float32' || like.dtype !== 'float32') {
    throw shapeError(
      where,
      `${name} must be float32${showShape(like.shape)} as the other parameter; got ${value.dtype}${showShape(value.shape)} beside ${like.dtype}`,
    )
  }
}

function checkFactor(where: string, factor: HostTensor, want: Shape): void {
  if (!sameShape(factor.shape, want) || factor.dtype !== 'float32') {
    throw shapeError(
      where,
      `factors must be float32${showShape(want)} for these means; got ${factor.dtype}${showShape(factor.shape)}`,
      { shape: factor.shape },
    )
  }
}

function logShares(weights: HostTensor): number[] {
  const list = Array.from(weights.data)
  const bad = list.findIndex((w) => !(w > 0 && w < Infinity))
  if (bad >= 0)
    throw new RangeError(`gaussianMixture: weights must be positive and finite; weight ${bad} is ${list[bad]}`)
  const total = list.reduce((a, b) => a + b, 0)
  return list.map((w) => Math.log(w / total))
}

/** Inverse of a lower triangular matrix [d, d] by forward substitution in float64, and the log of its determinant. `where` is for messages. */
export function invertLower(
  where: string,
  factor: ArrayLike<number>,
  d: number,
): { readonly inverse: Float32Array; readonly logDeterminant: number } {
  const inverse = new Float64Array(d * d)
  let logDeterminant = 0
  for (let i = 0; i < d; i++) {
    const pivot = factor[i * d + i] as number
    if (!(pivot > 0 && pivot < Infinity)) {
      throw new RangeError(`${where}: the factor's diagonal must be positive and finite; entry ${i} is ${pivot}`)
    }
    for (let j = i + 1; j < d; j++) {
      if (factor[i * d + j] !== 0) {
        throw new RangeError(`${where}: the factor must be lower triangular; entry [${i}, ${j}] is not 0`)
      }
    }
    logDeterminant += Math.log(pivot)
    // Row i of the inverse: (e_i - Σ_k factor[i][k] inverse[k]) / pivot, row by row so that memory is read in order.
    inverse[i * d + i] = 1
    for (let k = 0; k < i; k++) {
      const f = factor[i * d + k] as number
      if (f === 0) continue
      for (let j = 0; j <= k; j++)
        inverse[i * d + j] = (inverse[i * d + j] as number) - f * (inverse[k * d + j] as number)
    }
    for (let j = 0; j <= i; j++) inverse[i * d + j] = (inverse[i * d + j] as number) / pivot
  }
  return { inverse: Float32Array.from(inverse), logDeterminant }
}
