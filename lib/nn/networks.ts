/** The shipped architectures, sequential networks, and energies of one's own. Each is built from plain options that a checkpoint keeps. */
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompositionRule, compositionNetwork } from './compose.ts'
import { conditioning, type SigmaOptions, sigmaConfig } from './conditioning.ts'
import { isingNetwork, pottsNetwork } from './discrete.ts'
import { type FlowConfig, flowNetwork } from './flow.ts'
import { buildFlow } from './flows.ts'
import { importedNetwork } from './imported/network.ts'
import {
  type ActivationName,
  activation,
  conv,
  featuresOf,
  flatten,
  globalMean,
  type InitName,
  type Layer,
  type LinearOptions,
  layer,
  linear,
} from './layer.ts'
import { Network, type NetworkConfig, type NetworkOptions, type Stage } from './network.ts'
import { type NormName, norm } from './norms.ts'
import { RbmNetwork, type RbmNetworkOptions } from './rbm.ts'
import { type SpectralNormOption, spectralNormConfig } from './spectral-norm.ts'
import type { Scope } from './variables.ts'

/** What every shipped architecture takes. */
export interface SharedOptions {
  /** Makes the energy depend on a noise level an example; see conditioning.ts. */
  readonly sigma?: SigmaOptions
  /** Divides every weight by its largest singular value, the head's too, but not those of `sigma`; see spectral-norm.ts. */
  readonly spectralNorm?: SpectralNormOption
  /** Initial weights, given the seed; default 'fanIn', as PyTorch's layers. */
  readonly init?: InitName
}

export interface MlpOptions extends SharedOptions {
  /** Features of one example; or give `shape`. */
  readonly inputs?: number
  /** Shape of one example, such as [channels, height, width], whose numbers are the features. */
  readonly shape?: Shape
  /** Widths of the hidden layers; default [128, 128]. */
  readonly hidden?: readonly number[]
  /** Number of classes for a classifier; 0 (default) for one energy. */
  readonly classes?: number
  /** Default 'silu'. */
  readonly activation?: ActivationName
  /**
   * Standard deviation s of a Gaussian N(0, s²) that the density is multiplied with: ‖x‖²/2s² is added to the energy, so that it grows in all
   * directions and log Z exists whatever the weights are. About the data's own extent. Default none. PYLD then sees one stage.
   */
  readonly reference?: number
}

/**
 * Linear layers with an activation between; names `0.weight`, `2.weight`, ... as in PyTorch's Sequential(Linear, act, Linear, ...).
 * With `sigma`, the hidden layers are modulated by the noise level: variables `N.sigma.weight` and `N.sigma.bias`.
 */
export function mlpNetwork(options: MlpOptions): Network {
  const { inputs, hidden = [128, 128], classes = 0, activation: act = 'silu', reference } = options
  const shape = mlpShape(inputs, options.shape)
  const { sigma, weights, chosen } = common('mlp', options)
  const by = conditioning(sigma)
  const stages: Stage[] = []
  const widths = [...hidden, classes > 0 ? classes : 1]
  for (const [i, width] of widths.entries()) {
    positive('mlp', 'hidden', width)
    if (i > 0) stages.push({ name: String(stages.length), layer: activation(act) })
    const last = i === widths.length - 1
    const inner = i === 0 && shape.length !== 1 ? flatLinear(width, weights) : linear(width, weights)
    const modulated = last ? by.output(inner) : by.film(inner)
    stages.push({ name: String(stages.length), layer: i === 0 ? by.input(modulated) : modulated })
  }
  const takes = options.shape === undefined ? { inputs } : { shape }
  const config = { kind: 'mlp', ...takes, hidden, classes, activation: act, ...chosen }
  if (reference === undefined) return new Network(config, shape, stages, { sigma })
  const inner = new Network(config, shape, stages, { sigma })
  const outer = [{ name: '', layer: referred(inner, reference) }]
  return new Network({ ...config, reference }, shape, outer, { sigma })
}

/** The network with ‖x‖²/2s² added to its energy, of classifiers taken from every logit; its variables keep their names. */
function referred(inner: Network, s: number): Layer {
  if (!(Number.isFinite(s) && s > 0)) throw new RangeError(`mlp: reference must be a positive finite number; got ${s}`)
  const apply = (x: Tensor, scope: Scope): Tensor => {
    const n = x.shape[0] as number
    const term = ops.mul(ops.sum(ops.reshape(ops.square(x), [n, -1]), 1, { keepDims: true }), 1 / (2 * s * s))
    const out = inner.within(x, scope)
    return inner.classes > 0 ? ops.sub(out, term) : ops.add(out, term)
  }
  return layer('referred', apply, false, (x, scope) => inner.featuresIn(x, scope))
}

/** The shared options with their defaults: `weights` is what each layer takes of them, `chosen` what a config keeps. */
function common(where: string, options: SharedOptions) {
  const { init } = options
  const sigma = options.sigma === undefined ? undefined : sigmaConfig(where, options.sigma)
  const spectralNorm = options.spectralNorm === undefined ? undefined : spectralNormConfig(where, options.spectralNorm)
  const chosen = { ...(sigma && { sigma }), ...(spectralNorm && { spectralNorm }), ...(init && { init }) }
  return { sigma, weights: { spectralNorm, init }, chosen }
}

/** What the layers of an architecture have in common. */
type Weights = Pick<LinearOptions, 'spectralNorm' | 'init'>

/** One of `inputs` and `shape`, as a shape. */
function mlpShape(inputs: number | undefined, shape: Shape | undefined): Shape {
  if ((inputs === undefined) === (shape === undefined))
    throw new TypeError(
      `mlp: give either inputs (a number of features) or shape; got ${inputs === undefined ? 'neither' : 'both'}`,
    )
  if (inputs !== undefined) positive('mlp', 'inputs', inputs)
  for (const d of shape ?? []) positive('mlp', 'shape', d)
  return shape ?? [inputs as number]
}

/** A linear layer on the numbers of an example of any shape: the flattening belongs to the same stage, so that weights keep their names. */
function flatLinear(width: number, weights: Weights): Layer {
  const inner = linear(width, weights)
  const flat = flatten()
  const apply = (x: Tensor, scope: Scope): Tensor => inner.apply(flat.apply(x, scope), scope)
  return layer('linear', apply, true, featuresOf(inner, flat.apply))
}

export interface ConvEnergyOptions extends SharedOptions {
  /** Shape of one image: [channels, height, width]. */
  readonly shape: readonly [number, number, number]
  /** Output channels of each stride-2 3x3 convolution; default [32, 64, 64, 128]. */
  readonly channels?: readonly number[]
  readonly classes?: number
  readonly activation?: ActivationName
  readonly norm?: NormName
}

/**
 * Stride-2 3x3 convolutions, then a linear head on all features; names `body.N.weight` and `head.weight`. With `sigma`, the channels are
 * modulated by the noise level after each norm (after each convolution where there is none): `body.N.sigma.weight`, `body.N.sigma.bias`.
 */
export function convEnergyNetwork(options: ConvEnergyOptions): Network {
  const {
    shape,
    channels = [32, 64, 64, 128],
    classes = 0,
    activation: act = 'silu',
    norm: normName = 'none',
  } = options
  for (const d of shape) positive('convEnergy', 'shape', d)
  const { sigma, weights, chosen } = common('convEnergy', options)
  const by = conditioning(sigma)
  const stages: Stage[] = []
  const push = (l: Layer) =>
    stages.push({ name: `body.${stages.length}`, layer: stages.length === 0 ? by.input(l) : l })
  for (const c of channels) {
    positive('convEnergy', 'channels', c)
    const inner = conv(c, 3, { stride: 2, padding: 1, ...weights })
    push(normName === 'none' ? by.film(inner) : inner)
    if (normName !== 'none') push(by.film(norm(normName)))
    push(activation(act))
  }
  const flat = flatten()
  stages.push({ name: '', layer: stages.length === 0 ? by.input(flat) : flat })
  stages.push({ name: 'head', layer: by.output(linear(classes > 0 ? classes : 1, weights)) })
  const config = {
    kind: 'convEnergy',
    shape,
    channels,
    classes,
    activation: act,
    norm: normName,
    ...chosen,
  }
  return new Network(config, shape, stages, { sigma })
}

export interface WideResNetOptions extends SharedOptions {
  /** 6n + 4: n blocks in each of three groups. */
  readonly depth: number
  /** Channels are 16·width, 32·width, 64·width. */
  readonly width: number
  /** Image channels; default 3. */
  readonly channels?: number
  /** Image height and width; default 32. */
  readonly size?: number | readonly [number, number]
  /** Default 10; 0 gives one energy. */
  readonly classes?: number
  /** Default 'batch', as in JEM++; 'none' as in JEM. */
  readonly norm?: NormName
  /** Default 'leakyRelu' (slope 0.2). */
  readonly activation?: ActivationName
}

/**
 * Wide residual network (Zagoruyko & Komodakis 2016), pre-activation, convolutions with bias, as JEM++ uses it:
 * stem 3x3, three groups of blocks (the second and third begin with stride 2), norm, activation, global mean, linear head.
 * Names: `stem`, `blocks.N.{bn1,conv1,bn2,conv2,short}`, `bn`, `head`. With `sigma`, the channels are modulated by the noise level where a
 * norm stands or would stand: `blocks.N.bn1.sigma.weight`, ...
 */
export function wideResNetNetwork(options: WideResNetOptions): Network {
  const {
    depth,
    width,
    channels = 3,
    size = 32,
    classes = 10,
    norm: normName = 'batch',
    activation: act = 'leakyRelu',
  } = options
  if (!Number.isInteger((depth - 4) / 6) || depth < 10) {
    throw new RangeError(`wideResNet: depth must be 6n + 4 with n ≥ 1 (10, 16, 22, 28, ...); got ${depth}`)
  }
  positive('wideResNet', 'width', width)
  positive('wideResNet', 'channels', channels)
  const [h, w] = typeof size === 'number' ? [size, size] : size
  positive('wideResNet', 'size', h)
  positive('wideResNet', 'size', w)
  const { sigma, weights, chosen } = common('wideResNet', options)
  const by = conditioning(sigma)
  const normed = by.film(norm(normName))
  const stages: Stage[] = [{ name: 'stem', layer: by.input(conv(16, 3, { padding: 1, ...weights })) }]
  const perGroup = (depth - 4) / 6
  for (let i = 0; i < 3 * perGroup; i++) {
    const group = Math.floor(i / perGroup)
    const stride = group > 0 && i % perGroup === 0 ? 2 : 1
    stages.push({
      name: `blocks.${i}`,
      layer: block(16 * width * 2 ** group, stride, normed, activation(act), weights),
    })
  }
  stages.push(
    { name: 'bn', layer: normed },
    { name: '', layer: activation(act) },
    { name: '', layer: globalMean() },
    { name: 'head', layer: by.output(linear(classes > 0 ? classes : 1, weights)) },
  )
  const plain = { depth, width, channels, size: [h, w], classes, norm: normName, activation: act }
  const config = { kind: 'wideResNet', ...plain, ...chosen }
  return new Network(config, [channels, h, w], stages, { sigma })
}

function block(out: number, stride: number, normed: Layer, act: Layer, weights: Weights): Layer {
  return layer('wide_block', (x, scope) => {
    const pre = (h: Tensor, name: string) => act.apply(normed.apply(h, scope.child(name)), scope)
    const h = conv(out, 3, { padding: 1, ...weights }).apply(pre(x, 'bn1'), scope.child('conv1'))
    const y = conv(out, 3, { padding: 1, stride, ...weights }).apply(pre(h, 'bn2'), scope.child('conv2'))
    const same = stride === 1 && x.shape[1] === out
    return ops.add(y, same ? x : conv(out, 1, { stride, ...weights }).apply(x, scope.child('short')))
  })
}

/** A network of one's own from layers, named by index as PyTorch's Sequential. `shape` is one example's. */
export function sequentialNetwork(shape: Shape, layers: readonly Layer[], options: NetworkOptions = {}): Network {
  const stages = layers.map((l, i) => ({ name: String(i), layer: l }))
  return new Network({ kind: 'custom', name: 'sequential' }, shape, stages, options)
}

/**
 * An energy as a plain function of a graph tensor [n, ...shape] to [n] (or [n, classes] logits); the scope declares parameters, if any.
 * With `sigma: { smallest }` it is noise-conditioned: `scope.sigma()` is the level of each example, [n].
 */
export function energyNetwork(
  options: { readonly shape: Shape; readonly name?: string } & NetworkOptions,
  energy: (x: Tensor, scope: Scope) => Tensor,
): Network {
  const stages = [{ name: '', layer: layer('energy', energy) }]
  return new Network({ kind: 'custom', name: options.name ?? 'energy' }, options.shape, stages, options)
}

/** A composition, its parts from their configs. */
function composed(options: { readonly rule: CompositionRule; readonly parts: readonly NetworkConfig[] }): Network {
  return compositionNetwork(options.parts.map(buildNetwork), options.rule)
}

const builders: Readonly<Record<string, (options: never) => Network>> = {
  mlp: mlpNetwork as (o: never) => Network,
  convEnergy: convEnergyNetwork as (o: never) => Network,
  wideResNet: wideResNetNetwork as (o: never) => Network,
  composition: composed as (o: never) => Network,
  rbm: (options: RbmNetworkOptions) => new RbmNetwork(options),
  ising: isingNetwork as (o: never) => Network,
  potts: pottsNetwork as (o: never) => Network,
  onnx: importedNetwork as (o: never) => Network,
  flow: (options: { readonly flow: FlowConfig }) => flowNetwork(buildFlow(options.flow)),
}

/** Builds a network from its plain options, as a config file or a checkpoint holds them. */
export function buildNetwork(config: { readonly kind: string } & Record<string, unknown>): Network {
  const build = Object.hasOwn(builders, config.kind) ? builders[config.kind] : undefined
  if (config.kind === 'custom') {
    throw new LangevinError(
      'E_CONFIG',
      `network '${String(config.name)}' was written in code, so a file cannot rebuild it; build it in code and load the checkpoint into it`,
    )
  }
  if (build === undefined) {
    throw new LangevinError(
      'E_CONFIG',
      `network kind '${config.kind}' is not known.${suggestion(config.kind, Object.keys(builders))}`,
    )
  }
  const { kind: _, ...options } = config
  return build(options as never)
}

function positive(where: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`${where}: ${name} must be a positive integer; got ${showValue(value)}`)
}

function showValue(value: unknown): string {
  return Array.isArray(value) ? showShape(value as number[]) : String(value)
}
