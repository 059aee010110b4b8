/**
 * How numbers seen at several batch sizes depend on the batch: not at all, as scale·B + offset, or as its reciprocal.
 * Three sizes are traced, so that a straight line through the first two is a claim which the third one checks.
 */

/** The value at batch B is `scale * B + offset`, or one over that. */
export interface Affine {
  readonly scale: number
  readonly offset: number
  readonly reciprocal: boolean
}

/** Exact fit for integers (dimensions, indices); undefined if they do not lie on a line with integer coefficients. */
export function fitIntegers(batches: readonly number[], values: readonly number[]): Affine | undefined {
  const [b0 = 0, b1 = 0] = batches
  const [v0 = 0, v1 = 0] = values
  const scale = (v1 - v0) / (b1 - b0)
  const offset = v0 - scale * b0
  if (!Number.isInteger(scale) || !Number.isInteger(offset)) return undefined
  if (!values.every((v, i) => v === scale * (batches[i] as number) + offset)) return undefined
  return { scale, offset, reciprocal: false }
}

/** Fit of float32 numbers, to a few units in the last place: a line, or one over a line (means over the batch). */
export function fitFloats(batches: readonly number[], values: readonly number[]): Affine | undefined {
  if (values.every((v) => Object.is(v, values[0]))) return { scale: 0, offset: values[0] as number, reciprocal: false }
  if (!values.every(Number.isFinite)) return undefined
  const line = fitLine(batches, values)
  if (line !== undefined) return { ...line, reciprocal: false }
  if (values.some((v) => v === 0)) return undefined
  const inverse = fitLine(
    batches,
    values.map((v) => 1 / v),
  )
  return inverse === undefined ? undefined : { ...inverse, reciprocal: true }
}

function fitLine(batches: readonly number[], values: readonly number[]): { scale: number; offset: number } | undefined {
  const last = batches.length - 1
  const [b0, bn] = [batches[0] as number, batches[last] as number]
  const [v0, vn] = [values[0] as number, values[last] as number]
  const scale = snap((vn - v0) / (bn - b0), 0)
  const size = Math.max(...values.map(Math.abs))
  const offset = snap(v0 - scale * b0, size)
  const near = values.every((v, i) => Math.abs(scale * (batches[i] as number) + offset - v) <= 4e-7 * size)
  return near ? { scale, offset } : undefined
}

/** The nearest integer where rounding alone explains the difference; 0 for what is rounding error of numbers of `size`. */
function snap(x: number, size: number): number {
  const whole = Math.round(x)
  if (Math.abs(x) <= 4e-7 * size) return 0
  return whole !== 0 && Math.abs(x - whole) <= 2e-6 * Math.abs(whole) ? whole : x
}

/** `batch`, `2*batch`, `batch+1`: the name of a dimension that depends on the batch. */
export function showAffine(a: Affine): string {
  const scaled = a.scale === 1 ? 'batch' : `${a.scale}*batch`
  return a.offset === 0 ? scaled : `${scaled}${a.offset < 0 ? '' : '+'}${a.offset}`
}
