/** Small builders for the ONNX rules of ops. The emitter itself is lib/onnx. */
import type { Attrs } from '../graph/tensor.ts'
import type { OnnxAttr, OnnxContext, OnnxRule } from './define.ts'
import { at } from './ref.ts'

/** One ONNX node of the given type over the op's inputs, in order. */
export function onnxNode(type: string): OnnxRule<Attrs> {
  return ({ emit, inputs }) => at(emit.node(type, inputs), 0)
}

/** Adds a node and returns its only output. */
export function one(
  c: Pick<OnnxContext<Attrs>, 'emit'>,
  type: string,
  inputs: readonly string[],
  attrs?: Record<string, OnnxAttr>,
): string {
  return at(c.emit.node(type, inputs, attrs), 0)
}

/** A reduction node: axes are an input for ReduceSum, and for every reduction from opset 18 on. */
export function onnxReduce(
  c: Pick<OnnxContext<Attrs>, 'emit'>,
  type: string,
  x: string,
  axes: readonly number[],
  keepDims: boolean,
): string {
  const keepdims = { int: keepDims ? 1 : 0 }
  if (type === 'ReduceSum' || c.emit.opset >= 18) return one(c, type, [x, c.emit.ints(axes)], { keepdims })
  return one(c, type, [x], { keepdims, axes: { ints: axes } })
}
