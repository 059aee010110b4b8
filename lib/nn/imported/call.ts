/** What the rule of an operator sees of one node: its inputs as graph tensors, its attributes, numbers known while tracing; and how it refuses. */
import { LangevinError } from '../../graph/errors.ts'
import { type Shape, sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { evaluateReference } from '../../ops/evaluate.ts'
import * as ops from '../../ops/index.ts'
import type { Pass } from '../variables.ts'
import { type ConstantRecord, type NodeRecord, type PlainNumber, toNumber } from './record.ts'

/** Shapes of a node's first input and output where the graph's own literal batch runs through it. */
export interface LiteralShapes {
  readonly batch: number
  readonly input: Shape
  readonly output: Shape
}

/** What a call needs of the run it is part of. */
export interface CallSite {
  readonly node: NodeRecord
  readonly opset: number
  readonly pass: Pass
  readonly inputs: readonly (Tensor | undefined)[]
  /** Full name of the variable that an input is, if it is one. */
  variableName(input: number): string | undefined
  /** Shape of an input, also of one whose numbers are not at hand. */
  shapeOf(input: number): Shape
  literal(): LiteralShapes | undefined
  /** The graph was written for another batch than ours. */
  readonly rebatched: boolean
}

/** An operator's rule: the attributes it understands, and the graph it becomes. */
export interface OpRule {
  readonly attributes: readonly string[]
  /** Outputs that it makes; default 1. */
  readonly outputs?: number
  /** In what the result is affine: all inputs together, either one beside fixed others, or the first beside fixed others. Default: nothing. */
  readonly affine?: 'all' | 'either' | 'first'
  /** The result depends on the input's shape only. */
  readonly shapeOnly?: boolean
  /** Why this node is not supported, where that follows from its attributes. */
  refuse?(attributes: Attributes): string | undefined
  build(c: Call): Tensor | readonly Tensor[]
}

/** Attributes of a node by name. */
export class Attributes {
  readonly node: NodeRecord
  readonly opset: number

  constructor(node: NodeRecord, opset: number) {
    this.node = node
    this.opset = opset
  }

  has(name: string): boolean {
    return this.node.attr?.[name] !== undefined
  }

  number(name: string, otherwise: number): number {
    const v = this.node.attr?.[name]
    return typeof v === 'number' || typeof v === 'string' ? toNumber(v as PlainNumber) : otherwise
  }

  text(name: string, otherwise: string): string {
    const v = this.node.attr?.[name]
    return typeof v === 'string' ? v : otherwise
  }

  numbers(name: string): number[] | undefined {
    const v = this.node.attr?.[name]
    return Array.isArray(v) ? v.map((e) => toNumber(e as PlainNumber)) : undefined
  }

  constant(name: string): ConstantRecord | undefined {
    const v = this.node.attr?.[name]
    return typeof v === 'object' && 'dtype' in v ? v : undefined
  }
}

/** `[onnx] node 'conv1' (Conv): ...` */
export function nodeError(node: NodeRecord, reason: string, cause?: unknown): LangevinError {
  return new LangevinError(
    'E_ONNX',
    `[onnx] node '${node.name}' (${node.op}): ${reason}`,
    { node: node.name, op: node.op },
    cause,
  )
}

/** A constant of the graph as a tensor. */
export function constantTensor({ dtype, shape, data }: ConstantRecord): Tensor {
  return ops.constant(data.map(toNumber), shape, dtype)
}

export class Call extends Attributes {
  readonly site: CallSite

  constructor(site: CallSite) {
    super(site.node, site.opset)
    this.site = site
  }

  get count(): number {
    return this.site.inputs.length
  }

  /** Input i. */
  x(i = 0): Tensor {
    const t = this.site.inputs[i]
    if (t === undefined) throw this.fail(`input ${i} is missing`)
    return t
  }

  /** Input i, or undefined where it is left out. */
  maybe(i: number): Tensor | undefined {
    return this.site.inputs[i]
  }

  /** All inputs, none of which may be left out. */
  all(): Tensor[] {
    return this.site.inputs.map((_, i) => this.x(i))
  }

  /** Size of the axis of input 0; the axis may count from the end. */
  axis(value: number, rank = this.x().rank): number {
    const a = value < 0 ? value + rank : value
    if (!(Number.isInteger(a) && a >= 0 && a < rank)) throw this.fail(`axis ${value} is not one of ${rank}`)
    return a
  }

  /** The numbers of input i, which may follow from shapes and constants, but not from the data. */
  known(i: number): number[] | undefined {
    const t = this.site.inputs[i]
    return t === undefined ? undefined : [...this.valuesOf(t, i)]
  }

  /** The numbers of input i, which must be there. */
  needed(i: number): number[] {
    return this.known(i) ?? [...this.valuesOf(this.x(i), i)]
  }

  /** Numbers that older opsets keep in an attribute and newer ones in input i. */
  listed(attribute: string, i: number): number[] | undefined {
    return this.numbers(attribute) ?? this.known(i)
  }

  /** `length` indices along an axis. @throws LangevinError E_ONNX for more than memory should be taken for on a file's word */
  indices(length: number, at: (i: number) => number): Tensor {
    if (!(length >= 0 && length <= mostKnown))
      throw this.fail(`asks for ${length} elements along an axis; at most ${mostKnown} are taken`)
    return ops.constant(
      Int32Array.from({ length }, (_, i) => at(i)),
      [length],
    )
  }

  /** An error that names the node. */
  fail(reason: string): LangevinError {
    return nodeError(this.node, reason)
  }

  private valuesOf(t: Tensor, i: number): Float64Array {
    try {
      return evaluateReference([t])[0]?.data as Float64Array
    } catch (cause) {
      if (!(cause instanceof LangevinError && cause.code === 'E_GRAPH')) throw cause
      throw nodeError(
        this.node,
        `input ${i} ('${this.node.in[i]}') depends on the data or on a weight, but must be known beforehand (a shape, indices, bounds). Export the model with fixed shapes`,
        cause,
      )
    }
  }
}

/** More numbers than this are no part of a sound graph: neither indices along an axis, nor a table that follows from constants alone. */
export const mostKnown = 2 ** 24

/** Elements of a constant that is one number, else undefined. */
export function scalarOf(t: Tensor): number | undefined {
  return t.op.name === 'constant' && sizeOf(t.shape) === 1 ? (t.data?.[0] as number) : undefined
}
