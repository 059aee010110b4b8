/**
 * One Gaussian a class, estimated from a data set: JEM++ starts its chains there (Yang & Ji 2021, "informative initialization").
 * Estimation only, on normalised data and in float64; drawing from them is the op gaussian_rows in the graph.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Shape } from '../graph/shape.ts'
import { covariance, covarianceOperator, type Gram, type Moments, momentsOf } from './covariance.ts'
import type { Dataset } from './dataset.ts'
import { cholesky, leadingEigen, Pace, padded } from './linear-algebra.ts'

/** How a covariance is held: its Cholesky factor, its diagonal, or leading directions and the diagonal of the rest. */
export type GaussianForm = 'full' | 'diagonal' | { readonly lowRank: number }

interface Common {
  /** Shape of one example; d is its size. */
  readonly shape: Shape
  readonly classes: number
  /** Rows that each class was estimated from. */
  readonly counts: readonly number[]
  /** float32 [c, d]. */
  readonly mean: HostTensor
}

/** Draw `mean + factor z` (full), `mean + scale z` (diagonal), `mean + factor z + scale z'` (low rank), with z, z' standard normal. */
export type ClassGaussians =
  | (Common & {
      readonly form: 'full'
      /** float32 [c, d, d], lower triangular: factor factorᵀ = covariance + jitter I. */
      readonly factor: HostTensor
    })
  | (Common & {
      readonly form: 'diagonal'
      /** float32 [c, d]: sqrt(variance + jitter). */
      readonly scale: HostTensor
    })
  | (Common & {
      readonly form: 'lowRank'
      /** float32 [c, d, r]: column k is the k-th leading eigenvector times the root of its eigenvalue. */
      readonly factor: HostTensor
      /** float32 [c, d]: root of what the factor leaves of each variance, plus jitter. The model's variances are then exact. */
      readonly scale: HostTensor
    })

export interface ClassGaussianOptions {
  /** Default 'full': 4 d² bytes a class. Diagonal or low rank for large images and many classes. */
  readonly form?: GaussianForm | undefined
  /** Added to every variance, in squared normalised units; makes the covariance of few rows definite. Default 1e-4. */
  readonly jitter?: number | undefined
  /** At most so many rows of each class, the first ones. Default all. */
  readonly limit?: number | undefined
  /** Gets the fraction done, in [0, 1], several times a second. */
  readonly progress?: ((fraction: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /**
   * A faster way to the product Xᵀ X [d, d] of centred rows X [n, d], float32: a native matmul makes CIFAR-10 a matter of seconds.
   * Default: float64 loops here. Blocks are summed in float64 either way; sparse images (MNIST) are quick without it.
   */
  readonly gram?: Gram | undefined
}

/**
 * Estimates mean and covariance (divided by n) of every class on the data normalised to [-1, 1]; without labels all rows are one class.
 * The event loop runs on in between. 60 000 MNIST images take some seconds; 50 000 of CIFAR-10 in full form some minutes.
 * @throws LangevinError E_DATA for a class without rows, or a covariance that is not positive definite (raise `jitter`), E_CANCELLED;
 * RangeError for an option out of range.
 */
export async function classGaussians(data: Dataset, options: ClassGaussianOptions = {}): Promise<ClassGaussians> {
  const { form = 'full', jitter = 1e-4, limit = Infinity } = options
  const d = data.dimensions
  if (!(jitter >= 0 && jitter < Infinity))
    throw new RangeError(`classGaussians: jitter must be at least 0; got ${jitter}`)
  if (!(limit >= 1)) throw new RangeError(`classGaussians: limit must be at least 1; got ${limit}`)
  const rank = typeof form === 'object' ? form.lowRank : 0
  if (typeof form === 'object' && !(Number.isInteger(rank) && rank >= 1 && rank <= d)) {
    throw new RangeError(`classGaussians: lowRank must be a whole number in 1..${d}; got ${rank}`)
  }
  const rows = rowsByClass(data, limit)
  const pace = new Pace(estimateWork(rows, d, form), options.progress, options.signal)
  const c = rows.length
  const common = { shape: data.shape, classes: c, counts: rows.map((r) => r.length) }
  const mean = new Float32Array(c * d)
  const scale = new Float32Array(form === 'full' ? 0 : c * d)
  const factor = new Float32Array(form === 'full' ? c * d * d : c * d * rank)
  for (const [i, own] of rows.entries()) {
    const part = { ...(await momentsOf(data, own, pace)), gram: options.gram }
    mean.set(part.mean, i * d)
    if (form === 'diagonal')
      scale.set(
        part.variance.map((v) => Math.sqrt(v + jitter)),
        i * d,
      )
    else if (form === 'full') {
      await setCholesky(factor.subarray(i * d * d, (i + 1) * d * d), { data, part, jitter, pace, label: i })
    } else {
      const f = factor.subarray(i * d * rank, (i + 1) * d * rank)
      await setLowRank(f, scale.subarray(i * d, (i + 1) * d), { data, part, jitter, pace, rank })
    }
  }
  options.progress?.(1)
  const means = hostTensor(mean, [c, d])
  if (form === 'full') return { ...common, form, mean: means, factor: hostTensor(factor, [c, d, d]) }
  const scales = hostTensor(scale, [c, d])
  if (form === 'diagonal') return { ...common, form, mean: means, scale: scales }
  return { ...common, form: 'lowRank', mean: means, factor: hostTensor(factor, [c, d, rank]), scale: scales }
}

function rowsByClass(data: Dataset, limit: number): Int32Array[] {
  const lists = Array.from({ length: Math.max(1, data.classes) }, (): number[] => [])
  for (let i = 0; i < data.count; i++) {
    const list = lists[data.labels?.[i] ?? 0] as number[]
    if (list.length < limit) list.push(i)
  }
  const empty = lists.findIndex((list) => list.length === 0)
  if (empty >= 0) {
    throw new LangevinError(
      'E_DATA',
      `class ${empty} ('${data.classNames[empty]}') of data set ${data} has no rows, so it has no Gaussian: ` +
        'leave the class out, or take more rows',
      { class: empty },
    )
  }
  return lists.map((list) => Int32Array.from(list))
}

/** Multiply-adds, roughly: for the progress report. */
function estimateWork(rows: readonly Int32Array[], d: number, form: GaussianForm): number {
  const n = rows.reduce((sum, r) => sum + r.length, 0)
  if (form === 'diagonal') return 4 * n * d
  if (form === 'full') return (n * d * d) / 2 + (rows.length * d ** 3) / 6
  return 20 * n * d * (form.lowRank + 8)
}

interface Work {
  readonly data: Dataset
  readonly part: Moments
  readonly jitter: number
  readonly pace: Pace
}

/** Writes the Cholesky factor of the covariance plus jitter; constant columns get the root of the jitter alone. */
async function setCholesky(out: Float32Array, work: Work & { readonly label: number }): Promise<void> {
  const { data, part, jitter, pace, label } = work
  const { active } = part
  const d = data.dimensions
  const m = await covariance(data, part, pace)
  const width = padded(active.length)
  for (let i = 0; i < active.length; i++) m[i * width + i] = (m[i * width + i] as number) + jitter
  const bad = await cholesky(pace, m, active.length, width)
  if (bad !== undefined) {
    throw new LangevinError(
      'E_DATA',
      `the covariance of class ${label} ('${data.classNames[label] ?? 'all'}', ${part.rows.length} rows of ${d} numbers) with jitter ${jitter} ` +
        `is not positive definite: pivot ${active[bad.row]} is ${bad.pivot}. Raise jitter, or take the diagonal form`,
      { class: label, jitter },
    )
  }
  const root = Math.sqrt(jitter)
  for (let j = 0; j < d; j++) out[j * d + j] = root
  for (let i = 0; i < active.length; i++) {
    for (let j = 0; j <= i; j++) out[(active[i] as number) * d + (active[j] as number)] = m[i * width + j] as number
  }
}

/** Writes leading directions times root eigenvalue, [d, r], and the root of the rest of the diagonal. */
async function setLowRank(f: Float32Array, scale: Float32Array, work: Work & { readonly rank: number }): Promise<void> {
  const { data, part, jitter, pace, rank } = work
  const { active, variance } = part
  const d = active.length
  const rest = variance.slice()
  if (d > 0) {
    const { values, vectors } = await leadingEigen(
      d,
      Math.min(rank, d),
      await covarianceOperator(data, part, pace, rank),
    )
    for (const [k, value] of values.entries()) {
      const root = Math.sqrt(Math.max(0, value))
      for (let i = 0; i < d; i++) {
        const j = active[i] as number
        const entry = root * (vectors[k * d + i] as number)
        f[j * rank + k] = entry
        rest[j] = (rest[j] as number) - entry * entry
      }
    }
  }
  for (let j = 0; j < rest.length; j++) scale[j] = Math.sqrt(Math.max(0, rest[j] as number) + jitter)
}
