/**
 * Long curves made short for drawing: rows are gathered in buckets of equal width in x, each with mean, least and greatest value, so that a
 * spike of one row among 100 000 still shows. Rows without a finite value are counted, not averaged.
 */

/** One bucket; mean, min and max are NaN if it has no finite value. */
export interface Bucket {
  /** Mean x of its rows. */
  readonly x: number
  readonly mean: number
  readonly min: number
  readonly max: number
  /** Rows with a finite value. */
  readonly count: number
  /** Rows whose value is NaN or infinite. */
  readonly bad: number
}

/**
 * At most `limit` buckets of the points (x ascending, any spacing), one per point if there are no more than `limit` points.
 * Buckets without any row are left out.
 */
export function downsample(x: readonly number[], y: readonly number[], limit = 300): Bucket[] {
  if (x.length !== y.length)
    throw new RangeError(`downsample: x and y must have one length; got ${x.length} and ${y.length}`)
  if (x.length <= limit) return x.map((v, i) => gather([v], [y[i] as number]))
  const low = x[0] as number
  const width = ((x[x.length - 1] as number) - low) / limit
  const out: Bucket[] = []
  let start = 0
  while (start < x.length) {
    const bucket = bucketOf(x[start] as number, low, width, limit)
    let end = start + 1
    while (end < x.length && bucketOf(x[end] as number, low, width, limit) === bucket) end++
    out.push(gather(x.slice(start, end), y.slice(start, end)))
    start = end
  }
  return out
}

function bucketOf(x: number, low: number, width: number, limit: number): number {
  return width > 0 ? Math.min(limit - 1, Math.floor((x - low) / width)) : 0
}

function gather(x: readonly number[], y: readonly number[]): Bucket {
  const finite = y.filter(Number.isFinite)
  const bad = y.length - finite.length
  const middle = x.reduce((a, b) => a + b, 0) / x.length
  if (finite.length === 0) return { x: middle, mean: NaN, min: NaN, max: NaN, count: 0, bad }
  const mean = finite.reduce((a, b) => a + b, 0) / finite.length
  let [min, max] = [Infinity, -Infinity]
  for (const v of finite) {
    min = Math.min(min, v)
    max = Math.max(max, v)
  }
  return { x: middle, mean, min, max, count: finite.length, bad }
}
