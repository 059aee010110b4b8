/**
 * An ONNX graph as plain nodes: attributes as numbers and text, constants apart, copies of weights resolved, and only what the wanted output needs.
 * What the nodes mean is lib/nn/imported; which tensors are weights is import-weights.ts's part.
 */

import { create } from '@bufbuild/protobuf'
import { LangevinError, suggestion } from '../graph/errors.ts'
import type { Shape } from '../graph/shape.ts'
import { type AttributeValue, type ConstantRecord, type NodeRecord, toPlain } from '../nn/imported/record.ts'
import { attributeType } from './format.ts'
import {
  type AttributeProto,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
} from './gen/onnx_pb.ts'
import { numbersOf, type OnnxFile } from './import-file.ts'

/** A graph with its tensors by the name of their value. */
export interface PlainGraph {
  readonly opset: number
  readonly nodes: readonly NodeRecord[]
  /** Initializers and constants, not read yet. */
  readonly tensors: ReadonlyMap<string, TensorProto>
  readonly inputs: readonly GraphInput[]
  readonly outputs: readonly string[]
}

/** An input as the file declares it; undefined dimensions are open. */
export interface GraphInput {
  readonly name: string
  readonly elementType: number
  readonly dims: readonly (number | undefined)[] | undefined
}

/** Opsets before this have broadcasts and axes of their own. */
const oldestOpset = 7

/** @throws LangevinError E_ONNX for an opset that is too old, for sparse weights, for attributes that are no data */
export async function plainGraph(file: OnnxFile): Promise<PlainGraph> {
  const { graph, opsetImport } = file.model
  if (graph === undefined) throw new LangevinError('E_ONNX', `[onnx] ${file.source} holds no graph`)
  const opset = Number(opsetImport.find((o) => o.domain === '' || o.domain === 'ai.onnx')?.version ?? 0)
  if (opset < oldestOpset)
    throw new LangevinError(
      'E_ONNX',
      `[onnx] ${file.source} is of opset ${opset || '?'}; ${oldestOpset} or later is needed. Export it again, or convert it with onnx.version_converter`,
      { opset },
    )
  if (graph.$unknown?.some((f) => f.no === 15))
    throw new LangevinError(
      'E_ONNX',
      `[onnx] ${file.source} has sparse weights, which are not supported; export it with dense ones`,
    )
  checkOrder(file, graph)
  const tensors = new Map(graph.initializer.map((t) => [t.name, t]))
  const nodes: NodeRecord[] = []
  for (const [i, n] of graph.node.entries()) {
    const constant = isOnnx(n) && n.opType === 'Constant' ? constantOf(n) : undefined
    const copied = isOnnx(n) && n.opType === 'Identity' ? tensors.get(n.input[0] ?? '') : undefined
    const made = constant ?? copied
    if (made !== undefined) tensors.set(n.output[0] ?? '', made)
    else nodes.push(await nodeRecord(file, n, i))
  }
  const inputs = graph.input.filter((v) => !tensors.has(v.name)).map(graphInput)
  return { opset, nodes, tensors, inputs, outputs: graph.output.map((o) => o.name) }
}

/** Every value is made once, and before it is read, as the format demands: what follows relies on it, and a graph of circles has no end. */
function checkOrder(file: OnnxFile, { node, input, initializer }: GraphProto): void {
  const made = new Set([...input, ...initializer].map((v) => v.name))
  const read = new Set<string>()
  for (const [i, n] of node.entries()) {
    for (const name of n.input) read.add(name)
    for (const name of n.output.filter((o) => o !== '')) {
      if (!made.has(name) && !read.has(name)) {
        made.add(name)
        continue
      }
      const why = made.has(name) ? 'which is there already' : 'which is read before'
      throw new LangevinError(
        'E_ONNX',
        `[onnx] ${file.source}: node '${nodeName(n, i)}' (${n.opType}) makes the value '${name}', ${why}: the file is damaged (onnx.checker says more)`,
        { node: nodeName(n, i), value: name },
      )
    }
  }
}

function nodeName(n: NodeProto, index: number): string {
  return n.name === '' ? (n.output[0] ?? `node ${index}`) : n.name
}

function isOnnx(n: NodeProto): boolean {
  return n.domain === '' || n.domain === 'ai.onnx'
}

/** The tensor of a Constant node, whichever attribute holds it. */
function constantOf(n: NodeProto): TensorProto | undefined {
  const [a] = n.attribute
  if (a === undefined) return undefined
  if (a.name === 'value') return a.t
  if (a.name === 'value_float') return create(TensorProtoSchema, { dataType: 1, floatData: [a.f] })
  if (a.name === 'value_floats')
    return create(TensorProtoSchema, { dataType: 1, dims: [BigInt(a.floats.length)], floatData: a.floats })
  if (a.name === 'value_int') return create(TensorProtoSchema, { dataType: 7, int64Data: [a.i] })
  if (a.name === 'value_ints')
    return create(TensorProtoSchema, { dataType: 7, dims: [BigInt(a.ints.length)], int64Data: a.ints })
  return undefined
}

async function nodeRecord(file: OnnxFile, n: NodeProto, index: number): Promise<NodeRecord> {
  const found: [string, AttributeValue][] = []
  for (const a of n.attribute) {
    const value = await attributeOf(file, a)
    if (value !== undefined) found.push([a.name, value])
  }
  return {
    op: isOnnx(n) ? n.opType : `${n.domain}.${n.opType}`,
    name: nodeName(n, index),
    in: [...n.input],
    out: [...n.output],
    // An object of its own names, whatever they are ('__proto__' too).
    ...(found.length > 0 && { attr: Object.fromEntries(found) }),
  }
}

/** An attribute as plain data; a subgraph only as a word, as no operator that has one is understood. */
async function attributeOf(file: OnnxFile, a: AttributeProto): Promise<AttributeValue | undefined> {
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
  switch (a.type) {
    case attributeType.float:
      return toPlain(a.f)
    case attributeType.int:
      return Number(a.i)
    case attributeType.string:
      return text(a.s)
    case attributeType.floats:
      return a.floats.map(toPlain)
    case attributeType.ints:
      return a.ints.map(Number)
    case TENSOR:
      return a.t === undefined ? undefined : constantRecord(await numbersOf(file, a.t, a.name))
    case STRINGS:
      return a.strings.map(text)
    default:
      return 'a subgraph'
  }
}

/** Attribute types that we only read. */
const TENSOR = 4
const STRINGS = 8

/** Numbers as a constant of a config. */
export function constantRecord(t: {
  readonly dtype: ConstantRecord['dtype']
  readonly shape: Shape
  readonly data: ArrayLike<number>
}): ConstantRecord {
  return { dtype: t.dtype, shape: t.shape, data: Array.from(t.data, toPlain) }
}

function graphInput(v: ValueInfoProto): GraphInput {
  const type = v.type?.value.case === 'tensorType' ? v.type.value.value : undefined
  const dims = type?.shape?.dim.map((d) => {
    const n = d.value.case === 'dimValue' ? Number(d.value.value) : 0
    return n > 0 ? n : undefined
  })
  return { name: v.name, elementType: type?.elemType ?? 0, dims }
}

/** The nodes that `output` needs, in order; below `input` nothing is needed. @throws LangevinError E_ONNX where nothing makes the output */
export function neededNodes(graph: PlainGraph, input: string, output: string): NodeRecord[] {
  const all = new Set(graph.nodes.flatMap((n) => n.out))
  if (!all.has(output) && output !== input)
    throw new LangevinError(
      'E_ONNX',
      `[onnx] the graph has no value '${output}'.${suggestion(output, [...graph.outputs, ...all])}`,
    )
  const needed = new Set([output])
  const kept: NodeRecord[] = []
  for (const n of [...graph.nodes].reverse()) {
    if (!n.out.some((o) => o !== input && needed.has(o))) continue
    for (const i of n.in) needed.add(i)
    kept.push(n)
  }
  return kept.reverse()
}
