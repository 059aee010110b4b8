/**
 * Puts an ONNX graph together: unique names, constants stored once, equal nodes merged, what no output needs dropped. The body of a Loop is
 * a writer of its own that reads the values of the graph around it; what does not depend on the iteration goes to that graph.
 * Knows the file format, not our graph; lib/onnx/exporter.ts drives it.
 */
import { createHash } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { internalError, LangevinError } from '../graph/errors.ts'
import type { Shape } from '../graph/shape.ts'
import type { OnnxAttr } from '../ops/define.ts'
import { attributeType, type ElementType, elementType, int64Bytes, randomOps, type ValueType } from './format.ts'
import {
  type AttributeProto,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './gen/onnx_pb.ts'

export type Attributes = Readonly<Record<string, OnnxAttr>>

/** One node of the graph under construction; names are final except those that become graph outputs. */
interface Node {
  readonly name: string
  readonly opType: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Attributes
  /** Of a Loop. */
  readonly body?: LoopBody
}

/** A value that a graph gives, under a reserved name. */
export interface GraphOutput {
  readonly name: string
  readonly value: string
  readonly type: ValueType
}

/** The finished body of a Loop: its writer (see {@link GraphWriter.child}), name and outputs (condition, carried values, scans). */
export interface LoopBody {
  readonly writer: GraphWriter
  readonly name: string
  readonly outputs: readonly GraphOutput[]
}

export class GraphWriter {
  /** The graph around a body; names are unique over all of them, initializers stand in the outermost. */
  private readonly parent: GraphWriter | undefined
  private readonly names: Set<string>
  private readonly nodes: Node[] = []
  private readonly produced = new Set<string>()
  private readonly known = new Map<string, readonly string[]>()
  private readonly tensors = new Map<string, TensorProto>()
  private readonly constants = new Map<string, string>()
  private readonly inputs: { name: string; type: ValueType }[] = []
  private readonly types = new Map<string, ValueType>()

  constructor(parent?: GraphWriter) {
    this.parent = parent
    this.names = parent?.names ?? new Set()
  }

  /** A writer for the body of a Loop in this graph. Finish it before nodes that come after the Loop. */
  child(): GraphWriter {
    return new GraphWriter(this)
  }

  /** Takes a name that callers chose (inputs, outputs, parameters); E_ONNX if it is taken or empty. */
  reserve(name: string, what: string): void {
    if (name === '' || this.names.has(name)) {
      const why = name === '' ? 'is empty' : 'is used twice'
      throw new LangevinError(
        'E_ONNX',
        `[onnx] ${what} name '${name}' ${why}; give every input, output and parameter a name of its own`,
        {
          name,
        },
      )
    }
    this.names.add(name)
  }

  /** `base`, or `base_1`, `base_2`, ... : a name nobody has yet. */
  unique(base: string): string {
    let name = base
    for (let i = 1; this.names.has(name); i++) name = `${base}_${i}`
    this.names.add(name)
    return name
  }

  /** Declares a graph input; the name must have been reserved. */
  input(name: string, type: ValueType): void {
    this.inputs.push({ name, type })
  }

  /** An initializer under a reserved name: a parameter. */
  parameter(name: string, dtype: ElementType, shape: Shape, bytes: Uint8Array): void {
    this.tensors.set(name, tensorProto(name, dtype, shape, bytes))
  }

  /** An unnamed initializer; equal ones are stored once. Returns its name. */
  constant(dtype: ElementType, shape: Shape, bytes: Uint8Array, base = 'constant'): string {
    if (this.parent !== undefined) return this.parent.constant(dtype, shape, bytes, base)
    const content =
      bytes.byteLength <= 64 ? Buffer.from(bytes).toString('hex') : createHash('sha256').update(bytes).digest('hex')
    const key = `${dtype}[${shape.join(',')}]${content}`
    const known = this.constants.get(key)
    if (known !== undefined) return known
    const name = this.unique(base)
    this.tensors.set(name, tensorProto(name, dtype, shape, bytes))
    this.constants.set(key, name)
    return name
  }

  /** An int64 initializer. */
  ints(data: readonly number[], shape: Shape = [data.length], base = 'ints'): string {
    return this.constant('int64', shape, int64Bytes(data), base)
  }

  /**
   * Adds a node (or finds its equal) and returns the names of its outputs; `''` stands for an absent optional input. In a body, a node
   * that reads outer values only goes to the outer graph, where it runs once.
   */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Attributes = {},
    outputs = 1,
    base = opType,
  ): readonly string[] {
    if (this.parent !== undefined && !randomOps.has(opType) && !inputs.some((i) => this.own(i)))
      return this.parent.node(opType, inputs, attributes, outputs, base)
    const key = `${opType}(${inputs.map((i) => JSON.stringify(i)).join(',')})${attributesKey(attributes)}:${outputs}`
    const known = randomOps.has(opType) ? undefined : this.known.get(key)
    if (known !== undefined) return known
    for (const i of inputs) {
      if (i !== '' && !this.names.has(i)) throw internalError(`ONNX node ${base} reads '${i}', which nothing makes`)
    }
    const name = this.unique(base)
    const results = [name, ...Array.from({ length: outputs - 1 }, (_, i) => this.unique(`${name}:${i + 1}`))]
    this.add({ name, opType, inputs, outputs: results, attributes })
    this.known.set(key, results)
    return results
  }

  /** Adds a Loop over a finished body: inputs are the trip count, the condition (either may be '') and what is carried. Returns one name for each of `outputs`. */
  loop(inputs: readonly string[], body: LoopBody, outputs: readonly string[], base: string): readonly string[] {
    const results = outputs.map((o) => this.unique(o))
    this.add({ name: this.unique(base), opType: 'Loop', inputs, outputs: results, attributes: {}, body })
    return results
  }

  /** Notes the type of a value, for viewers and for the checker's shape inference. */
  describe(name: string, type: ValueType): void {
    if (this.produced.has(name)) this.types.set(name, type)
    else this.parent?.describe(name, type)
  }

  /** The finished graph. `outputs` maps reserved output names to the values they show. */
  finish(name: string, outputs: readonly GraphOutput[]): GraphProto {
    return this.assemble(name, outputs, (v) => v).graph
  }

  private add(node: Node): void {
    this.nodes.push(node)
    for (const r of node.outputs) this.produced.add(r)
  }

  /** Whether this very graph makes the value. */
  private own(name: string): boolean {
    return this.produced.has(name) || this.inputs.some((i) => i.name === name)
  }

  /** The graph, and the names that it reads of the graphs around it; `outer` is what those are called in the end. */
  private assemble(
    name: string,
    outputs: readonly GraphOutput[],
    outer: (value: string) => string,
  ): { graph: GraphProto; needed: ReadonlySet<string> } {
    const renamed = new Map<string, string>()
    for (const o of outputs) {
      if (this.produced.has(o.value) && !renamed.has(o.value)) renamed.set(o.value, o.name)
      else this.nodes.push({ name: o.name, opType: 'Identity', inputs: [o.value], outputs: [o.name], attributes: {} })
    }
    const rename = (v: string): string => renamed.get(v) ?? (this.own(v) ? v : outer(v))
    const needed = new Set(outputs.map((o) => o.name))
    const kept: NodeProto[] = []
    for (const n of [...this.nodes].reverse()) {
      const results = n.outputs.map(rename)
      if (!results.some((r) => needed.has(r))) continue
      const inputs = n.inputs.map(rename)
      const body = n.body?.writer.assemble(n.body.name, n.body.outputs, rename)
      for (const i of [...inputs, ...(body?.needed ?? [])]) needed.add(i)
      kept.push(nodeProto({ ...n, inputs, outputs: results }, body?.graph))
    }
    const graph = create(GraphProtoSchema, {
      name,
      node: kept.reverse(),
      initializer: [...this.tensors.values()].filter((t) => needed.has(t.name)),
      input: this.inputs.map((i) => valueInfo(i.name, i.type)),
      output: outputs.map((o) => valueInfo(o.name, o.type)),
      valueInfo: [...this.types].filter(([v]) => needed.has(v) && !renamed.has(v)).map(([v, t]) => valueInfo(v, t)),
    })
    return { graph, needed }
  }
}

function tensorProto(name: string, dtype: ElementType, shape: Shape, bytes: Uint8Array): TensorProto {
  return create(TensorProtoSchema, { name, dataType: elementType[dtype], dims: shape.map(BigInt), rawData: bytes })
}

function valueInfo(name: string, type: ValueType): ValueInfoProto {
  const dim = type.dims.map((d) => ({
    value:
      typeof d === 'number' ? { case: 'dimValue' as const, value: BigInt(d) } : { case: 'dimParam' as const, value: d },
  }))
  const tensor = { elemType: elementType[type.dtype], shape: { dim } }
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensor } } })
}

function nodeProto(n: Node, body?: GraphProto): NodeProto {
  const attribute = Object.entries(n.attributes).map(([name, value]) => attributeProto(name, value))
  if (body !== undefined)
    attribute.push(create(AttributeProtoSchema, { name: 'body', type: attributeType.graph, g: body }))
  return create(NodeProtoSchema, {
    name: n.name,
    opType: n.opType,
    input: [...n.inputs],
    output: [...n.outputs],
    attribute,
  })
}

function attributeProto(name: string, value: OnnxAttr): AttributeProto {
  if ('int' in value) return create(AttributeProtoSchema, { name, type: attributeType.int, i: BigInt(value.int) })
  if ('ints' in value)
    return create(AttributeProtoSchema, { name, type: attributeType.ints, ints: value.ints.map(BigInt) })
  if ('float' in value) return create(AttributeProtoSchema, { name, type: attributeType.float, f: value.float })
  if ('floats' in value)
    return create(AttributeProtoSchema, { name, type: attributeType.floats, floats: [...value.floats] })
  return create(AttributeProtoSchema, { name, type: attributeType.string, s: new TextEncoder().encode(value.string) })
}

/** Attributes as text that is equal only for equal attributes (JSON would merge NaN with infinity, and 0 with -0). */
export function attributesKey(attributes: Attributes): string {
  const number = (v: number): string => (Object.is(v, -0) ? '-0' : String(v))
  const show = (v: OnnxAttr): string => {
    if ('int' in v) return `i${number(v.int)}`
    if ('ints' in v) return `I${v.ints.map(number).join(',')}`
    if ('float' in v) return `f${number(v.float)}`
    if ('floats' in v) return `F${v.floats.map(number).join(',')}`
    return JSON.stringify(v.string)
  }
  return `{${Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${show(v)}`)
    .join(';')}}`
}
