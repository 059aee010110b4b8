/**
 * Generators: x = g(z) + σε with z and ε standard normal, a network from latents to examples with learned noise; implicit samplers whose
 * density has no closed form (VERA, Grathwohl 2021, arXiv 2010.04230). Here is the function without numbers, as `Flow` is a flow's;
 * numbers live in a GeneratorModel (generator-model.ts), training is lib/trainers' part.
 */
import { LangevinError, shapeError, suggestion } from '../graph/errors.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type ActivationName, activation, conv, type InitName, type Layer, layer, linear, sequence } from './layer.ts'
import { type NormName, norm } from './norms.ts'
import { type Pass, Scope, type VariableSpec, Variables } from './variables.ts'

/** The learned standard deviation σ of a generator's noise, in units of x, held within bounds. */
export interface GeneratorNoise {
  /** Default 0.01, as published. */
  readonly smallest?: number
  /** Default 0.3, as published for images in [-1, 1]. */
  readonly largest?: number
  /** Default the geometric mean of the bounds. */
  readonly initial?: number
}

/** What the last layer's output goes through: `tanh` for examples in [-1, 1]. */
export type GeneratorOutput = 'identity' | 'tanh'

interface SharedOptions {
  /** Dimensions of z. */
  readonly latent: number
  readonly activation?: ActivationName
  readonly output?: GeneratorOutput
  readonly noise?: GeneratorNoise
}

export interface MlpGeneratorOptions extends SharedOptions {
  /** Shape of one example. */
  readonly shape: Shape
  /** Widths of the hidden layers; default [128, 128]. `activation` defaults to 'silu', `output` to 'identity'. */
  readonly hidden?: readonly number[]
  /** Initial weights; default 'fanIn', as PyTorch's layers. 'kaiming' begins with means spread as z is, where 'fanIn' begins close to one point. */
  readonly init?: InitName
  /** The output is multiplied by it, per number of an example or one for all; default 1. The data's standard deviation is a good choice. */
  readonly scale?: number | readonly number[]
  /** Then added; default 0. The data's mean is a good choice. */
  readonly shift?: number | readonly number[]
}

export interface ConvGeneratorOptions extends SharedOptions {
  /** [channels, height, width]; any sizes. */
  readonly shape: readonly [number, number, number]
  /**
   * Channels of the feature maps, coarsest first; default [128, 64, 32]. Each has twice the height and width of the one before, rounded so that
   * the last has those of the image. `activation` defaults to 'leakyRelu', `output` to 'tanh'.
   */
  readonly channels?: readonly number[]
  /** Per example: default 'group'. 'batch' is refused, as x would then depend on the other examples' latents. */
  readonly norm?: NormName
}

/** Plain data from which `buildGenerator` makes the generator again. */
export type GeneratorConfig = { readonly kind: string } & { readonly [option: string]: unknown }

/** Draws and what made them. */
export interface Generated {
  /** g(z) + σε: [count, ...shape]. */
  readonly x: Tensor
  /** [count, latent]. */
  readonly z: Tensor
}

/** A generator's function; variables are g's and `noise`, from which σ follows. */
export class Generator {
  readonly config: GeneratorConfig
  readonly latent: number
  /** Shape of one example, without the batch. */
  readonly shape: Shape
  /** Trained variables in the order of declaration. */
  readonly variables: readonly VariableSpec[]
  private readonly body: Layer
  private readonly noise: Required<GeneratorNoise>

  /** @throws LangevinError E_SHAPE when `body` does not take latents [n, latent] to [n, ...shape]; RangeError for the noise. */
  constructor(config: GeneratorConfig, latent: number, shape: Shape, body: Layer, noise: GeneratorNoise = {}) {
    this.config = config
    this.latent = latent
    this.shape = [...shape]
    this.body = body
    this.noise = checkNoise(config.kind, noise)
    const variables = new Variables()
    const pass: Pass = { variables, norm: 'running' }
    const x = this.generate(ops.input('z', [2, latent]), pass)
    if (!sameShape(x.shape, [2, ...shape]))
      throw shapeError('Generator', `must give ${showShape([2, ...shape])} for two latents; got ${showShape(x.shape)}`)
    this.sigma(pass)
    this.variables = [...variables.specs.values()]
    const statistic = this.variables.find((v) => v.role === 'statistic')
    if (statistic !== undefined)
      throw new RangeError(
        `generator ${config.kind}: '${statistic.name}' is a statistic of batches, but each x must be a function of its own latent; use norm 'group', 'layer' or 'none'`,
      )
  }

  /** g(z): latents [n, latent] to means [n, ...shape]. */
  generate(z: Tensor, pass: Pass): Tensor {
    if (z.rank !== 2 || z.shape[1] !== this.latent)
      throw shapeError('Generator.generate', `takes latents [batch,${this.latent}]; got ${showShape(z.shape)}`)
    return this.body.apply(z, new Scope('', pass))
  }

  /** σ = smallest·(largest/smallest)^sigmoid(`noise`), a scalar: within its bounds, with a gradient everywhere (published code clamps log σ). */
  sigma(pass: Pass): Tensor {
    const { smallest, largest, initial } = this.noise
    if (largest === smallest) return ops.constant(smallest)
    const range = Math.log(largest / smallest)
    const share = Math.log(initial / smallest) / range
    const init = { kind: 'constant', value: Math.log(share / (1 - share)) } as const
    const raw = new Scope('', pass).parameter('noise', [], init)
    return ops.exp(ops.add(ops.mul(ops.sigmoid(raw), range), Math.log(smallest)))
  }

  /** `count` independent draws, as a differentiable graph of the variables; uses streams `stream` and `stream + 1`. */
  sample(key: Tensor, count: number, stream: number, pass: Pass): Generated {
    const z = ops.normal(key, [count, this.latent], stream)
    const means = this.generate(z, pass)
    return { x: ops.add(means, ops.mul(ops.normal(key, means.shape, stream + 1), this.sigma(pass))), z }
  }
}

/** Linear layers with an activation between, on any shape; names `0.weight`, `2.weight`, ... as PyTorch's Sequential. */
export function mlpGenerator(options: MlpGeneratorOptions): Generator {
  const { latent, shape, hidden = [128, 128], activation: act = 'silu', output = 'identity', noise = {} } = options
  const { init = 'fanIn', scale = 1, shift = 0 } = options
  whole('mlp', 'latent', latent)
  for (const d of shape) whole('mlp', 'shape', d)
  for (const width of hidden) whole('mlp', 'hidden', width)
  const size = sizeOf(shape)
  const widths = [...hidden, size]
  const layers = widths.flatMap((width, i) => (i === 0 ? [] : [activation(act)]).concat(linear(width, { init })))
  const affine = layer(
    'affine',
    (x) => ops.add(ops.mul(x, perNumber('scale', scale, size)), perNumber('shift', shift, size)),
    true,
  )
  const config = { kind: 'mlp', latent, shape, hidden, activation: act, init, output, scale, shift, noise }
  const body = sequence([...layers, squashed(output), affine, reshaped(shape)])
  return new Generator(config, latent, shape, body, noise)
}

/** One number for all, or one for each of an example's `size`. */
function perNumber(name: string, value: number | readonly number[], size: number): number | Tensor {
  const all = typeof value === 'number' ? [value] : value
  if (typeof value !== 'number' && value.length !== size)
    throw new RangeError(
      `generator mlp: ${name} needs one number or ${size}, one for each of an example; got ${value.length}`,
    )
  const wrong = all.find((v) => !Number.isFinite(v) || (name === 'scale' && v <= 0))
  if (wrong !== undefined)
    throw new RangeError(
      `generator mlp: ${name} must be ${name === 'scale' ? 'positive and ' : ''}finite; got ${wrong}`,
    )
  return typeof value === 'number' ? value : ops.constant(value, [size])
}

/**
 * A linear map to the coarsest feature map, then per level: twice the size by nearest neighbours, a 3x3 convolution (which leaves no
 * checkerboard, unlike transposed convolutions: Odena 2016), norm, activation; a last 3x3 convolution to the image's channels.
 * Names: `stem`, `norm.0`, `conv.1`, `norm.1`, ..., `head`.
 */
export function convGenerator(options: ConvGeneratorOptions): Generator {
  const { latent, shape, channels = [128, 64, 32], activation: act = 'leakyRelu', output = 'tanh' } = options
  const { norm: normName = 'group', noise = {} } = options
  whole('conv', 'latent', latent)
  if (shape.length !== 3)
    throw new RangeError(`generator conv: shape must be [channels, height, width]; got ${showShape(shape)}`)
  for (const d of shape) whole('conv', 'shape', d)
  if (channels.length === 0) throw new RangeError('generator conv: channels must name at least one feature map')
  for (const c of channels) whole('conv', 'channels', c)
  const [planes, height, width] = shape
  const part = (d: number, level: number) => Math.ceil(d / 2 ** (channels.length - 1 - level))
  const sizeAt = (level: number): [number, number] => [part(height, level), part(width, level)]
  const first: Shape = [channels[0] as number, ...sizeAt(0)]
  const body = layer('conv_generator', (z, scope) => {
    const after = (h: Tensor, level: number) =>
      activation(act).apply(norm(normName).apply(h, scope.child(`norm.${level}`)), scope)
    const stem = linear(sizeOf(first)).apply(z, scope.child('stem'))
    let h = after(ops.reshape(stem, [z.shape[0] as number, ...first]), 0)
    for (const [level, c] of channels.entries()) {
      if (level === 0) continue
      const larger = ops.resize2d(h, { size: sizeAt(level) })
      h = after(conv(c, 3, { padding: 1 }).apply(larger, scope.child(`conv.${level}`)), level)
    }
    return conv(planes, 3, { padding: 1 }).apply(h, scope.child('head'))
  })
  const config = { kind: 'conv', latent, shape, channels, activation: act, norm: normName, output, noise }
  return new Generator(config, latent, shape, sequence([body, squashed(output)], ['', '']), noise)
}

const builders: Readonly<Record<string, (options: never) => Generator>> = {
  mlp: mlpGenerator as (o: never) => Generator,
  conv: convGenerator as (o: never) => Generator,
}

/** Builds a generator from its config, as a file or a checkpoint holds it. @throws LangevinError E_CONFIG for an unknown kind */
export function buildGenerator(config: GeneratorConfig): Generator {
  const { kind, ...options } = config
  const build = Object.hasOwn(builders, kind) ? builders[kind] : undefined
  if (build === undefined)
    throw new LangevinError(
      'E_CONFIG',
      `generator kind '${String(kind)}' is not known.${suggestion(String(kind), Object.keys(builders))}`,
    )
  return build(options as never)
}

function reshaped(shape: Shape): Layer {
  return layer('reshape', (x) => ops.reshape(x, [x.shape[0] as number, ...shape]), true)
}

function squashed(output: GeneratorOutput): Layer {
  if (output !== 'identity' && output !== 'tanh')
    throw new RangeError(
      `generator output '${String(output)}' is not known.${suggestion(String(output), ['identity', 'tanh'])}`,
    )
  return activation(output)
}

function checkNoise(kind: string, options: GeneratorNoise): Required<GeneratorNoise> {
  const { smallest = 0.01, largest = 0.3 } = options
  // A start on a bound, at infinity of the variable, could never leave it.
  const { initial = Math.sqrt(smallest * largest) } = options
  if (!(smallest > 0 && largest >= smallest && Number.isFinite(largest)))
    throw new RangeError(`generator ${kind}: noise needs 0 < smallest ≤ largest; got ${smallest} and ${largest}`)
  if (largest > smallest && !(initial > smallest && initial < largest))
    throw new RangeError(
      `generator ${kind}: noise.initial must lie between ${smallest} and ${largest}, without them; got ${initial}`,
    )
  return { smallest, largest, initial }
}

function whole(kind: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`generator ${kind}: ${name} must be a positive integer; got ${String(value)}`)
}
