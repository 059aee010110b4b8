/** Settings that are numbers, or float32 scalars of the graph where they are given at run time: arithmetic that leaves numbers numbers. */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'

export type Amount = number | Tensor

export function times(a: Amount, b: number): Amount {
  return typeof a === 'number' ? a * b : ops.mul(a, b)
}

/** 1 - a². */
export function oneMinusSquare(a: Amount): Amount {
  return typeof a === 'number' ? 1 - a * a : ops.sub(1, ops.square(a))
}

/** b - a. */
export function minus(b: number, a: Amount): Amount {
  return typeof a === 'number' ? b - a : ops.sub(b, a)
}

export function rootOf(a: Amount): Amount {
  return typeof a === 'number' ? Math.sqrt(a) : ops.sqrt(a)
}

/** e^a. */
export function expOf(a: Amount): Amount {
  return typeof a === 'number' ? Math.exp(a) : ops.exp(a)
}
