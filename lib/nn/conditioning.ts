/**
 * Noise-conditioned networks: layers that know the noise level σ of each example (`Pass.sigma`), for denoising at many scales.
 * What levels there are and how they are drawn is a trainer's part; how a level becomes a tensor of the pass is network.ts's.
 *
 * The energy is preconditioned so that what the weights have to learn is of the same size at every level:
 *
 *   E(x, σ) = net(c x, σ) / (c σ),  c = 1/√(σ² + data²),
 *
 * thus ∇x E = ∇net / σ. Denoising asks for the score -ε/σ (Vincent 2011), so that ∇net is to match ε, a unit normal, for all σ. This is
 * f/σ of NCSNv2 (Song & Ermon 2020, arXiv:2006.09011) for the energy in place of the score, with the input scaling of EDM (Karras et al.
 * 2022, arXiv:2206.00364), without which the input grows with σ while the answer does not.
 */
import { checkPositive } from '../graph/checks.ts'
import { showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { perRow } from '../ops/rows.ts'
import { fanInUniform, featuresOf, type Layer, layer } from './layer.ts'
import type { Scope } from './variables.ts'

/** Makes an architecture noise-conditioned. */
export interface SigmaOptions {
  /** The smallest level, in units of x: what the network is evaluated at where no level is given. */
  readonly smallest: number
  /** Sines and cosines of log σ that each modulated layer sees; even, default 16. */
  readonly features?: number
  /** Standard deviation of the data about 0, in units of x; default 1 (standardised tables; for images in [-1, 1] it matters little). */
  readonly data?: number
}

/** Options with their defaults, as a network's config keeps them. */
export type SigmaConfig = Required<SigmaOptions>

const DEFAULT_FEATURES = 16
/** Angular frequencies in radians per factor e of σ: the slowest turns once in e²⁵, the fastest in e^1.6. */
const SLOWEST = 0.25
const FASTEST = 4

/** Checks the options and fills in the defaults. @throws TypeError, RangeError naming the architecture `where` */
export function sigmaConfig(where: string, options: SigmaOptions): SigmaConfig {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`${where}: sigma must be an object like { smallest: 0.01 }; got ${String(options)}`)
  const { smallest, features = DEFAULT_FEATURES, data = 1 } = options
  checkLevel(where, 'sigma.smallest', smallest)
  checkLevel(where, 'sigma.data', data)
  if (!Number.isInteger(features) || features < 2 || features % 2 !== 0)
    throw new RangeError(`${where}: sigma.features must be an even integer ≥ 2; got ${features}`)
  return { smallest, features, data }
}

/** A noise level is a positive finite number. */
export function checkLevel(where: string, name: string, value: number): void {
  checkPositive(`${where}: ${name}`, value)
}

/** [n] to [n, features]: cosines and sines of ω log σ, with ω geometric between 0.25 and 4. */
export function sigmaFeatures(sigma: Tensor, features: number = DEFAULT_FEATURES): Tensor {
  const count = features / 2
  const rates = Array.from({ length: count }, (_, k) => SLOWEST * (FASTEST / SLOWEST) ** (k / Math.max(1, count - 1)))
  const angles = ops.mul(ops.reshape(ops.log(sigma), [sigma.size, 1]), ops.constant(rates, [1, count]))
  return ops.concat([ops.cos(angles), ops.sin(angles)], 1)
}

/**
 * `inner`, its output scaled and shifted per channel by functions of σ (FiLM, Perez et al. 2018, arXiv:1709.07871):
 * y ← y·(1 + γ(σ)) + β(σ), with (γ, β) linear in the features of log σ; variables `sigma.weight` [2c, features] and `sigma.bias` [2c].
 * Affine in x where `inner` is.
 */
export function film(inner: Layer, options: { readonly features?: number } = {}): Layer {
  const { features = DEFAULT_FEATURES } = options
  const apply = (x: Tensor, scope: Scope): Tensor => {
    const y = inner.apply(x, scope)
    const [n, c] = y.shape as [number, number]
    const at = scope.child('sigma')
    const weight = at.parameter('weight', [2 * c, features], fanInUniform(features))
    const bias = at.parameter('bias', [2 * c], fanInUniform(features))
    const turned = ops.matmul(sigmaFeatures(scope.sigma(), features), weight, { transposeB: true })
    const both = ops.add(turned, bias)
    const part = (k: number) => ops.reshape(ops.sliceAxis(both, 1, k * c, (k + 1) * c), channels(n, c, y))
    return ops.add(ops.mul(y, ops.add(part(0), 1)), part(1))
  }
  return layer(`film_${inner.kind}`, apply, inner.affine, featuresOf(inner))
}

function channels(n: number, c: number, y: Tensor): number[] {
  return [n, c, ...y.shape.slice(2).map(() => 1)]
}

/** `inner` after x ← x/√(σ² + data²). */
export function scaledInput(inner: Layer, config: SigmaConfig): Layer {
  const scaled = (x: Tensor, scope: Scope): Tensor => ops.mul(x, perRow(ops.rsqrt(spread(scope.sigma(), config)), x))
  const apply = (x: Tensor, scope: Scope): Tensor => inner.apply(scaled(x, scope), scope)
  return layer(inner.kind, apply, inner.affine, featuresOf(inner, scaled))
}

/** `inner`, its output times √(σ² + data²)/σ. */
export function scaledOutput(inner: Layer, config: SigmaConfig): Layer {
  const apply = (x: Tensor, scope: Scope): Tensor => {
    const y = inner.apply(x, scope)
    const sigma = scope.sigma()
    return ops.mul(y, perRow(ops.div(ops.sqrt(spread(sigma, config)), sigma), y))
  }
  return layer(inner.kind, apply, inner.affine, featuresOf(inner))
}

function spread(sigma: Tensor, { data }: SigmaConfig): Tensor {
  return ops.add(ops.square(sigma), data * data)
}

/** Wrappers of an architecture's layers: the identity for one that is not conditioned. */
export interface Conditioning {
  /** The first layer. */
  input(inner: Layer): Layer
  /** A layer that is modulated. */
  film(inner: Layer): Layer
  /** The last layer. */
  output(inner: Layer): Layer
}

export function conditioning(config: SigmaConfig | undefined): Conditioning {
  if (config === undefined) return { input: (l) => l, film: (l) => l, output: (l) => l }
  return {
    input: (l) => scaledInput(l, config),
    film: (l) => film(l, config),
    output: (l) => scaledOutput(l, config),
  }
}

/** The levels of a batch as [n]; a scalar serves all. */
export function levelsOf(sigma: Tensor, n: number): Tensor | undefined {
  if (sigma.dtype !== 'float32') return undefined
  if (sigma.rank === 0) return ops.broadcast(sigma, [n])
  return sigma.rank === 1 && sigma.shape[0] === n ? sigma : undefined
}

/** "a float32 [3]": what a misfit is, for messages. */
export function showLevels(sigma: Tensor): string {
  return `${sigma.dtype}${showShape(sigma.shape)}`
}
