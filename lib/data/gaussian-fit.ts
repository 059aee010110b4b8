/**
 * One Gaussian fitted to a data set, as noise for noise-contrastive estimation or a base of annealed importance sampling: mean and full
 * covariance in model units (normalised, or as they are where the range is null). Its graph form is `gaussian` in lib/samplers.
 */
import { internalError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import * as ops from '../ops/index.ts'
import { type CompiledPlan, compileGraph } from '../runtime/compile.ts'
import { chosenDevice, type Device, type DeviceOption } from '../runtime/devices.ts'
import { classGaussians } from './class-gaussians.ts'
import type { Gram } from './covariance.ts'
import { Dataset } from './dataset.ts'
import { columnsOf } from './standardize.ts'

export interface GaussianFitOptions extends DeviceOption {
  /** Added to every variance, in squared model units. Default 1e-4 of the mean variance. */
  readonly jitter?: number | undefined
  /** At most so many rows, the first ones. Default all. */
  readonly limit?: number | undefined
  /** Gets the fraction done, in [0, 1]. */
  readonly progress?: ((fraction: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface GaussianFit {
  /** float32, of the example's shape. */
  readonly mean: HostTensor
  /** float32 [d, d], lower triangular: factor factorᵀ = covariance + jitter I. */
  readonly factor: HostTensor
}

/** From so many numbers a row on, products are made natively in float32 and summed in float64; below, all in float64. */
const nativeFrom = 256

/**
 * Mean and covariance (divided by n) of all rows, labels disregarded.
 * @throws LangevinError E_DATA for a covariance that is not positive definite (raise `jitter`), E_CANCELLED; RangeError for a bad option.
 * @example const { mean, factor } = await fitGaussian(data); const noise = gaussian(mean, factor)
 */
export async function fitGaussian(data: Dataset, options: GaussianFitOptions = {}): Promise<GaussianFit> {
  const { name, features, range, dimensions: d } = data
  const { jitter = defaultJitter(data) } = options
  const plain = new Dataset({ name, features, range })
  const products = d >= nativeFrom ? new NativeGram(chosenDevice(options.device)) : undefined
  try {
    const fit = await classGaussians(plain, { ...options, jitter, form: 'full', gram: products?.gram })
    if (fit.form !== 'full') throw internalError(`class Gaussians of form ${fit.form} where 'full' was asked for`)
    return { mean: hostTensor(fit.mean.data, data.shape), factor: hostTensor(fit.factor.data, [d, d]) }
  } finally {
    products?.dispose()
  }
}

/** 1e-4 of the mean variance of the columns in model units; 1e-4 where nothing varies. */
export function defaultJitter(data: Dataset): number {
  const [low, high] = data.range ?? [-1, 1]
  const unit = 2 / (high - low)
  const variance = columnsOf(data).std.reduce((sum, s) => sum + (s * unit) ** 2, 0) / data.dimensions
  return variance > 0 ? 1e-4 * variance : 1e-4
}

/** Xᵀ X as native plans, one for each number of rows that occurs. */
class NativeGram {
  readonly #device: Device
  readonly #plans = new Map<string, CompiledPlan>()

  constructor(device: Device) {
    this.#device = device
  }

  readonly gram: Gram = async (rows, n, d) => {
    const key = `${n}x${d}`
    let plan = this.#plans.get(key)
    if (plan === undefined) {
      const x = ops.input('x', [n, d])
      plan = await compileGraph(this.#device, [x], [{ tensor: ops.matmul(x, x, { transposeA: true }) }])
      this.#plans.set(key, plan)
    }
    const [product] = await plan.call([hostTensor(rows, [n, d])])
    return product?.data as Float32Array
  }

  dispose(): void {
    for (const plan of this.#plans.values()) plan.dispose()
  }
}
