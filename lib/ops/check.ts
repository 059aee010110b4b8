/** Argument checks that shape rules share. Each throws a typed error that names the op, the operand and the remedy. */
import { dtypeError, shapeError } from '../graph/errors.ts'
import { type DType, type Shape, showShape, type TensorType } from '../graph/shape.ts'
import { at } from './ref.ts'

/** Attributes of an op that has none. */
export type NoAttrs = { readonly [name: string]: never }

/** Operand `i`, after checking that its dtype is one of `allowed`. */
export function operand(op: string, inputs: readonly TensorType[], i: number, ...allowed: DType[]): TensorType {
  const t = at(inputs, i)
  if (!allowed.includes(t.dtype)) {
    throw dtypeError(
      op,
      `operand ${i} must be ${allowed.join(' or ')}; got ${t.dtype}${showShape(t.shape)}: convert it with cast(x, '${allowed[0]}')`,
      { operand: i, dtype: t.dtype, allowed },
    )
  }
  return t
}

/** Both dtypes equal. */
export function sameDtype(op: string, a: TensorType, b: TensorType): void {
  if (a.dtype !== b.dtype) {
    throw dtypeError(op, `operands must have one dtype; got ${a.dtype} and ${b.dtype}: convert one with cast`, {
      dtypes: [a.dtype, b.dtype],
    })
  }
}

export function expectRank(op: string, what: string, shape: Shape, rank: number, layout: string): void {
  if (shape.length !== rank) {
    throw shapeError(op, `${what} must have rank ${rank} ${layout}; got ${showShape(shape)}`, { shape })
  }
}

export function expectDim(op: string, what: string, got: number, want: number): void {
  if (got !== want) throw shapeError(op, `${what} must be ${want}; got ${got}`, { got, want })
}

/** An integer attribute of at least `least`. */
export function expectInteger(op: string, what: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`[${op}] ${what} must be an integer of at least ${least}; got ${value}`)
  }
}

export function expectFinite(op: string, what: string, value: number, remedy = ''): void {
  if (!Number.isFinite(value)) throw new RangeError(`[${op}] ${what} must be a finite number; got ${value}${remedy}`)
}
