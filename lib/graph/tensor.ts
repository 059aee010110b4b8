/**
 * A graph tensor: one value of a computation that has not run yet. Graphs are the values reachable through `inputs`;
 * there is no builder object. Ids grow, so ascending id is a topological order. Numbers live in lib/runtime.
 */
import { checkShape, type DType, type Shape, showShape } from './shape.ts'

/** Values an op's attributes may hold: plain data, so that a graph can be printed, hashed and serialised. */
export type AttrValue = number | boolean | string | readonly number[] | undefined
export type Attrs = { readonly [name: string]: AttrValue }

/** What a Tensor needs to know of its op; the whole definition is `OpDefinition` in lib/ops/define.ts. */
export interface OpHandle {
  readonly name: string
}

let nextId = 1
let differentiated: Tensor | undefined

/** One node and its single output. Build tensors with the functions of lib/ops, never directly. */
export class Tensor {
  readonly id: number
  readonly op: OpHandle
  readonly inputs: readonly Tensor[]
  readonly attrs: Attrs
  readonly shape: Shape
  readonly dtype: DType
  /** Contents of a `constant`, row-major. */
  readonly data: Float32Array | Int32Array | Uint8Array | undefined
  /** For people: input names, parameter names, layer names. Not part of identity. */
  label: string | undefined
  /** For people: the tensor whose gradient rule made this one. Not part of identity. */
  readonly gradientOf: Tensor | undefined

  constructor(
    op: OpHandle,
    inputs: readonly Tensor[],
    attrs: Attrs,
    shape: Shape,
    dtype: DType,
    extra: { data?: Float32Array | Int32Array | Uint8Array; label?: string } = {},
  ) {
    checkShape(op.name, shape)
    this.id = nextId++
    this.op = op
    this.inputs = inputs
    this.attrs = attrs
    this.shape = shape
    this.dtype = dtype
    this.data = extra.data
    this.label = extra.label
    this.gradientOf = differentiated
  }

  get rank(): number {
    return this.shape.length
  }

  /** Elements in the tensor. */
  get size(): number {
    return this.shape.reduce((n, d) => n * d, 1)
  }

  /** Names a tensor for printing; returns it. */
  named(label: string): this {
    this.label = label
    return this
  }

  toString(): string {
    return `%${this.id}${this.label ? `(${this.label})` : ''}: ${this.dtype}${showShape(this.shape)}`
  }
}

/** Runs the gradient rule of `of`: the tensors that it makes say so. */
export function differentiating<T>(of: Tensor, rule: () => T): T {
  const before = differentiated
  differentiated = of
  try {
    return rule()
  } finally {
    differentiated = before
  }
}

/** All tensors that `outputs` depend on, inputs before users (ascending id). */
export function topologicalOrder(outputs: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>()
  const stack = [...outputs]
  while (stack.length > 0) {
    const t = stack.pop() as Tensor
    if (seen.has(t)) continue
    seen.add(t)
    for (const i of t.inputs) if (!seen.has(i)) stack.push(i)
  }
  return [...seen].sort((a, b) => a.id - b.id)
}
