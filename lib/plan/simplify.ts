/**
 * Algebraic rules, applied where the builder makes a node. A rule may change the sign of a zero or the last bit of a constant product,
 * and nothing else: NaN and infinity stay (so x*0 is not 0, and x-x is not 0). Shape rules stand in simplify-shape.ts.
 */
import { broadcastShapes, sameShape, sizeOf, type TensorType } from '../graph/shape.ts'
import type { Attrs, Tensor } from '../graph/tensor.ts'
import type { OpDefinition } from '../ops/define.ts'
import type { GraphBuilder } from './builder.ts'
import { scalarOf } from './constants.ts'
import { shapeRules } from './simplify-shape.ts'
import { beforeSlices } from './simplify-slice.ts'

/** A rule's view of the node that is about to be made; undefined says that it does not apply. */
export interface Candidate {
  readonly inputs: readonly Tensor[]
  readonly attrs: Attrs
  readonly type: TensorType
}
export type Rule = (b: GraphBuilder, c: Candidate) => Tensor | undefined

/** A simpler canonical tensor of the same value, if a rule knows one. */
export function simplify(
  b: GraphBuilder,
  d: OpDefinition,
  inputs: readonly Tensor[],
  attrs: Attrs,
  type: TensorType,
): Tensor | undefined {
  const candidate = { inputs, attrs, type }
  const rule = algebra[d.name] ?? shapeRules[d.name]
  const simple = rule?.(b, candidate)
  if (simple !== undefined) return simple
  if (d.kind !== 'elementwise' || d.name === 'broadcast') return undefined
  return (
    withoutBroadcasts(b, d.name, candidate) ??
    beforeReshapes(b, d.name, candidate) ??
    beforeSlices(b, d.name, candidate)
  )
}

/**
 * An op over reshaped results of elementwise ops runs in their shape: it then shares their loop. (Not over reshaped results of kernels,
 * whose readers are as likely to be in the new shape.)
 */
function beforeReshapes(b: GraphBuilder, name: string, c: Candidate): Tensor | undefined {
  const wide = c.inputs.filter((t) => t.size !== 1)
  const bases = wide.map((t) => (t.op.name === 'reshape' ? (t.inputs[0] as Tensor) : undefined))
  const first = bases[0]
  if (first === undefined || first.size !== sizeOf(c.type.shape)) return undefined
  const alike = (t: Tensor | undefined) =>
    t !== undefined && sameShape(t.shape, first.shape) && b.definition(t.op.name).kind === 'elementwise'
  if (!bases.every(alike)) return undefined
  const inputs = c.inputs.map((t) => (t.size === 1 ? b.reshape(t, []) : (t.inputs[0] as Tensor)))
  return b.reshape(b.make(name, inputs, c.attrs), c.type.shape)
}

/** Operands broadcast by themselves; where all of them do, the op runs on the small shape and the result is broadcast. */
function withoutBroadcasts(b: GraphBuilder, name: string, c: Candidate): Tensor | undefined {
  if (!c.inputs.some((t) => t.op.name === 'broadcast')) return undefined
  const plain = c.inputs.map((t) => (t.op.name === 'broadcast' ? (t.inputs[0] as Tensor) : t))
  const shape = broadcastShapes(name, ...plain.map((t) => t.shape))
  if (sizeOf(shape) === sizeOf(c.type.shape) && !sameShape(shape, c.type.shape)) return undefined
  return b.broadcast(b.make(name, plain, c.attrs), c.type.shape)
}

/** `x` as the result of the node: broadcast where the node's shape is larger. */
function as(b: GraphBuilder, x: Tensor, c: Candidate): Tensor | undefined {
  return x.dtype === c.type.dtype ? b.broadcast(x, c.type.shape) : undefined
}

function binary(c: Candidate): { x: Tensor; y: Tensor; cx: number | undefined; cy: number | undefined } {
  const [x, y] = c.inputs as [Tensor, Tensor]
  return { x, y, cx: scalarOf(x), cy: scalarOf(y) }
}

const add: Rule = (b, c) => {
  const { x, y, cx, cy } = binary(c)
  if (cy === 0) return as(b, x, c)
  if (cx === 0) return as(b, y, c)
  if (y.op.name === 'neg') return b.make('sub', [x, y.inputs[0] as Tensor], {})
  if (x.op.name === 'neg') return b.make('sub', [y, x.inputs[0] as Tensor], {})
  return undefined
}

const sub: Rule = (b, c) => {
  const { x, y, cx, cy } = binary(c)
  if (cy === 0) return as(b, x, c)
  if (cx === 0) return as(b, b.make('neg', [y], {}), c)
  if (y.op.name === 'neg') return b.make('add', [x, y.inputs[0] as Tensor], {})
  return undefined
}

const mul: Rule = (b, c) => {
  const { x, y, cx, cy } = binary(c)
  if (cy !== undefined) return scaled(b, c, x, cy)
  return cx === undefined ? undefined : scaled(b, c, y, cx)
}

/** x * k for a constant k: 1, -1, and constants that meet: (x * a) * k = x * (a k), (-x) * k = x * -k. */
function scaled(b: GraphBuilder, c: Candidate, x: Tensor, k: number): Tensor | undefined {
  if (k === 1) return as(b, x, c)
  if (k === -1) return as(b, b.make('neg', [x], {}), c)
  if (c.type.dtype !== 'float32') return undefined
  if (x.op.name === 'neg') return as(b, b.make('mul', [x.inputs[0] as Tensor, b.scalar(-k, 'float32')], {}), c)
  if (x.op.name !== 'mul') return undefined
  const factor = constantFactor(x)
  if (factor === undefined || !isPlainProduct(factor.k, k)) return undefined
  return as(b, b.make('mul', [factor.x, b.scalar(Math.fround(factor.k * k), 'float32')], {}), c)
}

function constantFactor(t: Tensor): { x: Tensor; k: number } | undefined {
  const [x, y] = t.inputs as [Tensor, Tensor]
  const cy = scalarOf(y)
  if (cy !== undefined) return { x, k: cy }
  const cx = scalarOf(x)
  return cx === undefined ? undefined : { x: y, k: cx }
}

/** The product neither overflows nor loses bits to underflow in float32. */
function isPlainProduct(a: number, k: number): boolean {
  const p = Math.abs(a * k)
  return p >= 2 ** -126 && p < 2 ** 127
}

const div: Rule = (b, c) => {
  const { x, cy } = binary(c)
  if (cy === 1) return as(b, x, c)
  if (cy === undefined || c.type.dtype !== 'float32') return undefined
  // Only where the reciprocal is exact: a power of two.
  const exact = cy !== 0 && Number.isInteger(Math.log2(Math.abs(cy))) && Math.abs(Math.log2(Math.abs(cy))) < 120
  return exact ? as(b, b.make('mul', [x, b.scalar(1 / cy, 'float32')], {}), c) : undefined
}

const neg: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  if (x.op.name === 'neg') return x.inputs[0]
  if (x.op.name === 'sub') return b.make('sub', [x.inputs[1] as Tensor, x.inputs[0] as Tensor], {})
  const factor = x.op.name === 'mul' && x.dtype === 'float32' ? constantFactor(x) : undefined
  if (factor === undefined) return undefined
  return as(b, b.make('mul', [factor.x, b.scalar(-factor.k, 'float32')], {}), c)
}

const pow: Rule = (b, c) => {
  const { x, cy } = binary(c)
  if (c.type.dtype !== 'float32') return undefined
  if (cy === 1) return as(b, x, c)
  if (cy === 2) return as(b, b.make('square', [x], {}), c)
  return cy === -1 ? as(b, b.make('reciprocal', [x], {}), c) : undefined
}

const select: Rule = (b, c) => (c.inputs[1] === c.inputs[2] ? as(b, c.inputs[1] as Tensor, c) : undefined)

const cast: Rule = (b, c) => {
  const x = c.inputs[0] as Tensor
  if (x.dtype === c.type.dtype) return x
  // The counter itself is absorbed into loops of any shape; a conversion of it would be stored.
  return x.op.name === 'iota' && c.type.dtype === 'float32'
    ? b.make('iota', [], { ...x.attrs, dtype: 'float32' })
    : undefined
}

const logicalNot: Rule = (_b, c) => {
  const x = c.inputs[0] as Tensor
  return x.op.name === 'logical_not' ? x.inputs[0] : undefined
}

const algebra: { readonly [op: string]: Rule } = { add, sub, mul, div, neg, pow, select, cast, logical_not: logicalNot }
