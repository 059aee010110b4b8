/** The planner's view of a canonical graph: nodes with operands seen through views and broadcasts, ready to be grouped into loops. */
import { type Shape, sameShape, sizeOf } from '../graph/shape.ts'
import type { Attrs, Tensor } from '../graph/tensor.ts'
import { scalarOf } from './constants.ts'

/** `leaf`: input or constant. `element` and `reduce` become parts of loops, `kernel` an instruction of its own. */
export type PlanNodeKind = 'leaf' | 'element' | 'reduce' | 'kernel'

/** A node as an operand: its elements under a view's shape, which broadcasts (from the right) to where it is used. */
export interface Operand {
  readonly node: PlanNode
  readonly shape: Shape
}

export class PlanNode {
  /** Dense and topological. */
  readonly id: number
  readonly tensor: Tensor
  readonly kind: PlanNodeKind
  readonly inputs: readonly Operand[]
  /** Iteration shape of an element or reduce node: its (input's) shape, where vectors lose all dimensions of 1. */
  readonly iter: Shape
  readonly iterKey: string
  readonly iterSize: number
  /** Of a reduce node, in the iteration shape. */
  readonly axes: readonly number[]
  /** Op name and attributes; a conv2d that took its bias in differs from its tensor, which is the add. */
  readonly op: string
  readonly attrs: Attrs
  /** Of a one-element constant that a loop can hold in its program; signed zero and what JSON cannot say stay in memory. */
  readonly immediate: number | undefined
  /** Must exist in memory. Grouping adds to these. */
  stored: boolean
  /** Cheap and made of at most one full-size tensor: computed again wherever it is needed. Set by recompute.ts. */
  free = false
  /** Elements of the larger loops that read it, repeated along their leading dimensions: those can compute it too. Set by lower.ts. */
  repeats = 0

  constructor(
    id: number,
    tensor: Tensor,
    kind: PlanNodeKind,
    inputs: readonly Operand[],
    frame: Shape,
    as?: { op: string; attrs: Attrs },
  ) {
    this.id = id
    this.tensor = tensor
    this.kind = kind
    this.inputs = inputs
    this.iter = loopShape(frame)
    this.iterKey = this.iter.join(',')
    this.iterSize = sizeOf(frame)
    this.op = as?.op ?? tensor.op.name
    this.attrs = as?.attrs ?? tensor.attrs
    this.axes = kind === 'reduce' ? loopAxes(frame, tensor.attrs.axes as readonly number[]) : []
    this.immediate = kind === 'leaf' ? immediateOf(tensor) : undefined
    this.stored = kind !== 'element'
  }

  /** The shape its value has in memory. */
  get storeShape(): Shape {
    if (this.kind === 'element') return this.iter
    return this.kind === 'reduce' && this.iter.length <= 1 ? [] : this.tensor.shape
  }
}

function immediateOf(t: Tensor): number | undefined {
  const value = scalarOf(t)
  return value === undefined || !Number.isFinite(value) || Object.is(value, -0) ? undefined : value
}

/** Dimensions of 1 go where at most one other is there: so [1,C,1,1], [C] and [1,C] are one iteration shape. */
export function loopShape(shape: Shape): Shape {
  const others = shape.filter((d) => d !== 1)
  return others.length <= 1 ? others : shape
}

export function isVector(shape: Shape): boolean {
  return shape.filter((d) => d !== 1).length <= 1
}

function loopAxes(frame: Shape, axes: readonly number[]): number[] {
  const list = axes.map((a) => (a < 0 ? a + frame.length : a)).sort((a, b) => a - b)
  if (!isVector(frame)) return list
  return list.some((a) => frame[a] !== 1) ? [0] : []
}

/** The operand covers the user's iteration shape element for element, and its node iterates over the same. */
export function sameFrame(o: Operand, user: PlanNode): boolean {
  return o.node.kind === 'element' && o.node.iterKey === user.iterKey && isFull(o, user)
}

/** The operand has as many elements as its user iterates over. */
export function isFull(o: Operand, user: PlanNode): boolean {
  return sizeOf(o.shape) === user.iterSize
}

/** The operand is its whole node, repeated along leading dimensions of a larger loop. */
export function isRepeated(o: Operand, user: PlanNode): boolean {
  const { kind, iter } = o.node
  if (kind !== 'element' || iter.length > user.iter.length) return false
  return sameShape(withoutLeadingOnes(o.shape), withoutLeadingOnes(iter))
}

/** Broadcasting aligns from the right, so leading dimensions of 1 say nothing. */
export function withoutLeadingOnes(shape: Shape): Shape {
  const first = shape.findIndex((d) => d !== 1)
  return first < 0 ? [] : shape.slice(first)
}
