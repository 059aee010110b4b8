/** Shapes and dtypes of graph tensors, and the arithmetic on them that every op shares. No graph here. */
import { shapeError } from './errors.ts'

/** Element types. `bool` and `uint8` take one byte; arithmetic is on `float32` and `int32`. */
export type DType = 'float32' | 'int32' | 'uint8' | 'bool'

/** Row-major dimensions; `[]` is a scalar. */
export type Shape = readonly number[]

/** Shape and element type: all that is known of a tensor before it is computed. */
export interface TensorType {
  readonly shape: Shape
  readonly dtype: DType
}

/** Bytes of one element. */
export const bytesOf: Readonly<Record<DType, number>> = { float32: 4, int32: 4, uint8: 1, bool: 1 }

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((n, d) => n * d, 1)
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i])
}

/** `[2,3]`, as messages and the printer show a shape. */
export function showShape(shape: Shape): string {
  return `[${shape.join(',')}]`
}

/** The common shape of operands by NumPy's rule: right-aligned, a dimension of 1 stretches. */
export function broadcastShapes(op: string, ...shapes: Shape[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length))
  const out = new Array<number>(rank).fill(1)
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i
      const d = shape[i] as number
      const have = out[at] as number
      if (d !== have && d !== 1 && have !== 1) {
        throw shapeError(
          op,
          `shapes must broadcast (equal, or 1, from the right); got ${shapes.map(showShape).join(' and ')}, which differ at axis ${at - rank}`,
          { shapes },
        )
      }
      if (have === 1) out[at] = d
    }
  }
  return out
}

/** Axis in 0..rank-1; negative counts from the end. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw shapeError(op, `axis must be an integer in ${-rank}..${rank - 1} for rank ${rank}; got ${axis}`, {
      axis,
      rank,
    })
  }
  return axis < 0 ? axis + rank : axis
}

/** Distinct sorted axes; `undefined` means all. */
export function normalizeAxes(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i)
  const list = (typeof axes === 'number' ? [axes] : axes).map((a) => normalizeAxis(op, a, rank)).sort((a, b) => a - b)
  if (new Set(list).size !== list.length)
    throw shapeError(op, `axes must be distinct; got ${JSON.stringify(axes)}`, { axes })
  return list
}

/** Shape after reducing `axes`. */
export function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  if (keepDims) return shape.map((d, i) => (axes.includes(i) ? 1 : d))
  return shape.filter((_, i) => !axes.includes(i))
}

/** Checks that every dimension is a non-negative safe integer. */
export function checkShape(op: string, shape: Shape): void {
  for (const d of shape) {
    if (!Number.isSafeInteger(d) || d < 0) {
      throw shapeError(op, `dimensions must be non-negative integers; got ${showShape(shape)}`, { shape })
    }
  }
}
