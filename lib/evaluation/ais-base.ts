/** Where annealing begins: the distributions that a few numbers or a data set describe; any other is given as a `Distribution`. */
import { cholesky, Pace } from '../data/linear-algebra.ts'
import { checkPositive } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, showShape, sizeOf } from '../graph/shape.ts'
import { type Distribution, diagonalGaussian, gaussian, uniformBox } from '../samplers/distributions.ts'
import { checkFinite } from './checks.ts'
import { momentsOf } from './frechet.ts'

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

/** A base by its kind, or any distribution whose density is normalised. */
export type BaseOptions = SimpleBase | Distribution

/** The distribution that the options describe, for examples of `shape`. @throws LangevinError E_CONFIG, E_SHAPE, E_DATA, RangeError */
export async function makeBase(options: BaseOptions, shape: Shape): Promise<Distribution> {
  if ('logDensity' in options) {
    if (sameShape(options.shape, shape)) return options
    throw new LangevinError(
      'E_SHAPE',
      `base: the distribution is over ${showShape(options.shape)}, the model over ${showShape(shape)}`,
    )
  }
  const filled = (value: number): HostTensor => hostTensor(new Float32Array(sizeOf(shape)).fill(value), shape)
  switch (options.kind) {
    case 'normal': {
      const { std = 1 } = options
      checkPositive('base: std', std)
      return diagonalGaussian(filled(0), filled(std))
    }
    case 'fitted':
      return fitted(shape, options)
    case 'uniform':
      checkFinite('base: low and high', [options.low, options.high])
      return uniformBox(filled(options.low), filled(options.high))
    default: {
      const kind = String((options as { kind: unknown }).kind)
      throw new LangevinError(
        'E_CONFIG',
        `base '${kind}' is not known.${suggestion(kind, ['normal', 'fitted', 'uniform'])}`,
      )
    }
  }
}

async function fitted(shape: Shape, options: SimpleBase & { readonly kind: 'fitted' }): Promise<Distribution> {
  const { data, inflate = 1.2 } = options
  checkPositive('base: inflate', inflate)
  if (data.dtype !== 'float32' || !sameShape(data.shape.slice(1), shape)) {
    throw new LangevinError(
      'E_SHAPE',
      `base: data must be float32 [n,${shape.join(',')}]; got ${data.dtype}${showShape(data.shape)}`,
    )
  }
  const { mean, covariance, dimensions: d } = momentsOf(data)
  const form = options.form ?? (d <= 128 ? 'full' : 'diagonal')
  if (form !== 'full' && form !== 'diagonal') {
    const known = ['full', 'diagonal']
    throw new LangevinError('E_CONFIG', `base: form '${String(form)}' is not known.${suggestion(form, known)}`)
  }
  // A dimension that never varies (a border pixel) gets a little room, or the density would not exist.
  const average = mean.reduce((s, _, i) => s + covariance[i * (d + 1)]! / d, 0)
  for (let i = 0; i < d; i++) covariance[i * (d + 1)]! += 1e-4 * (average > 0 ? average : 1)
  const centre = hostTensor(Float32Array.from(mean), shape)
  if (form === 'diagonal') {
    const scale = Float32Array.from(mean, (_, i) => inflate * Math.sqrt(covariance[i * (d + 1)]!))
    return diagonalGaussian(centre, hostTensor(scale, shape))
  }
  const failure = await cholesky(new Pace(d ** 3 / 6), covariance, d, d)
  if (failure !== undefined) {
    throw new LangevinError(
      'E_DATA',
      `base: the covariance of the data has no Cholesky factor (row ${failure.row}); use form: 'diagonal'`,
    )
  }
  const factor = Float32Array.from(covariance, (v, i) => (i % d > Math.floor(i / d) ? 0 : inflate * v))
  return gaussian(centre, hostTensor(factor, [d, d]))
}
