/** What a layer is, and the plain ones: linear, convolution, activations, pooling, flatten. Norms stand in norms.ts. */
import { shapeError, suggestion } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { type SpectralNormOption, spectralNormConfig, spectralWeight } from './spectral-norm.ts'
import type { Initializer, Scope } from './variables.ts'

/** One stage of a network. `affine` says that x ↦ apply(x) is affine in x, which lets PYLD fuse its inner loop. */
export interface Layer {
  readonly kind: string
  readonly affine: boolean
  apply(x: Tensor, scope: Scope): Tensor
  /** What the layer's linear map reads, [n, d], of a layer that can be the head of a network. */
  features?(x: Tensor, scope: Scope): Tensor
}

/** PyTorch's default for linear and convolution layers: U(-1/√fanIn, 1/√fanIn), for weight and bias alike. */
export function fanInUniform(fanIn: number): Initializer {
  return { kind: 'uniform', bound: 1 / Math.sqrt(Math.max(1, fanIn)) }
}

/**
 * Initial weights by name: `fanIn` is {@link fanInUniform}; `kaiming` N(0, 2/fanIn) (He et al. 2015), which keeps the size of activations
 * through rectifiers; `xavier` U(±√(6/(fanIn + fanOut))) (Glorot & Bengio 2010). Biases are `fanIn`'s always.
 */
export type InitName = 'fanIn' | 'kaiming' | 'xavier'

const initializers: Readonly<Record<InitName, (fanIn: number, fanOut: number) => Initializer>> = {
  fanIn: fanInUniform,
  kaiming: (fanIn) => ({ kind: 'normal', std: Math.sqrt(2 / fanIn) }),
  xavier: (fanIn, fanOut) => ({ kind: 'uniform', bound: Math.sqrt(6 / (fanIn + fanOut)) }),
}

/** What a layer's `init` means for its weight; default `fanIn`. @throws RangeError for a name that is not known */
export function initializer(init: InitName | Initializer | undefined, fanIn: number, fanOut: number): Initializer {
  if (typeof init === 'object') return init
  const make = initializers[init ?? 'fanIn']
  if (make === undefined)
    throw new RangeError(`init '${String(init)}' is not known.${suggestion(String(init), Object.keys(initializers))}`)
  return make(fanIn, fanOut)
}

/** A layer from a function of graph tensors; variables are declared through the scope. A head says what its features are. */
export function layer(
  kind: string,
  apply: (x: Tensor, scope: Scope) => Tensor,
  affine = false,
  features?: (x: Tensor, scope: Scope) => Tensor,
): Layer {
  return { kind, affine, apply, ...(features && { features }) }
}

/** The features of a layer that changes what goes into `inner`; undefined where that has none. */
export function featuresOf(
  inner: Layer,
  into: (x: Tensor, scope: Scope) => Tensor = (x) => x,
): ((x: Tensor, scope: Scope) => Tensor) | undefined {
  if (inner.features === undefined) return undefined
  return (x, scope) => inner.features?.(into(x, scope), scope) as Tensor
}

/** The layer's variable `weight`, or under spectral norm what stands in its place. */
function weightOf(scope: Scope, shape: Shape, init: Initializer, kind: string, norm?: SpectralNormOption): Tensor {
  if (norm === undefined) return scope.parameter('weight', shape, init)
  return spectralWeight(scope, shape, init, spectralNormConfig(kind, norm))
}

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean
  /** Of the weight; default 'fanIn'. */
  readonly init?: InitName | Initializer | undefined
  /** Divides the weight by its largest singular value; see spectral-norm.ts. */
  readonly spectralNorm?: SpectralNormOption | undefined
}

/** y = x Wᵀ + b on [n, in]; weight [out, in], bias [out]. */
export function linear(outFeatures: number, options: LinearOptions = {}): Layer {
  return layer(
    'linear',
    (x, scope) => {
      const inFeatures = x.shape[1]
      if (x.rank !== 2 || inFeatures === undefined) {
        throw shapeError(
          scope.join('linear'),
          `takes [batch, features]; got ${showShape(x.shape)}. Put flatten() before it.`,
        )
      }
      const init = initializer(options.init, inFeatures, outFeatures)
      const weight = weightOf(scope, [outFeatures, inFeatures], init, 'linear', options.spectralNorm)
      const y = ops.matmul(x, weight, { transposeB: true })
      if (options.bias === false) return y
      return ops.add(y, scope.parameter('bias', [outFeatures], fanInUniform(inFeatures)))
    },
    true,
    (x) => x,
  )
}

export interface ConvOptions {
  readonly stride?: number
  readonly padding?: number
  readonly dilation?: number
  readonly groups?: number
  readonly bias?: boolean
  /** Of the weight; default 'fanIn'. */
  readonly init?: InitName | Initializer | undefined
  /** Divides the weight, as [out, rest], by its largest singular value; see spectral-norm.ts. */
  readonly spectralNorm?: SpectralNormOption | undefined
}

/** 2-D convolution on [n, c, h, w]; weight [out, c/groups, k, k], bias [out]. Padding defaults to 0. */
export function conv(outChannels: number, kernel: number, options: ConvOptions = {}): Layer {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options
  return layer(
    'conv',
    (x, scope) => {
      const channels = x.shape[1]
      if (x.rank !== 4 || channels === undefined) {
        throw shapeError(scope.join('conv'), `takes [batch, channels, height, width]; got ${showShape(x.shape)}`)
      }
      const fanIn = (channels / groups) * kernel * kernel
      const shape = [outChannels, channels / groups, kernel, kernel]
      const init = initializer(options.init, fanIn, (outChannels / groups) * kernel * kernel)
      const weight = weightOf(scope, shape, init, 'conv', options.spectralNorm)
      const y = ops.conv2d(x, weight, { stride, padding, dilation, groups })
      if (options.bias === false) return y
      return ops.add(
        y,
        ops.reshape(scope.parameter('bias', [outChannels], fanInUniform(fanIn)), [1, outChannels, 1, 1]),
      )
    },
    true,
  )
}

/** Activations by name; `leakyRelu` has slope 0.2 as in JEM++. */
export type ActivationName =
  | 'relu'
  | 'leakyRelu'
  | 'silu'
  | 'gelu'
  | 'elu'
  | 'softplus'
  | 'tanh'
  | 'sigmoid'
  | 'identity'

const activations: Readonly<Record<ActivationName, (x: Tensor) => Tensor>> = {
  relu: (x) => ops.relu(x),
  leakyRelu: (x) => ops.leakyRelu(x, 0.2),
  silu: (x) => ops.silu(x),
  gelu: (x) => ops.gelu(x),
  elu: (x) => ops.elu(x),
  softplus: (x) => ops.softplus(x),
  tanh: (x) => ops.tanh(x),
  sigmoid: (x) => ops.sigmoid(x),
  identity: (x) => x,
}

/** Names that {@link activation} takes. */
export const activationNames = Object.keys(activations) as ActivationName[]

export function activation(name: ActivationName): Layer {
  const f = activations[name]
  if (f === undefined)
    throw new RangeError(`activation '${name}' is not known.${suggestion(String(name), activationNames)}`)
  return layer(name, f, name === 'identity')
}

/** [n, ...] to [n, product of the rest]. */
export function flatten(): Layer {
  return layer(
    'flatten',
    (x) => ops.reshape(x, [x.shape[0] as number, x.shape.slice(1).reduce((a, b) => a * b, 1)]),
    true,
  )
}

/** Mean over height and width: [n, c, h, w] to [n, c]. */
export function globalMean(): Layer {
  return layer('global_mean', (x) => ops.mean(x, [2, 3]), true)
}

export function avgPool(kernel: number, stride = kernel): Layer {
  return layer('avg_pool', (x) => ops.avgpool2d(x, { kernel, stride }), true)
}

export function maxPool(kernel: number, stride = kernel): Layer {
  return layer('max_pool', (x) => ops.maxpool2d(x, { kernel, stride }))
}

/** Layers one after another, under the given names (default: their index, as in PyTorch's Sequential). */
export function sequence(layers: readonly Layer[], names?: readonly string[]): Layer {
  const at = (i: number, scope: Scope): Scope => scope.child(names?.[i] ?? String(i))
  const through = (x: Tensor, scope: Scope, count = layers.length): Tensor =>
    layers.slice(0, count).reduce((h, l, i) => l.apply(h, at(i, scope)), x)
  const last = layers.length - 1
  const read = layers[last]?.features
  return layer(
    'sequence',
    through,
    layers.every((l) => l.affine),
    read && ((x, scope) => read(through(x, scope, last), at(last, scope))),
  )
}
