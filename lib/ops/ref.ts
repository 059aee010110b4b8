/**
 * Float64 array helpers that the `reference` of every op is written with: index maps, elementwise maps, folds.
 * Clarity over speed; nothing here runs outside tests, constant folding and verification.
 */
import { type DType, type Shape, sizeOf } from '../graph/shape.ts'
import type { RefArray } from './define.ts'

/** Element `i` of a list that is known to have it. */
export function at<T>(list: ArrayLike<T>, i: number): T {
  return list[i] as T
}

export function refArray(shape: Shape, data: ArrayLike<number> = new Float64Array(sizeOf(shape))): RefArray {
  return { shape, data: data instanceof Float64Array ? data : Float64Array.from(data) }
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1)
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = at(strides, i + 1) * at(shape, i + 1)
  return strides
}

/** For each element of `shape`, row-major: `offset + Σ index·stride`, a position in some other array. */
export function indexMap(shape: Shape, strides: readonly number[], offset = 0): Int32Array {
  const out = new Int32Array(sizeOf(shape))
  const index = new Array<number>(shape.length).fill(0)
  let at_ = offset
  for (let e = 0; e < out.length; e++) {
    out[e] = at_
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at_ += at(strides, axis)
      index[axis] = at(index, axis) + 1
      if (at(index, axis) < at(shape, axis)) break
      at_ -= at(strides, axis) * at(shape, axis)
      index[axis] = 0
    }
  }
  return out
}

/** Strides with which an array of shape `from` is read at the indices of `to` (right-aligned; 0 where it stretches). */
export function broadcastStrides(from: Shape, to: Shape): number[] {
  const own = stridesOf(from)
  const lead = to.length - from.length
  return to.map((_, i) => (i < lead || at(from, i - lead) === 1 ? 0 : at(own, i - lead)))
}

/** Picks elements by position. */
export function takeRef(x: RefArray, shape: Shape, positions: Int32Array): RefArray {
  return refArray(
    shape,
    Float64Array.from(positions, (p) => at(x.data, p)),
  )
}

/** Elementwise function of broadcast operands. */
export function mapRef(shape: Shape, operands: readonly RefArray[], f: (...values: number[]) => number): RefArray {
  const maps = operands.map((o) => indexMap(shape, broadcastStrides(o.shape, shape)))
  const out = new Float64Array(sizeOf(shape))
  for (let e = 0; e < out.length; e++) out[e] = f(...operands.map((o, i) => at(o.data, at(at(maps, i), e))))
  return refArray(shape, out)
}

/** Folds `axes` with `f` from `start`; `shape` is the result's (with or without the axes). */
export function foldRef(
  x: RefArray,
  axes: readonly number[],
  shape: Shape,
  start: number,
  f: (a: number, b: number) => number,
): RefArray {
  const kept = stridesOf(x.shape.map((d, i) => (axes.includes(i) ? 1 : d)))
  const map = indexMap(
    x.shape,
    x.shape.map((_, i) => (axes.includes(i) ? 0 : at(kept, i))),
  )
  const out = new Float64Array(sizeOf(shape)).fill(start)
  for (let e = 0; e < map.length; e++) out[at(map, e)] = f(at(out, at(map, e)), at(x.data, e))
  return refArray(shape, out)
}

/** The value as the dtype would hold it: int32 wraps, uint8 and bool are kept small; float32 stays float64. */
export function wrap(dtype: DType, value: number): number {
  return dtype === 'int32' ? value | 0 : value
}

/** Nearest integer, halves to even; zeros keep the sign of x. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0)
  const rounded = up ? floor + 1 : floor
  return rounded === 0 && x < 0 ? -0 : rounded
}

/** Error function to about 1e-16: Maclaurin series below 2.5, continued fraction of erfc above. */
export function erfReference(x: number): number {
  if (Number.isNaN(x)) return Number.NaN
  const a = Math.abs(x)
  if (a > 6) return Math.sign(x)
  if (a < 2.5) {
    let term = x
    let sum = x
    for (let n = 1; n < 100; n++) {
      term *= (-x * x) / n
      sum += term / (2 * n + 1)
    }
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  let f = 0
  for (let k = 80; k >= 1; k--) f = k / 2 / (a + f)
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + f)))
}
