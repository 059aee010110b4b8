/** Between the units data come in and those a model sees. The same maps as langevin's Dataset: `(x - low) / (high - low)·2 - 1`, or `(x - mean) / std`. */
import type { InputInfo } from './bundle.ts'

/** x ↦ (x - offset[j]) / scale[j] for the j-th number of an example, and back. */
export class Units {
  readonly #discrete: InputInfo['discrete']
  /** Length of the last axis. */
  readonly #sites: number
  readonly #offset: Float64Array
  readonly #scale: Float64Array
  readonly size: number

  constructor({ shape, range, transform, discrete }: InputInfo) {
    this.#discrete = discrete
    this.#sites = shape.at(-1) ?? 1
    this.size = shape.reduce((a, b) => a * b, 1)
    this.#offset = new Float64Array(this.size)
    this.#scale = new Float64Array(this.size).fill(1)
    if (range !== null) {
      // (x - low) / (high - low)·2 - 1 = (x - middle) / half
      this.#offset.fill((range[0] + range[1]) / 2)
      this.#scale.fill((range[1] - range[0]) / 2)
    } else if (transform !== undefined) {
      this.#offset.set(transform.mean)
      this.#scale.set(transform.std)
    }
  }

  /** Rows in raw units become rows in the model's, in place. */
  toModel(rows: Float32Array): Float32Array {
    for (let i = 0, j = 0; i < rows.length; i++, j = j + 1 === this.size ? 0 : j + 1)
      rows[i] = ((rows[i] as number) - (this.#offset[j] as number)) / (this.#scale[j] as number)
    if (this.#discrete === 'oneHot') greatest(rows, this.#sites)
    else if (this.#discrete !== undefined) nearer(rows, this.#discrete)
    return rows
  }

  /** Rows of a model become rows in raw units, in place. */
  toRaw(rows: Float32Array): Float32Array {
    for (let i = 0, j = 0; i < rows.length; i++, j = j + 1 === this.size ? 0 : j + 1)
      rows[i] = (rows[i] as number) * (this.#scale[j] as number) + (this.#offset[j] as number)
    return rows
  }
}

/** A model of discrete x says nothing of what lies between its two values: every number becomes the nearer one. */
function nearer(rows: Float32Array, [off, on]: readonly [number, number]): void {
  for (const [i, v] of rows.entries()) rows[i] = (v - off) / (on - off) > 0.5 ? on : off
}

/** One-hot rows: a one at the greatest number of each site, the first of equals. */
function greatest(rows: Float32Array, width: number): void {
  for (let at = 0; at < rows.length; at += width) {
    const site = rows.subarray(at, at + width)
    const best = site.indexOf(site.reduce((a, b) => Math.max(a, b)))
    site.fill(0)
    site[best] = 1
  }
}

/** A flat row as nested arrays of a shape. */
export function nested(flat: Float32Array, shape: readonly number[]): unknown {
  if (shape.length <= 1) return Array.from(flat)
  const [n = 1, ...rest] = shape
  const stride = flat.length / n
  return Array.from({ length: n }, (_, i) => nested(flat.subarray(i * stride, (i + 1) * stride), rest))
}
