/**
 * From canonical tensors to plan nodes: reshapes and broadcasts vanish into operands, a bias joins its convolution, and values that
 * must exist in memory are marked (what kernels and outputs read, and what is read under another iteration shape).
 */
import { type Shape, sameShape } from '../graph/shape.ts'
import { Tensor, topologicalOrder } from '../graph/tensor.ts'
import { definitionOf } from '../ops/define.ts'
import { scalarOf } from './constants.ts'
import { isRepeated, isVector, loopShape, type Operand, PlanNode, sameFrame } from './node.ts'

export interface LoweredGraph {
  /** Inputs before users. */
  readonly nodes: readonly PlanNode[]
  /** One an output of the plan, under the output's own shape. */
  readonly results: readonly Operand[]
}

/** Lowers canonical outputs (see builder.ts). */
export function lower(wanted: readonly Tensor[], convolutionBias: boolean): LoweredGraph {
  const outputs = scaledInside(wanted)
  const order = topologicalOrder(outputs)
  const biased = convolutionBias ? findBiases(order, outputs) : new Map<Tensor, Bias>()
  const taken = new Set([...biased.values()].map((b) => b.conv))
  const nodeOf = new Map<Tensor, PlanNode>()
  const nodes: PlanNode[] = []
  for (const t of order) {
    if (t.op.name === 'reshape' || taken.has(t)) continue
    const bias = biased.get(t)
    const node = bias ? biasedNode(nodes.length, t, bias, nodeOf) : plainNode(nodes.length, t, nodeOf)
    nodeOf.set(t, node)
    nodes.push(node)
  }
  const results = outputs.map((t) => result(wholeOperand(t, nodeOf), nodes))
  markStored(nodes, results)
  return { nodes, results }
}

/** Most elements that are scaled one by one before they are summed, to save the loop that would scale the sum. */
const smallSum = 8192

/** Outputs that are constant multiples of small sums (means), as sums of multiples: one loop instead of two. */
function scaledInside(outputs: readonly Tensor[]): Tensor[] {
  const uses = new Map<Tensor, number>()
  const see = (t: Tensor) => uses.set(t, (uses.get(t) ?? 0) + 1)
  for (const t of topologicalOrder(outputs)) t.inputs.forEach(see)
  outputs.forEach(see)
  return outputs.map((t) => {
    const sum = t.inputs.map(behindReshape).find((i) => i.op.name === 'sum')
    const k = t.inputs.find((i) => scalarOf(i) !== undefined)
    const x = sum?.inputs[0]
    if (t.op.name !== 'mul' || sum === undefined || k === undefined || x === undefined) return t
    const single = [t, sum, ...t.inputs].every((i) => i === k || uses.get(i) === 1)
    if (!single || x.size > smallSum || x.dtype !== 'float32') return t
    const product = new Tensor(t.op, [x, behindBroadcast(k)], t.attrs, x.shape, x.dtype)
    const scaled = new Tensor(sum.op, [product], sum.attrs, sum.shape, sum.dtype)
    return sameShape(scaled.shape, t.shape) ? scaled : new Tensor({ name: 'reshape' }, [scaled], {}, t.shape, t.dtype)
  })
}

/** Most elements of an input or constant that a loop copies to an output among other things; larger ones are copied by themselves. */
const smallCopy = 1024

/** The operand of an output; of a small input or constant, a node that copies it, so that many copies share loops. */
function result(o: Operand, nodes: PlanNode[]): Operand {
  const { dtype } = o.node.tensor
  if (o.node.kind !== 'leaf' || o.node.tensor.size > smallCopy || (dtype !== 'float32' && dtype !== 'int32')) return o
  const t = new Tensor({ name: 'broadcast' }, [o.node.tensor], { shape: o.shape }, o.shape, dtype)
  const operand = { node: o.node, shape: isVector(o.shape) ? loopShape(o.shape) : o.shape }
  const copy = new PlanNode(nodes.length, t, 'element', [operand], o.shape)
  nodes.push(copy)
  return { node: copy, shape: o.shape }
}

function plainNode(id: number, t: Tensor, nodeOf: Map<Tensor, PlanNode>): PlanNode {
  const name = t.op.name
  if (name === 'input' || name === 'constant') return new PlanNode(id, t, 'leaf', [], t.shape)
  const kind = definitionOf(t).kind
  if (kind === 'structured') {
    const inputs = t.inputs.map((i) => wholeOperand(i, nodeOf))
    return new PlanNode(id, t, 'kernel', inputs, t.shape)
  }
  const frame = kind === 'reduce' ? (t.inputs[0] as Tensor).shape : t.shape
  const inputs = t.inputs.map((i) => loopOperand(i, frame, nodeOf))
  return new PlanNode(id, t, kind === 'reduce' ? 'reduce' : 'element', inputs, frame)
}

/** The operand of a kernel or output: exactly the tensor's shape. */
function wholeOperand(t: Tensor, nodeOf: Map<Tensor, PlanNode>): Operand {
  return { node: nodeOf.get(behindReshape(t)) as PlanNode, shape: t.shape }
}

/** The operand of an element or reduce node over `frame`: broadcasting is the reader's. */
function loopOperand(t: Tensor, frame: Shape, nodeOf: Map<Tensor, PlanNode>): Operand {
  const x = behindBroadcast(t)
  const shape = isVector(frame) ? loopShape(x.shape) : x.shape
  return { node: nodeOf.get(behindReshape(x)) as PlanNode, shape }
}

function behindBroadcast(t: Tensor): Tensor {
  let x = t
  while (x.op.name === 'broadcast') x = x.inputs[0] as Tensor
  return x
}

function behindReshape(t: Tensor): Tensor {
  let x = t
  while (x.op.name === 'reshape') x = x.inputs[0] as Tensor
  return x
}

interface Bias {
  readonly conv: Tensor
  readonly bias: Tensor
}

/** add(conv2d(x, w), b) where b is one number a channel and nothing else reads the convolution. */
function findBiases(order: readonly Tensor[], outputs: readonly Tensor[]): Map<Tensor, Bias> {
  const uses = new Map<Tensor, number>()
  const count = (t: Tensor) => uses.set(t, (uses.get(t) ?? 0) + 1)
  for (const t of order) t.inputs.forEach(count)
  outputs.forEach(count)
  const found = new Map<Tensor, Bias>()
  for (const t of order) {
    if (t.op.name !== 'add') continue
    for (const [conv, other] of [t.inputs, [...t.inputs].reverse()] as [Tensor, Tensor][]) {
      if (conv.op.name !== 'conv2d' || conv.inputs.length !== 2 || uses.get(conv) !== 1) continue
      const bias = behindBroadcast(other)
      if (!sameShape(conv.shape, t.shape) || !isPerChannel(bias, conv)) continue
      found.set(t, { conv, bias })
      break
    }
  }
  return found
}

function isPerChannel(bias: Tensor, conv: Tensor): boolean {
  const padded = [...new Array<number>(Math.max(0, 4 - bias.rank)).fill(1), ...bias.shape]
  return bias.dtype === 'float32' && sameShape(padded, [1, conv.shape[1] as number, 1, 1])
}

function biasedNode(id: number, t: Tensor, { conv, bias }: Bias, nodeOf: Map<Tensor, PlanNode>): PlanNode {
  const inputs = conv.inputs.map((i) => wholeOperand(i, nodeOf))
  inputs.push({ node: nodeOf.get(behindReshape(bias)) as PlanNode, shape: [conv.shape[1] as number] })
  return new PlanNode(id, t, 'kernel', inputs, t.shape, { op: 'conv2d', attrs: conv.attrs })
}

function markStored(nodes: readonly PlanNode[], results: readonly Operand[]): void {
  for (const user of nodes) {
    for (const o of user.inputs) {
      if (user.kind === 'kernel') o.node.stored = true
      else if (sameFrame(o, user) || iotaAxis(o, user) !== undefined) continue
      else if (isRepeated(o, user)) o.node.repeats += user.iterSize
      else o.node.stored = true
    }
  }
  for (const o of results) o.node.stored = true
}

/**
 * Where the operand is an iota that the user's loop can count by itself: the axis of the iteration shape, or -1 for a dimension of 1
 * (all zeros). Otherwise undefined.
 */
export function iotaAxis(o: Operand, user: PlanNode): number | undefined {
  const t = o.node.tensor
  if (o.node.op !== 'iota') return undefined
  const axis = t.attrs.axis as number
  const length = t.shape[axis] as number
  if (length === 1) return -1
  if (isVector(o.shape) && t.rank === 1) {
    const at = o.shape.findIndex((d) => d !== 1)
    return at + user.iter.length - o.shape.length
  }
  if (isVector(t.shape) && isVector(user.iter)) return 0
  return sameShape(o.shape, t.shape) ? axis + user.iter.length - t.rank : undefined
}
