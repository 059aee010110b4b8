/** Argument checks that the metrics share: matrices of the right size, and numbers that are numbers. No metric here. */
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'

export { checkInteger as checkCount } from '../graph/checks.ts'

/** Anything indexable that holds numbers. */
export type Numbers = ArrayLike<number>

/** Row-major rows of equal length: what the vector metrics work on. */
export interface Rows {
  readonly data: Numbers
  readonly rows: number
  readonly columns: number
}

/** Throws TypeError for what is no tensor of numbers: a data set, mostly, or a model in the place of its draws. */
export function checkTensor(what: string, x: HostTensor): void {
  const given = x as { readonly shape?: unknown; readonly data?: unknown; readonly normalized?: unknown } | undefined
  if (Array.isArray(given?.shape) && ArrayBuffer.isView(given.data)) return
  const remedy = typeof given?.normalized === 'function' ? ': of a data set take .normalized()' : ''
  throw new TypeError(
    `${what} must be a tensor { data, shape }; got ${given?.constructor?.name ?? String(given)}${remedy}`,
  )
}

/** Reads a tensor [n, ...] as n rows; throws E_SHAPE for a scalar or a dimension that is empty, TypeError for what is no tensor. */
export function asRows(what: string, x: HostTensor): Rows {
  checkTensor(what, x)
  const rows = x.shape[0]
  if (rows === undefined || x.data.length === 0) {
    throw new LangevinError('E_SHAPE', `${what} must have shape [n, ...] with n >= 1; got ${showShape(x.shape)}`, {
      shape: x.shape,
    })
  }
  return { data: x.data, rows, columns: x.data.length / rows }
}

/** Throws E_DATA with the counts of NaN and infinite values if there is any; E_SHAPE if there is no value at all. */
export function checkFinite(what: string, values: Numbers): void {
  if (values.length === 0) throw new LangevinError('E_SHAPE', `${what} must hold at least one value; got none`)
  let nan = 0
  let infinite = 0
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (Number.isNaN(v)) nan++
    else if (!Number.isFinite(v)) infinite++
  }
  if (nan + infinite === 0) return
  throw new LangevinError(
    'E_DATA',
    `${what} must be finite; of ${values.length} values ${nan} are NaN and ${infinite} infinite. ` +
      'Look for a diverged model or damaged inputs before comparing figures.',
    { count: values.length, nan, infinite },
  )
}

/** Checks logits [n, k] (finite, k >= 2) and gives them as rows. */
export function checkLogits(logits: HostTensor): Rows {
  if (logits.shape.length !== 2 || (logits.shape[1] ?? 0) < 2) {
    throw new LangevinError('E_SHAPE', `logits must have shape [n, k] with k >= 2; got ${showShape(logits.shape)}`, {
      shape: logits.shape,
    })
  }
  const rows = asRows('logits', logits)
  checkFinite('logits', rows.data)
  return rows
}

/** Checks that there is one label a row, an integer in 0..classes-1. */
export function checkLabels(labels: Numbers, rows: number, classes: number): void {
  if (labels.length !== rows) {
    throw new LangevinError('E_SHAPE', `labels must have one entry a row: ${rows}; got ${labels.length}`)
  }
  for (let i = 0; i < rows; i++) {
    const y = labels[i]!
    if (!Number.isInteger(y) || y < 0 || y >= classes) {
      throw new RangeError(`labels must be integers in 0..${classes - 1}; labels[${i}] is ${y}`)
    }
  }
}
