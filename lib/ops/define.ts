/**
 * How an op is defined: once, with shape rule, gradient, float64 reference and ONNX form together.
 * `defineOp` registers the definition and returns the function that builds a node. The definitions stand in the files beside this one.
 */
import { internalError } from '../graph/errors.ts'
import type { DType, Shape, TensorType } from '../graph/shape.ts'
import { type Attrs, type AttrValue, type OpHandle, Tensor } from '../graph/tensor.ts'

/**
 * Where an op runs:
 * - `source`: has no kernel of its own (input, constant);
 * - `elementwise`: becomes an instruction of a fused `loop` kernel; operands broadcast; the result has the common shape;
 * - `reduce`: sum, max, min over axes, a possible tail of a `loop` kernel;
 * - `view`: same elements in the same order (reshape, stop_gradient), no kernel;
 * - `structured`: one native kernel of the same name (conv2d, matmul, gather, ...);
 * - `composite`: is replaced by its `decompose` before planning (logsumexp, normalize, ...).
 */
export type OpKind = 'source' | 'elementwise' | 'reduce' | 'view' | 'structured' | 'composite'

/** A float64 array with a shape: what references compute on. Integers and booleans (0/1) are held as float64 too. */
export interface RefArray {
  readonly shape: Shape
  readonly data: Float64Array
}

export interface GradientContext<A extends Attrs> {
  readonly inputs: readonly Tensor[]
  readonly attrs: A
  readonly output: Tensor
  /** Cotangent of the output: same shape as the output, float32. */
  readonly grad: Tensor
}

/** What an op's ONNX rule may use; implemented by lib/onnx. Names are those of ONNX value infos. */
export interface OnnxEmitter {
  /** The target opset, 17 to 21. */
  readonly opset: number
  /** Adds one ONNX node and returns the names of its outputs (one unless `outputs` says otherwise). */
  node(opType: string, inputs: readonly string[], attrs?: Record<string, OnnxAttr>, outputs?: number): string[]
  /** A float32 initializer. */
  floats(data: readonly number[], shape?: Shape): string
  /** An int64 initializer. */
  ints(data: readonly number[], shape?: Shape): string
  /** Name of the int64 tensor that holds a shape. Entries that depend on the batch are computed at run time. */
  shape(key: string, shape: Shape): string
  /** Casts `value` to an ONNX element type. */
  cast(value: string, to: DType | 'int64'): string
}
export type OnnxAttr =
  | { int: number }
  | { ints: readonly number[] }
  | { float: number }
  | { floats: readonly number[] }
  | { string: string }

export interface OnnxContext<A extends Attrs> {
  readonly emit: OnnxEmitter
  /** ONNX names of the inputs. */
  readonly inputs: readonly string[]
  readonly types: readonly TensorType[]
  readonly attrs: A
  readonly output: TensorType
}
/** Returns the ONNX name of the result; or says why there is no ONNX form. */
export type OnnxRule<A extends Attrs> = ((context: OnnxContext<A>) => string) | { readonly unsupported: string }

export interface OpDefinition<A extends Attrs = Attrs> {
  readonly name: string
  readonly kind: OpKind
  /** Shape and dtype of the result; throws a typed error that names values where the inputs do not fit. */
  infer(inputs: readonly TensorType[], attrs: A): TensorType
  /**
   * Vector-Jacobian product: one cotangent (or null: no dependence) an input, built of ops that have gradients themselves.
   * `'none'` says that the op is piecewise constant or integer-valued: nothing flows back.
   * `{ missing }` says why an op that does depend on float inputs has no rule: asking for it is an error.
   */
  readonly gradient: ((context: GradientContext<A>) => (Tensor | null)[]) | 'none' | { readonly missing: string }
  /** Float64 definition: the oracle of the tests. */
  reference(inputs: readonly RefArray[], attrs: A, output: TensorType): RefArray
  readonly onnx: OnnxRule<A>
  /** Composite ops: the same value in plainer ops. */
  decompose?(inputs: readonly Tensor[], attrs: A): Tensor
  /** Elementwise ops: attributes that become trailing constant operands of the loop instruction, in order. */
  readonly constants?: readonly (keyof A & string)[]
}

const registry = new Map<string, OpDefinition>()

/** What `defineOp` returns: builds a node from inputs and complete attributes. */
export type OpBuilder<A extends Attrs> = OpHandle & ((inputs: readonly Tensor[], attrs: A) => Tensor)

/** Registers a definition and returns the node builder `(inputs, attrs) => Tensor`. */
export function defineOp<A extends Attrs>(
  definition: OpDefinition<A>,
): OpHandle & ((inputs: readonly Tensor[], attrs: A) => Tensor) {
  if (registry.has(definition.name)) throw internalError(`op ${definition.name} is defined twice`)
  registry.set(definition.name, definition as unknown as OpDefinition)
  const build = (inputs: readonly Tensor[], attrs: A): Tensor => {
    const type = definition.infer(inputs, attrs)
    return new Tensor(
      definition as OpHandle,
      inputs,
      attrs as { readonly [k: string]: AttrValue },
      type.shape,
      type.dtype,
    )
  }
  Object.defineProperty(build, 'name', { value: definition.name })
  return build as OpHandle & typeof build
}

/** The definition behind a node. */
export function definitionOf(t: Tensor): OpDefinition {
  const d = registry.get(t.op.name)
  if (d === undefined) throw internalError(`op ${t.op.name} is not defined`)
  return d
}

/** Every definition, in the order of registration. */
export function allOps(): readonly OpDefinition[] {
  return [...registry.values()]
}

/** Rebuilds a node over other inputs (same op, attributes and label). Passes use this. */
export function rebuild(t: Tensor, inputs: readonly Tensor[]): Tensor {
  const d = definitionOf(t)
  if (d.kind === 'source') return t
  const type = d.infer(inputs, t.attrs)
  return new Tensor(d, inputs, t.attrs, type.shape, type.dtype, t.label === undefined ? {} : { label: t.label })
}
