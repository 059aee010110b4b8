/**
 * Log likelihood of data that a model was not trained on, given its log Z. Where log Z comes from (ais.ts, quadrature.ts, or a trained
 * normaliser) is the caller's choice; its error goes into every figure here and is not in the standard error of the examples.
 */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Model } from '../nn/model.ts'
import { checkCount, checkFinite } from './checks.ts'

export interface HeldOutOptions {
  /** log Z of the model, nats. */
  readonly logZ: number
  /** Standard error of `logZ`, where it is an estimate; default 0. */
  readonly logZStandardError?: number
  /**
   * log|det ∂x/∂u| of the map from the data u to the model's x (`Dataset.logDeterminant`), an example (nats): the figures are then those of u. Standardising d columns:
   * -Σ log std. Images of 256 levels as [-1, 1]: d·log(2/256), for u in units of levels (with uniform dequantisation). Default 0.
   */
  readonly logAbsDet?: number
  /** Examples per native call; default 256. */
  readonly batch?: number
  readonly signal?: AbortSignal
}

export interface HeldOutLikelihood {
  /** Mean log p an example, nats. */
  readonly mean: number
  /** Of `mean`, from the spread of the examples alone. */
  readonly standardError: number
  /** With the standard error of log Z, as independent errors. */
  readonly totalStandardError: number
  /** -mean / (d log 2), d the values an example; lower is better. */
  readonly bitsPerDimension: number
  /** log p of each example, float64 [n]. */
  readonly logDensity: Float64Array
}

/**
 * log p(x) = -E(x) - log Z + log|det| of held-out x, float32 [n, ...shape], n >= 2.
 * @throws RangeError (logZ and the other numbers must be finite), LangevinError E_SHAPE, E_DATA (energies that are not finite)
 */
export async function heldOutLogLikelihood(
  model: Model,
  x: HostTensor,
  options: HeldOutOptions,
): Promise<HeldOutLikelihood> {
  const { logZ, logZStandardError = 0, logAbsDet = 0, batch = 256, signal } = options
  for (const [name, value] of Object.entries({ logZ, logZStandardError, logAbsDet })) {
    if (!Number.isFinite(value)) throw new RangeError(`heldOutLogLikelihood: ${name} must be finite; got ${value}`)
  }
  if (logZStandardError < 0)
    throw new RangeError(`heldOutLogLikelihood: logZStandardError must be at least 0; got ${logZStandardError}`)
  checkCount('heldOutLogLikelihood: batch', batch, 1)
  const energy = await model.energy(x, { batch, ...(signal ? { signal } : {}) })
  const n = energy.length
  if (n < 2) throw new LangevinError('E_SHAPE', `heldOutLogLikelihood: x must hold at least 2 examples; got ${n}`)
  checkFinite('heldOutLogLikelihood: energies', energy)
  const logDensity = Float64Array.from(energy, (e) => -e - logZ + logAbsDet)
  const mean = logDensity.reduce((s, v) => s + v, 0) / n
  const variance = logDensity.reduce((s, v) => s + (v - mean) ** 2, 0) / (n - 1)
  const standardError = Math.sqrt(variance / n)
  return {
    mean,
    standardError,
    totalStandardError: Math.hypot(standardError, logZStandardError),
    bitsPerDimension: -mean / (sizeOf(model.network.shape) * Math.LN2),
    logDensity,
  }
}
