/**
 * Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): a layer's weight W, seen as a matrix [out, rest], is divided by its largest
 * singular value, so that the layer is 1-Lipschitz (a convolution up to what its reshaped kernel tells). Names are those of PyTorch's
 * `torch.nn.utils.parametrizations.spectral_norm`: `parametrizations.weight.original`, `parametrizations.weight.0._u` and `0._v`.
 *
 * The singular vectors are statistics of kind `replace`. A pass with `norm: 'batch'` (train mode) takes `iterations` steps of power iteration
 * from the stored ones and uses the result, as every such pass of a training step does alike; a pass with `statistics` leaves the new
 * vectors there, and the trainer stores them once a step (`foldStatistics`). With `norm: 'running'` the stored ones are used as they are.
 */
import type { Shape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Initializer, Scope, VariableSpec } from './variables.ts'

/** `true` is one power iteration a training step. */
export type SpectralNormOption = true | { readonly iterations?: number }

/** The option as a config keeps it. */
export interface SpectralNormConfig {
  readonly iterations: number
}

/** Power iterations that the initial vectors have behind them, as in PyTorch. */
const INITIAL_ITERATIONS = 15
const EPSILON = 1e-12

/** Fills in the default. @throws TypeError, RangeError naming the layer or architecture `where` */
export function spectralNormConfig(where: string, option: SpectralNormOption): SpectralNormConfig {
  if (option !== true && (typeof option !== 'object' || option === null))
    throw new TypeError(`${where}: spectralNorm must be true or { iterations: 1 }; got ${String(option)}`)
  const { iterations = 1 } = option === true ? {} : option
  if (!Number.isInteger(iterations) || iterations < 1)
    throw new RangeError(`${where}: spectralNorm.iterations must be a positive integer; got ${iterations}`)
  return { iterations }
}

/** W/σ(W), σ = uᵀWv with u and v held fixed in the gradient: what takes the place of a layer's weight. */
export function spectralWeight(scope: Scope, shape: Shape, init: Initializer, config: SpectralNormConfig): Tensor {
  const at = scope.child('parametrizations.weight')
  const original = at.parameter('original', shape, init)
  const of: VariableSpec = { name: at.join('original'), shape, init, role: 'parameter' }
  const rows = shape[0] as number
  const columns = original.size / rows
  const singular = (name: string, side: 'left' | 'right', length: number) =>
    at.statistic(name, [length], { kind: 'singular', side, of, iterations: INITIAL_ITERATIONS }, 'replace')
  const stored = { u: singular('0._u', 'left', rows), v: singular('0._v', 'right', columns) }
  const matrix = ops.reshape(original, [rows, columns])
  const { norm, statistics } = scope.pass
  const next = norm === 'batch' || statistics !== undefined ? powerIteration(matrix, stored, config.iterations) : stored
  statistics?.set(at.join('0._u'), next.u)
  statistics?.set(at.join('0._v'), next.v)
  const { u, v } = norm === 'batch' ? next : stored
  const sigma = ops.sum(ops.mul(u, times(matrix, v)))
  return ops.div(original, sigma)
}

/** u ← Wv/‖Wv‖, v ← Wᵀu/‖Wᵀu‖; no gradient flows through it. */
function powerIteration(matrix: Tensor, from: { readonly u: Tensor; readonly v: Tensor }, iterations: number) {
  const fixed = ops.stopGradient(matrix)
  let { u, v } = from
  for (let k = 0; k < iterations; k++) {
    u = unit(times(fixed, v))
    v = unit(times(ops.transpose(fixed), u))
  }
  return { u, v }
}

/** Matrix times vector. */
function times(matrix: Tensor, v: Tensor): Tensor {
  return ops.reshape(ops.matmul(matrix, ops.reshape(v, [v.size, 1])), [matrix.shape[0] as number])
}

function unit(v: Tensor): Tensor {
  return ops.div(v, ops.maximum(ops.sqrt(ops.sum(ops.square(v))), EPSILON))
}
