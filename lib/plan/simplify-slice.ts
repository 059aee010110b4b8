/**
 * Rules about slices and pads. Those of small vectors (the energies of a batch, of which one part is the data and one the negatives) become
 * selections by index, which loops hold: no kernel of their own, and the parts share one pass.
 */
import { sameShape, sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { GraphBuilder } from './builder.ts'
import { constantOf, scalarOf } from './constants.ts'
import { smallLoop } from './merge.ts'
import type { Candidate, Rule } from './simplify.ts'

/** The elements start..stop-1 of a vector. */
interface Range {
  readonly of: Tensor
  readonly start: number
  readonly stop: number
}

export const slice: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  const { start, stop, step } = c.attrs as { readonly [name: string]: readonly number[] }
  const forward = step === undefined || step.every((s) => s === 1)
  if (!forward || start === undefined || stop === undefined) return undefined
  if (sameShape(x.shape, c.type.shape)) return x
  const n = x.shape[0] as number
  // A column is a vector, whose rules are below.
  if (x.rank > 1 && x.size === n && c.type.shape.slice(1).every((d) => d === 1)) {
    const part = b.make('slice', [b.reshape(x, [n])], {
      start: [start[0] as number],
      stop: [stop[0] as number],
      step: [1],
    })
    return b.reshape(part, c.type.shape)
  }
  return ofSum(b, c, x)
}

/** Of a large sum, a small part is the sum of small parts: the sum itself then need not exist before what is done with the part. */
function ofSum(b: GraphBuilder, c: Candidate, x: Tensor): Tensor | undefined {
  const [p, q] = x.inputs
  const small = sizeOf(c.type.shape) * 64 <= x.size && x.size > smallLoop
  if (!small || (x.op.name !== 'add' && x.op.name !== 'sub')) return undefined
  if (p === undefined || q === undefined || !sameShape(p.shape, x.shape) || !sameShape(q.shape, x.shape))
    return undefined
  return b.make(x.op.name, [b.make('slice', [p], c.attrs), b.make('slice', [q], c.attrs)], {})
}

export const pad: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  if (sameShape(x.shape, c.type.shape)) return x
  const { low, interior, value } = c.attrs as { low?: readonly number[]; interior?: readonly number[]; value?: number }
  if (low === undefined || value === undefined || interior?.some((i) => i !== 0)) return undefined
  const [n, size] = [c.type.shape[0] as number, sizeOf(c.type.shape)]
  if (size > smallLoop || size !== n) return undefined
  const k = scalarOf(x)
  if (k !== undefined) return uniform(b, c, k, low[0] as number, x.size)
  const range = rangeOf(b.reshape(x, [x.size]))
  if (range === undefined || range.of.size !== n || range.start !== low[0]) return undefined
  return b.reshape(kept(b, range, value), c.type.shape)
}

/** A vector that is k in a range and the pad's value elsewhere: a constant. */
function uniform(b: GraphBuilder, c: Candidate, k: number, start: number, count: number): Tensor {
  const outside = c.attrs.value as number
  const values = Array.from({ length: sizeOf(c.type.shape) }, (_, i) => (i >= start && i < start + count ? k : outside))
  return b.constant(constantOf(values, c.type.shape, c.type.dtype))
}

/** The range that a small vector is a slice of. */
function rangeOf(t: Tensor): Range | undefined {
  const of = t.inputs[0]
  if (t.op.name !== 'slice' || t.rank !== 1 || of === undefined || of.size > smallLoop) return undefined
  const { start, stop, step } = t.attrs as { readonly [name: string]: readonly number[] }
  if (start === undefined || stop === undefined || (step?.[0] ?? 1) !== 1) return undefined
  return { of, start: start[0] as number, stop: stop[0] as number }
}

/** The vector with `value` outside the range. */
function kept(b: GraphBuilder, { of, start, stop }: Range, value: number): Tensor {
  const place = b.make('iota', [], { shape: of.shape, axis: 0, dtype: 'int32' })
  const bound = (name: string, at: number) => b.make(name, [place, b.scalar(at, 'int32')], {})
  const conditions = [start > 0 ? bound('ge', start) : undefined, stop < of.size ? bound('lt', stop) : undefined]
  const [first, second] = conditions.filter((t) => t !== undefined)
  if (first === undefined) return of
  const inside = second === undefined ? first : b.make('logical_and', [first, second], {})
  return b.make('select', [inside, of, b.scalar(value, of.dtype)], {})
}

/** The sum of a slice of a small vector: of the whole vector with zeros outside. */
export function sumOfSlice(b: GraphBuilder, c: Candidate, x: Tensor): Tensor | undefined {
  const range = rangeOf(x)
  if (range === undefined || x.dtype !== 'float32') return undefined
  return b.reshape(b.make('sum', [kept(b, range, 0)], { axes: [0], keepDims: false }), c.type.shape)
}

/** An elementwise op over slices of small vectors that agree is a slice of the op: cheap, and all of it can share one loop. */
export function beforeSlices(b: GraphBuilder, name: string, c: Candidate): Tensor | undefined {
  const wide = c.inputs.filter((t) => t.size !== 1)
  const ranges = wide.map((t) => rangeOf(t))
  const first = ranges[0]
  if (first === undefined || wide.length === 0) return undefined
  const alike = (r: Range | undefined) =>
    r?.start === first.start && r.stop === first.stop && r.of.size === first.of.size
  if (!ranges.every(alike) || sizeOf(c.type.shape) !== first.stop - first.start) return undefined
  const inputs = c.inputs.map((t) => (t.size === 1 ? b.reshape(t, []) : (t.inputs[0] as Tensor)))
  const whole = b.make(name, inputs, c.attrs)
  const part = b.make('slice', [whole], { start: [first.start], stop: [first.stop], step: [1] })
  return b.reshape(part, c.type.shape)
}
