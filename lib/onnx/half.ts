/**
 * An ONNX model in mixed half precision: a pass over the finished message, subgraphs too. Inputs and outputs stay float32 (Cast at the edges).
 *
 * The rule is that of automatic mixed precision (Micikevicius et al. 2018, arXiv:1710.03740; PyTorch's autocast): matrix products and
 * convolutions take and give half, their weights are stored in half; elementwise ops and moves of data are half where all the data they read are,
 * weights and constants following the data; everything else is float32: sums and means, logsumexp and softmax, squares, quotients, powers, roots,
 * exponentials, logarithms, angles, random numbers, what depends on weights alone (norm scales, spectral norms), and the state that a chain
 * carries from step to step. So the energies' sums cannot overflow and a chain's small steps do not vanish. Integers are left as they are.
 */
import { create } from '@bufbuild/protobuf'
import { LangevinError } from '../graph/errors.ts'
import { fromHalfBits, halfBits, largestHalf, toHalfArray } from './float16.ts'
import { bytesOfArray, elementType, randomOps } from './format.ts'
import {
  type AttributeProto,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './gen/onnx_pb.ts'

/** `TensorProto.DataType.FLOAT16`. */
const FLOAT16 = 10

/** What is computed in half whatever comes in: the weight of the work. */
const products: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'MatMul', 'Gemm'])

/** Ops that follow their data, and which inputs those are ('all': every one). */
const followers: ReadonlyMap<string, readonly number[] | 'all'> = new Map([
  ...ops('all', ['Add', 'Sub', 'Mul', 'Max', 'Min', 'Concat', 'Clip']),
  ...ops([0], ['Neg', 'Abs', 'Sign', 'Relu', 'LeakyRelu', 'Elu', 'Sigmoid', 'Tanh', 'Erf', 'Floor', 'Ceil', 'Round']),
  ...ops([0], ['Identity', 'Reshape', 'Flatten', 'Transpose', 'Squeeze', 'Unsqueeze', 'Slice', 'Expand', 'Tile']),
  ...ops([0], ['Gather', 'GatherElements', 'GatherND', 'MaxPool', 'AveragePool', 'Resize']),
  ...ops([0, 2], ['Pad', 'ScatterElements', 'ScatterND']),
  ...ops([1, 2], ['Where']),
])

function ops(data: readonly number[] | 'all', types: readonly string[]) {
  return types.map((type) => [type, data] as const)
}

/** Comparisons follow too, but what they give is no float. */
const comparisons: ReadonlySet<string> = new Set(['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'])

/** What reads only the form of its input. */
const shapes: ReadonlySet<string> = new Set(['Shape', 'Size'])

/** Initializers of fewer numbers are kept in both types where both are read. */
const large = 256

type Form = 'half' | 'single'

/** A value of the old graph: under which name each form of it stands in the new one. */
interface Value {
  readonly name: string
  /** As it was made; the other form is a Cast away. */
  readonly form: Form
  readonly names: Partial<Record<Form, string>>
  /** Follows from weights, constants and shapes alone, so that it takes the type of the data it meets. */
  readonly fixed: boolean
  readonly weight?: Weight
}

/** An initializer, and who reads which form of it: its names are settled at the end. */
interface Weight {
  readonly tensor: TensorProto
  readonly readers: { readonly node: NodeProto; readonly at: number; readonly form: Form }[]
}

/**
 * The model with weights and large products in float16.
 * @returns a new message; `model` and its tensors are left alone
 * @throws LangevinError E_ONNX naming a weight that half precision cannot hold
 */
export function toHalf(model: ModelProto): ModelProto {
  if (model.graph === undefined) throw new LangevinError('E_ONNX', '[onnx] the model holds no graph')
  const names = new Set<string>()
  collectNames(model.graph, names)
  return create(ModelProtoSchema, { ...model, graph: new HalfGraph(model.graph, names).convert() })
}

function collectNames(graph: GraphProto, names: Set<string>): void {
  for (const t of [...graph.initializer, ...graph.input, ...graph.output]) names.add(t.name)
  for (const node of graph.node) {
    for (const name of [node.name, ...node.input, ...node.output]) names.add(name)
    for (const { g } of node.attribute) if (g !== undefined) collectNames(g, names)
  }
}

/** One graph or subgraph under conversion. */
class HalfGraph {
  private readonly graph: GraphProto
  private readonly names: Set<string>
  private readonly parent: HalfGraph | undefined
  private readonly values = new Map<string, Value>()
  private readonly first: NodeProto[] = []
  private readonly nodes: NodeProto[] = []
  private readonly outputs: ReadonlySet<string>

  constructor(graph: GraphProto, names: Set<string>, parent?: HalfGraph) {
    this.graph = graph
    this.names = names
    this.parent = parent
    this.outputs = new Set(graph.output.map((o) => o.name))
  }

  convert(): GraphProto {
    const { graph } = this
    for (const { name } of graph.input)
      this.values.set(name, { name, form: 'single', names: { single: name }, fixed: false })
    for (const tensor of graph.initializer) {
      const weight = tensor.dataType === elementType.float32 ? { weight: { tensor, readers: [] } } : {}
      const { name } = tensor
      this.values.set(name, { name, form: 'single', names: { single: name }, fixed: true, ...weight })
    }
    for (const node of graph.node) this.convertNode(node)
    const initializer = graph.initializer.flatMap((t) => this.settle(this.values.get(t.name) as Value, t))
    const isHalf = (v: ValueInfoProto): boolean => this.values.get(v.name)?.names.half === v.name
    return create(GraphProtoSchema, {
      ...graph,
      initializer,
      node: [...this.first, ...this.nodes],
      valueInfo: graph.valueInfo.map((v) => (isHalf(v) ? halfInfo(v) : v)),
    })
  }

  private convertNode(node: NodeProto): void {
    const inputs = node.input.map((name) => (name === '' ? undefined : this.find(name)))
    const data = dataOf(node, inputs)
    const half = data.some((at) => inputs[at] !== undefined) && this.takesHalf(node, inputs, data)
    const attribute = node.attribute.map((a) => this.convertAttribute(a))
    const made = create(NodeProtoSchema, { ...node, attribute, input: [...node.input], output: [...node.output] })
    inputs.forEach((value, at) => {
      if (value === undefined) return
      const form = half && data.includes(at) ? 'half' : 'single'
      this.read(value, shapes.has(node.opType) ? value.form : form, made, at)
    })
    this.nodes.push(made)
    const fixed = isFixed(node, inputs)
    node.output.forEach((name, i) => {
      if (name === '') return
      // The second output of MaxPool is indices.
      const isHalf = half && i === 0 && !comparisons.has(node.opType)
      if (!isHalf) this.values.set(name, { name, form: 'single', names: { single: name }, fixed })
      else if (this.outputs.has(name)) {
        const inner = this.unique(`${name}/float16`)
        made.output[i] = inner
        this.nodes.push(castNode(inner, name, elementType.float32))
        this.values.set(name, { name, form: 'half', names: { half: inner, single: name }, fixed })
      } else this.values.set(name, { name, form: 'half', names: { half: name }, fixed })
    })
  }

  private convertAttribute(a: AttributeProto): AttributeProto {
    if (a.g === undefined) return a
    return create(AttributeProtoSchema, { ...a, g: new HalfGraph(a.g, this.names, this).convert() })
  }

  /** Whether a node is computed in half: see the head of the file. */
  private takesHalf(node: NodeProto, inputs: readonly (Value | undefined)[], data: readonly number[]): boolean {
    const read = data.flatMap((at) => inputs[at] ?? [])
    if (read.every((v) => v.fixed)) return false
    if (products.has(node.opType)) return true
    if ((!followers.has(node.opType) && !comparisons.has(node.opType)) || adds(node)) return false
    const square = node.opType === 'Mul' && node.input[0] === node.input[1]
    const follows = (v: Value): boolean => v.form === 'half' || (v.fixed && fits(v))
    return !square && read.some((v) => v.form === 'half') && read.every(follows)
  }

  private find(name: string): Value {
    const value = this.values.get(name) ?? this.parent?.find(name)
    if (value === undefined)
      throw new LangevinError('E_ONNX', `[onnx] nothing makes '${name}', which a node reads`, { name })
    return value
  }

  /** Lets input `at` of a node read a form of a value; a missing one is made by a Cast where the value stands. */
  private read(value: Value, form: Form, node: NodeProto, at: number): void {
    if (value.weight !== undefined) {
      value.weight.readers.push({ node, at, form })
      return
    }
    node.input[at] = value.names[form] ?? this.ownerOf(value).cast(value, form)
  }

  private ownerOf(value: Value): HalfGraph {
    return this.values.get(value.name) === value || this.parent === undefined ? this : this.parent.ownerOf(value)
  }

  private cast(value: Value, form: Form): string {
    const name = this.unique(`${value.name}/${form === 'half' ? 'float16' : 'float32'}`)
    const from = value.names[form === 'half' ? 'single' : 'half'] as string
    this.nodes.push(castNode(from, name, form === 'half' ? FLOAT16 : elementType.float32))
    value.names[form] = name
    return name
  }

  private unique(base: string): string {
    let name = base
    for (let i = 1; this.names.has(name); i++) name = `${base}_${i}`
    this.names.add(name)
    return name
  }

  /** The initializers that a weight's readers need, and their names for them. */
  private settle({ weight }: Value, tensor: TensorProto): TensorProto[] {
    const readers = weight?.readers ?? []
    const reads = (form: Form): boolean => readers.some((r) => r.form === form)
    const assign = (form: Form, name: string): void => {
      for (const r of readers) if (r.form === form) r.node.input[r.at] = name
    }
    const bulk = numbersOf(tensor) >= large
    if (weight === undefined || this.outputs.has(tensor.name) || (!reads('half') && !(bulk && fitsHalf(tensor))))
      return [tensor]
    if (reads('single') && !bulk) {
      const name = this.unique(`${tensor.name}/float16`)
      assign('half', name)
      return [tensor, halfTensor(tensor, name)]
    }
    if (reads('single')) {
      const name = this.unique(`${tensor.name}/float32`)
      this.first.push(castNode(tensor.name, name, elementType.float32))
      assign('single', name)
    }
    return [halfTensor(tensor, tensor.name)]
  }
}

/** A scatter that sums what meets at one place: a sum, and one that ONNX Runtime has not in half. */
function adds({ attribute }: NodeProto): boolean {
  return attribute.some((a) => a.name === 'reduction' && new TextDecoder().decode(a.s) !== 'none')
}

/** Positions of a node's inputs that may be float data. */
function dataOf(node: NodeProto, inputs: readonly unknown[]): readonly number[] {
  const data = followers.get(node.opType) ?? 'all'
  return data === 'all' ? inputs.map((_, at) => at) : data
}

function isFixed(node: NodeProto, inputs: readonly (Value | undefined)[]): boolean {
  if (shapes.has(node.opType)) return true
  if (randomOps.has(node.opType) || node.attribute.some((a) => a.g !== undefined)) return false
  return inputs.every((v) => v === undefined || v.fixed)
}

/** Whether a value may follow the data: a weight or constant that half can hold, or what is computed of such. */
function fits({ weight }: Value): boolean {
  return weight === undefined || fitsHalf(weight.tensor)
}

/** Every finite number stays finite, and a single number keeps three digits (a list has its own scale, beside which the smallest may vanish). */
function fitsHalf(tensor: TensorProto): boolean {
  const values = floatsOf(tensor)
  const [only] = values
  if (values.length === 1 && only !== undefined && Number.isFinite(only)) {
    return Math.abs(fromHalfBits(halfBits(only)) - only) <= 1e-3 * Math.abs(only)
  }
  return values.every((v) => !Number.isFinite(v) || Math.abs(v) <= largestHalf)
}

function halfTensor(tensor: TensorProto, name: string): TensorProto {
  const values = floatsOf(tensor)
  const wrong = values.find((v) => Number.isFinite(v) && Math.abs(v) > largestHalf)
  if (wrong !== undefined) {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] '${tensor.name}' holds ${wrong}, and half precision ends at ${largestHalf}: export with precision 'float32'`,
      { name: tensor.name, value: wrong },
    )
  }
  const data = toHalfArray(values)
  const rawData = bytesOfArray(new Uint8Array(data.buffer))
  return create(TensorProtoSchema, { name, dims: [...tensor.dims], dataType: FLOAT16, rawData })
}

function floatsOf({ rawData }: TensorProto): Float32Array {
  // A view where the bytes are aligned, as those of parameters are.
  if (rawData.byteOffset % 4 === 0) return new Float32Array(rawData.buffer, rawData.byteOffset, rawData.byteLength / 4)
  return new Float32Array(rawData.slice().buffer)
}

function numbersOf({ dims }: TensorProto): number {
  return dims.reduce((n, d) => n * Number(d), 1)
}

function castNode(from: string, to: string, type: number): NodeProto {
  const attribute = create(AttributeProtoSchema, { name: 'to', type: 2, i: BigInt(type) })
  return create(NodeProtoSchema, { name: to, opType: 'Cast', input: [from], output: [to], attribute: [attribute] })
}

function halfInfo(info: ValueInfoProto): ValueInfoProto {
  const value = info.type?.value
  if (value?.case !== 'tensorType') return info
  const tensor = { ...value.value, elemType: FLOAT16 }
  return create(ValueInfoProtoSchema, { name: info.name, type: { value: { case: 'tensorType', value: tensor } } })
}
