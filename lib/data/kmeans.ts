/** Where EM begins: k-means on a sample of the rows (Lloyd 1982) from greedy k-means++ seeds (Arthur & Vassilvitskii 2007). Host loops over little data. */
import type { HostRandom } from '../runtime/host-random.ts'
import type { Pace } from './linear-algebra.ts'

export interface Clusters {
  /** Row-major [k, d]. */
  readonly centres: Float64Array
  /** Share of the sample in each cluster. */
  readonly shares: Float64Array
  /** Mean square distance to the own centre, in each column. */
  readonly spread: Float64Array
}

/** Distances, in multiply-adds, that the whole of it may take, roughly: it bounds the sample. */
const work = 2e8
const rounds = 10
const attempts = 4

/** Clusters of rows x [n, d]: the best of four attempts by the sum of squares. Deterministic by `random`. */
export async function kMeans(x: Float32Array, d: number, k: number, random: HostRandom, pace: Pace): Promise<Clusters> {
  const n = x.length / d
  const most = Math.max(20 * k, Math.min(2000, Math.floor(work / (attempts * (rounds + 4) * k * d))))
  const sample = n <= most ? x : pick(x, d, random.permutation(n).subarray(0, most))
  let best: { centres: Float64Array; owner: Int32Array; sum: number } | undefined
  for (let i = 0; i < attempts; i++) {
    const centres = await seeds(sample, d, k, random, pace)
    const found = await lloyd(sample, d, centres, pace)
    if (best === undefined || found.sum < best.sum) best = { centres, ...found }
  }
  const { centres, owner } = best as NonNullable<typeof best>
  const rows = sample.length / d
  const shares = new Float64Array(k)
  const spread = new Float64Array(d)
  for (const [i, c] of owner.entries()) {
    shares[c] = (shares[c] as number) + 1 / rows
    for (let j = 0; j < d; j++) {
      const off = (sample[i * d + j] as number) - (centres[c * d + j] as number)
      spread[j] = (spread[j] as number) + (off * off) / rows
    }
  }
  return { centres, shares, spread }
}

function pick(x: Float32Array, d: number, rows: Int32Array): Float32Array {
  const out = new Float32Array(rows.length * d)
  for (const [i, row] of rows.entries()) out.set(x.subarray(row * d, (row + 1) * d), i * d)
  return out
}

/** Each new centre is a row drawn with probability proportional to its squared distance; the best of some candidates by what is left. */
async function seeds(x: Float32Array, d: number, k: number, random: HostRandom, pace: Pace): Promise<Float64Array> {
  const n = x.length / d
  const candidates = 2 + Math.floor(Math.log(k))
  const centres = new Float64Array(k * d)
  let nearest: Float64Array = new Float64Array(n).fill(Infinity)
  for (let c = 0; c < k; c++) {
    let chosen: { row: number; left: Float64Array; sum: number } | undefined
    for (let t = 0; t < (c === 0 ? 1 : candidates); t++) {
      const row = c === 0 ? random.int(n) : drawRow(nearest, random)
      const left = nearest.map((before, i) => Math.min(before, distance(x, i, x, row, d)))
      const sum = left.reduce((a, b) => a + b, 0)
      if (chosen === undefined || sum < chosen.sum) chosen = { row, left, sum }
      await pace.turn(n * d)
    }
    const { row, left } = chosen as NonNullable<typeof chosen>
    nearest = left
    for (let j = 0; j < d; j++) centres[c * d + j] = x[row * d + j] as number
  }
  return centres
}

function drawRow(weights: Float64Array, random: HostRandom): number {
  const total = weights.reduce((a, b) => a + b, 0)
  if (!(total > 0)) return random.int(weights.length)
  let left = random.uniform() * total
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i] as number
    if (left < 0) return i
  }
  return weights.length - 1
}

/** Moves the centres, in place, to the means of their rows until nothing changes. An empty cluster stays where it is. */
async function lloyd(
  x: Float32Array,
  d: number,
  centres: Float64Array,
  pace: Pace,
): Promise<{ owner: Int32Array; sum: number }> {
  const n = x.length / d
  const k = centres.length / d
  let owner = new Int32Array(n).fill(-1)
  for (let round = 0; ; round++) {
    const next = new Int32Array(n)
    let sum = 0
    for (let i = 0; i < n; i++) {
      let least = Infinity
      for (let c = 0; c < k; c++) {
        const far = distance(x, i, centres, c, d)
        if (far >= least) continue
        least = far
        next[i] = c
      }
      sum += least
    }
    await pace.turn(n * k * d)
    const same = next.every((c, i) => c === owner[i])
    owner = next
    if (same || round === rounds) return { owner, sum }
    moveCentres(x, d, centres, owner)
  }
}

function moveCentres(x: Float32Array, d: number, centres: Float64Array, owner: Int32Array): void {
  const counts = new Int32Array(centres.length / d)
  for (const c of owner) counts[c] = (counts[c] as number) + 1
  for (const [c, count] of counts.entries()) if (count > 0) centres.fill(0, c * d, (c + 1) * d)
  for (const [i, c] of owner.entries()) {
    for (let j = 0; j < d; j++) {
      centres[c * d + j] = (centres[c * d + j] as number) + (x[i * d + j] as number) / (counts[c] as number)
    }
  }
}

function distance(a: ArrayLike<number>, i: number, b: ArrayLike<number>, k: number, d: number): number {
  let sum = 0
  for (let j = 0; j < d; j++) sum += ((a[i * d + j] as number) - (b[k * d + j] as number)) ** 2
  return sum
}
