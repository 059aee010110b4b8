/**
 * One Gaussian a class, estimated from a data set: JEM++ starts its chains there (Yang & Ji 2021, "informative initialization").
 * Estimation only, on normalised data and in float64; drawing from them is the op gaussian_rows in the graph.
 */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Shape } from '../graph/shape.ts'
import type { Dataset } from './dataset.ts'
import { addProducts, cholesky, leadingEigen, Pace, padded } from './linear-algebra.ts'

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
    const part = await momentsOf(data, own, pace)
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

interface Moments {
  readonly rows: Int32Array
  readonly mean: Float64Array
  /** Biased. */
  readonly variance: Float64Array
  /** Columns whose variance is not zero: images have constant borders, and those need no products. */
  readonly active: Int32Array
  /** The end of the range that occurs more often, -1 or 1 when normalised: paper white or black. */
  readonly background: -1 | 1
  /** Share of numbers that are not the background. */
  readonly density: number
}

/** Mean and variance of the normalised columns, in two passes. */
async function momentsOf(data: Dataset, rows: Int32Array, pace: Pace): Promise<Moments> {
  const d = data.dimensions
  const raw = data.features.data
  const [low, high] = data.range
  const mean = new Float64Array(d)
  const variance = new Float64Array(d)
  let [lows, highs] = [0, 0]
  for (const row of rows) {
    for (let j = 0; j < d; j++) {
      const x = raw[row * d + j] as number
      if (x === low) lows++
      else if (x === high) highs++
      mean[j] = (mean[j] as number) + x
    }
    await pace.turn(4 * d)
  }
  for (let j = 0; j < d; j++) mean[j] = (mean[j] as number) / rows.length
  for (const row of rows) {
    for (let j = 0; j < d; j++)
      variance[j] = (variance[j] as number) + ((raw[row * d + j] as number) - (mean[j] as number)) ** 2
    await pace.turn(4 * d)
  }
  const unit = 2 / (high - low)
  for (let j = 0; j < d; j++) {
    mean[j] = ((mean[j] as number) - low) * unit - 1
    variance[j] = ((variance[j] as number) / rows.length) * unit * unit
  }
  const active = Int32Array.from({ length: d }, (_, j) => j).filter((j) => (variance[j] as number) > 0)
  const density = 1 - Math.max(lows, highs) / (rows.length * d)
  return { rows, mean, variance, active, background: lows >= highs ? -1 : 1, density }
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

/** Rows times covariance: through the matrix where it is small or made cheaply, else through the data, which needs no d² memory. */
async function covarianceOperator(
  data: Dataset,
  part: Moments,
  pace: Pace,
  rank: number,
): Promise<(rows: Float64Array) => Promise<Float64Array>> {
  const d = part.active.length
  const n = part.rows.length
  const throughData = 20 * n * d * (rank + 8)
  const throughMatrix = (n * d * d) / 2 + 10 * d * d * (rank + 8)
  const matrix = d <= 4096 && throughMatrix < throughData ? await symmetricCovariance(data, part, pace) : undefined
  return async (rows) => {
    const k = rows.length / d
    const width = padded(d)
    const out = new Float64Array(k * width)
    if (matrix !== undefined) await addProducts(pace, { a: rows, b: matrix, length: d, c: out })
    else await addThroughData(data, part, pace, rows, out)
    const scaled = new Float64Array(k * d)
    for (let i = 0; i < k; i++) scaled.set(out.subarray(i * width, i * width + d), i * d)
    return scaled
  }
}

/** out += rows Xᵀ X / n, block by block of the centred data X. */
async function addThroughData(
  data: Dataset,
  part: Moments,
  pace: Pace,
  rows: Float64Array,
  out: Float64Array,
): Promise<void> {
  const d = part.active.length
  const k = rows.length / d
  const n = part.rows.length
  for (let start = 0; start < n; start += blockRows) {
    const count = Math.min(blockRows, n - start)
    const columns = centredColumns(data, part, start, count)
    const byRow = new Float64Array(padded(count) * d)
    for (let j = 0; j < d; j++) for (let i = 0; i < count; i++) byRow[i * d + j] = columns[j * count + i] as number
    const inner = new Float64Array(k * padded(count))
    await addProducts(pace, { a: rows, b: byRow, length: d, c: inner })
    const weights = new Float64Array(k * count)
    for (let i = 0; i < k; i++) {
      for (let b = 0; b < count; b++) weights[i * count + b] = (inner[i * padded(count) + b] as number) / n
    }
    await addProducts(pace, { a: weights, b: columns, length: count, c: out })
  }
}

/** All of the covariance: rows of d numbers, as many as padded(d); those beyond d are zero. */
async function symmetricCovariance(data: Dataset, part: Moments, pace: Pace): Promise<Float64Array> {
  const d = part.active.length
  const width = padded(d)
  const lower = await covariance(data, part, pace)
  const out = new Float64Array(width * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      out[i * d + j] = lower[i * width + j] as number
      out[j * d + i] = lower[i * width + j] as number
    }
  }
  return out
}

/** Rows of data per block: a tile of six columns then stays in the first cache. */
const blockRows = 256

/** Lower triangle of the biased covariance of the active columns, in rows of padded(active) numbers. */
async function covariance(data: Dataset, part: Moments, pace: Pace): Promise<Float64Array> {
  const d = part.active.length
  const n = part.rows.length
  const width = padded(d)
  const m = new Float64Array(width * width)
  if (part.density < 0.3) await addSparse(data, part, pace, m)
  else {
    for (let start = 0; start < n; start += blockRows) {
      const count = Math.min(blockRows, n - start)
      const x = centredColumns(data, part, start, count)
      await addProducts(pace, { a: x, b: x, length: count, c: m, lower: true })
    }
    for (let i = 0; i < m.length; i++) m[i] = (m[i] as number) / n
  }
  return m
}

/** Normalised, centred rows start..start+count-1 as columns: [padded(active)][count]. */
function centredColumns(data: Dataset, part: Moments, start: number, count: number): Float64Array {
  const d = data.dimensions
  const raw = data.features.data
  const [low, high] = data.range
  const unit = 2 / (high - low)
  const x = new Float64Array(padded(part.active.length) * count)
  for (let i = 0; i < count; i++) {
    const from = (part.rows[start + i] as number) * d
    for (const [j, column] of part.active.entries()) {
      x[j * count + i] = ((raw[from + column] as number) - low) * unit - 1 - (part.mean[column] as number)
    }
  }
  return x
}

/**
 * The covariance of data that is mostly background, from products of the other numbers only:
 * cov = E[u uᵀ] - E[u] E[u]ᵀ for u = x - background. In float64 the difference loses nothing that counts.
 */
async function addSparse(data: Dataset, part: Moments, pace: Pace, m: Float64Array): Promise<void> {
  const { active, rows, mean, background } = part
  const zero = data.range[background < 0 ? 0 : 1]
  const d = data.dimensions
  const width = padded(active.length)
  const raw = data.features.data
  const [low, high] = data.range
  const unit = 2 / (high - low)
  const at = new Int32Array(active.length)
  const value = new Float64Array(active.length)
  for (const row of rows) {
    let marks = 0
    for (let i = 0; i < active.length; i++) {
      const x = (raw[row * d + (active[i] as number)] as number) - zero
      if (x === 0) continue
      at[marks] = i
      value[marks++] = x * unit
    }
    for (let i = 0; i < marks; i++) {
      const line = (at[i] as number) * width
      const u = value[i] as number
      for (let j = 0; j <= i; j++) {
        const cell = line + (at[j] as number)
        m[cell] = (m[cell] as number) + u * (value[j] as number)
      }
    }
    await pace.turn((marks * marks) / 2 + d)
  }
  for (let i = 0; i < active.length; i++) {
    const u = (mean[active[i] as number] as number) - background
    for (let j = 0; j <= i; j++) {
      m[i * width + j] =
        (m[i * width + j] as number) / rows.length - u * ((mean[active[j] as number] as number) - background)
    }
  }
}
