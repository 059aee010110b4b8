/**
 * Mean, variance and covariance of rows of a data set as models see them (normalised to [-1, 1] where it has a range), in float64.
 * Three ways to the same matrix: tiles of dense blocks, products of what is not background, or blocks that someone else multiplies.
 */
import type { Dataset } from './dataset.ts'
import { addProducts, type Pace, padded } from './linear-algebra.ts'

/** Xᵀ X [d, d] of rows X [n, d], row-major. */
export type Gram = (rows: Float32Array, n: number, d: number) => Promise<Float32Array>

export interface Moments {
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
  readonly gram?: Gram | undefined
}

/** Model units are (x - low)·unit + shift. */
function unitsOf(data: Dataset): { low: number; high: number; unit: number; shift: number } {
  if (data.range === null) return { low: 0, high: 0, unit: 1, shift: 0 }
  const [low, high] = data.range
  return { low, high, unit: 2 / (high - low), shift: -1 }
}

/** Mean and variance of the normalised columns, in two passes. */
export async function momentsOf(data: Dataset, rows: Int32Array, pace: Pace): Promise<Moments> {
  const d = data.dimensions
  const raw = data.features.data
  const { low, high, unit, shift } = unitsOf(data)
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
  for (let j = 0; j < d; j++) {
    mean[j] = ((mean[j] as number) - low) * unit + shift
    variance[j] = ((variance[j] as number) / rows.length) * unit * unit
  }
  const active = Int32Array.from({ length: d }, (_, j) => j).filter((j) => (variance[j] as number) > 0)
  // Without a range there is no background to leave out.
  const density = data.range === null ? 1 : 1 - Math.max(lows, highs) / (rows.length * d)
  return { rows, mean, variance, active, background: lows >= highs ? -1 : 1, density }
}

/** Rows times covariance: through the matrix where it is small or made cheaply, else through the data, which needs no d² memory. */
export async function covarianceOperator(
  data: Dataset,
  part: Moments,
  pace: Pace,
  rank: number,
): Promise<(rows: Float64Array) => Promise<Float64Array>> {
  const d = part.active.length
  const n = part.rows.length
  const throughData = 20 * n * d * (rank + 8)
  const throughMatrix = (n * d * d) / 2 + 10 * d * d * (rank + 8)
  const cheap = throughMatrix < throughData || part.gram !== undefined
  const matrix = d <= 4096 && cheap ? await symmetricCovariance(data, part, pace) : undefined
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
export async function covariance(data: Dataset, part: Moments, pace: Pace): Promise<Float64Array> {
  const d = part.active.length
  const n = part.rows.length
  const width = padded(d)
  const m = new Float64Array(width * width)
  if (part.density < 0.3) await addSparse(data, part, pace, m)
  else if (part.gram !== undefined) await addGrams(data, part, pace, part.gram, m)
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

/** The covariance from products of large blocks that someone else makes. */
async function addGrams(data: Dataset, part: Moments, pace: Pace, gram: Gram, m: Float64Array): Promise<void> {
  const d = part.active.length
  const n = part.rows.length
  for (let start = 0; start < n; start += 2048) {
    const count = Math.min(2048, n - start)
    const columns = centredColumns(data, part, start, count)
    const rows = new Float32Array(count * d)
    for (let j = 0; j < d; j++) for (let i = 0; i < count; i++) rows[i * d + j] = columns[j * count + i] as number
    const product = await gram(rows, count, d)
    if (product.length !== d * d)
      throw new RangeError(`classGaussians: gram must return ${d * d} numbers; got ${product.length}`)
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        const at = i * padded(d) + j
        m[at] = (m[at] as number) + (product[i * d + j] as number) / n
      }
    }
    await pace.turn((count * d * d) / 2)
  }
}

/** Normalised, centred rows start..start+count-1 as columns: [padded(active)][count]. */
function centredColumns(data: Dataset, part: Moments, start: number, count: number): Float64Array {
  const d = data.dimensions
  const raw = data.features.data
  const { low, unit, shift } = unitsOf(data)
  const x = new Float64Array(padded(part.active.length) * count)
  for (let i = 0; i < count; i++) {
    const from = (part.rows[start + i] as number) * d
    for (const [j, column] of part.active.entries()) {
      x[j * count + i] = ((raw[from + column] as number) - low) * unit + shift - (part.mean[column] as number)
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
  const { low, high, unit } = unitsOf(data)
  const zero = background < 0 ? low : high
  const d = data.dimensions
  const width = padded(active.length)
  const raw = data.features.data
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
