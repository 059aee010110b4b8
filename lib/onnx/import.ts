/**
 * ONNX classifiers and energies from elsewhere as models: the graph becomes one of ours, so that energy, score, chains, out-of-distribution
 * detection and fine-tuning work on it. A file of our own gives back the very network it was written from.
 */
import { checkOptionNames } from '../graph/checks.ts'
import { LangevinError, suggestion } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { type Shape, sameShape, sizeOf } from '../graph/shape.ts'
import type { FlowConfig } from '../nn/flow.ts'
import { FlowModel } from '../nn/flow-model.ts'
import { buildFlow } from '../nn/flows.ts'
import { ForeignGraph } from '../nn/imported/graph.ts'
import { importedNetwork } from '../nn/imported/network.ts'
import {
  type Answer,
  answers,
  type ConstantRecord,
  type ImportedOptions,
  type NodeRecord,
  type VariableRecord,
} from '../nn/imported/record.ts'
import { checkNodes } from '../nn/imported/rules.ts'
import { Model } from '../nn/model.ts'
import type { Network, NetworkConfig } from '../nn/network.ts'
import { buildNetwork } from '../nn/networks.ts'
import type { Device } from '../runtime/devices.ts'
import type { TensorProto } from './gen/onnx_pb.ts'
import { numbersOf, type OnnxFile, readOnnxFile } from './import-file.ts'
import { constantRecord, type GraphInput, neededNodes, type PlainGraph, plainGraph } from './import-graph.ts'
import { type InputNormalization, inputMap } from './import-input.ts'
import { Uses, variableNames } from './import-weights.ts'

export type { InputNormalization } from './import-input.ts'

export interface ImportOptions {
  /** The input that x stands for; default the only one. */
  readonly input?: string
  /** The value that answers, an output or any other of the graph; default the only output, else one called `logits` or `energy`, else the first. */
  readonly output?: string
  /**
   * `classifier`: logits [batch, classes]; of a single column z they are [0, z]. `energy`: [batch] or [batch,1], low where x is likely.
   * `logDensity`: minus an energy. Default: a classifier for two columns or more, or a single one behind a Sigmoid; else an energy.
   */
  readonly kind?: Answer
  /** Leaves out a Softmax, LogSoftmax or single-column Sigmoid at the end, so that logits define the energy; default true. */
  readonly dropSoftmax?: boolean
  /** How the foreign input follows from our x in [-1, 1]; default: it is x. */
  readonly normalization?: InputNormalization
  /** Shape of one example, where the file leaves dimensions open. */
  readonly shape?: Shape
  /** Default 'cpu'. */
  readonly device?: Device
  /** Called with what was changed: converted weights, a Softmax left out. */
  readonly onNote?: (note: string) => void
}

/** What {@link ImportOptions} say of the graph itself; of a file of our own they ask for the graph instead of its network. */
const graphOptions = ['input', 'output', 'kind', 'dropSoftmax', 'normalization', 'shape'] as const

/**
 * The model in an ONNX file (a path, or bytes), of opset 7 or later, with a batch that is free or fixed. Its network is plain data
 * (`{ kind: 'onnx' }`), so runs that train it are opened again without the file. Weights become parameters under their names (`/` and `:` as `.`),
 * batch norms have running statistics; weights of 16 or 64 bits become float32.
 * @throws LangevinError E_ONNX for what is no ONNX model or damaged, and for operators that are not supported, all of them at once with their
 * nodes (`details.unsupported`); E_IO for files that cannot be read; E_CONFIG for options that do not fit the file
 */
export async function importOnnx(source: string | Uint8Array, options: ImportOptions = {}): Promise<Model> {
  checkOptionNames('importOnnx', options, [...graphOptions, 'device', 'onNote'])
  const file = await readOnnxFile(source)
  const plain = graphOptions.every((o) => options[o] === undefined)
  const own = plain ? await ownModel(file, options.device) : undefined
  if (own !== undefined) return own
  const graph = await plainGraph(file)
  const { network, values } = await convert(file, graph, options)
  for (const note of network.notes ?? []) options.onNote?.(note)
  return new Model(importedNetwork(network), { values, ...(options.device && { device: options.device }) })
}

/** The network of a file that this library wrote, where its plan is in the file and the weights are all there. */
async function ownModel(file: OnnxFile, device: Device | undefined): Promise<Model | undefined> {
  const about = new Map(file.model.metadataProps.map((p) => [p.key, p.value]))
  const kind = about.get('langevin.kind')
  if (kind === 'sampler' || kind === 'generator')
    throw new LangevinError('E_ONNX', `[onnx] ${file.source} holds a ${kind}, no energy; import the model's own file`)
  const config = parsed(about.get('langevin.network'))
  if (config === undefined || config.kind === 'custom') return undefined
  const network = builtFrom(config)
  if (network === undefined) return undefined
  const tensors = new Map(file.model.graph?.initializer.map((t) => [t.name, t]))
  // All of them before any memory is taken: what the plan says has to be what the file holds.
  const stored = network.variables.map(({ name, shape }) => ({ name, shape, tensor: tensors.get(name) }))
  if (!stored.every(({ tensor, shape }) => tensor !== undefined && sameShape(tensor.dims.map(Number), shape)))
    return undefined
  const values = new Map<string, HostTensor>()
  for (const { name, shape, tensor } of stored)
    values.set(name, hostTensor((await numbersOf(file, tensor as TensorProto)).data, shape))
  const options = { values, ...(device && { device }) }
  return config.kind === 'flow'
    ? new FlowModel(buildFlow(config.flow as FlowConfig), options)
    : new Model(network, options)
}

/** The network of a plan in a file; undefined for one written in code, of another version or damaged: the graph itself is still there. */
function builtFrom(config: NetworkConfig): Network | undefined {
  try {
    return buildNetwork(config)
  } catch (cause) {
    if (cause instanceof LangevinError && cause.code === 'E_INTERNAL') throw cause
    return undefined
  }
}

function parsed(text: string | undefined): NetworkConfig | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return typeof value === 'object' && value !== null && 'kind' in value ? (value as NetworkConfig) : undefined
  } catch {
    return undefined
  }
}

interface Converted {
  readonly network: ImportedOptions
  readonly values: Map<string, HostTensor>
}

async function convert(file: OnnxFile, graph: PlainGraph, options: ImportOptions): Promise<Converted> {
  if (options.kind !== undefined && !answers.includes(options.kind))
    throw new LangevinError(
      'E_CONFIG',
      `importOnnx: kind '${options.kind}' is not known.${suggestion(String(options.kind), answers)}`,
    )
  const input = chosenInput(file, graph, options.input)
  const { output, dropped } = withoutSoftmax(
    graph,
    chosenOutput(file, graph, options.output),
    options.dropSoftmax ?? true,
  )
  const shape = options.shape ?? exampleShape(file, input)
  const batch = input.dims?.[0]
  const notes =
    dropped === undefined ? [] : [`${dropped.op} '${dropped.name}' at the end was left out: its input is the logits`]
  const nodes = neededNodes(graph, input.name, output)
  checkNodes(nodes, graph.opset, new Set([output, ...nodes.flatMap((n) => n.in)]))
  checkOtherInputs(file, graph, nodes, input.name)
  const split = await splitTensors(file, graph, nodes, input.name, notes)
  const map = options.normalization && inputMap(options.normalization, shape)
  const network: ImportedOptions = {
    shape,
    opset: graph.opset,
    input: input.name,
    output,
    answer: options.kind ?? 'energy',
    nodes,
    constants: split.constants,
    variables: split.variables,
    ...(batch !== undefined && { batch }),
    ...(map && { inputMap: map }),
    ...(notes.length > 0 && { notes }),
  }
  return { network: { ...network, answer: options.kind ?? inferred(network, dropped) }, values: split.values }
}

/** A classifier for two columns or more, or for one behind a Sigmoid. */
function inferred(network: ImportedOptions, dropped: NodeRecord | undefined): Answer {
  if (['log_prob', 'log_prob_unnormalized'].includes(network.output)) return 'logDensity'
  const columns = new ForeignGraph(network).shapesAt(2).get(network.output)?.slice(1) ?? []
  return sizeOf(columns) > 1 || dropped?.op === 'Sigmoid' ? 'classifier' : 'energy'
}

function chosenInput(file: OnnxFile, { inputs }: PlainGraph, name: string | undefined): GraphInput {
  const names = inputs.map((i) => i.name)
  const found = name === undefined ? inputs[0] : inputs.find((i) => i.name === name)
  if (found === undefined || (name === undefined && inputs.length > 1)) {
    const what =
      name === undefined
        ? `has ${inputs.length} inputs (${names.join(', ')}); say which with input`
        : `has no input '${name}'.${suggestion(name, names)}`
    throw new LangevinError('E_CONFIG', `importOnnx: ${file.source} ${what}`)
  }
  // Floats of any width, and bytes, which images often are.
  if (![1, 2, 10, 11, 16].includes(found.elementType))
    throw new LangevinError(
      'E_ONNX',
      `[onnx] ${file.source}: input '${found.name}' has element type ${found.elementType}; an energy takes real numbers (float32, float16, float64 or uint8)`,
    )
  return found
}

function chosenOutput(file: OnnxFile, { outputs }: PlainGraph, name: string | undefined): string {
  const found = name ?? ['logits', 'energy'].find((o) => outputs.includes(o)) ?? outputs[0]
  if (found === undefined) throw new LangevinError('E_ONNX', `[onnx] ${file.source} has no output`)
  return found
}

/** The value before a Softmax at the end, seen through what only renames it. */
function withoutSoftmax(
  graph: PlainGraph,
  output: string,
  drop: boolean,
): { readonly output: string; readonly dropped?: NodeRecord } {
  const makers = new Map(graph.nodes.flatMap((n) => n.out.map((o) => [o, n] as const)))
  let last = makers.get(output)
  while (last !== undefined && ['Identity', 'Cast'].includes(last.op)) last = makers.get(last.in[0] ?? '')
  if (!drop || last === undefined) return { output }
  const before = last.in[0] ?? ''
  const single = last.op === 'Sigmoid' && oneColumn(graph, makers, before)
  return ['Softmax', 'LogSoftmax'].includes(last.op) || single ? { output: before, dropped: last } : { output }
}

/** Whether a value surely has one column: it comes from a layer with one output. */
function oneColumn(graph: PlainGraph, makers: ReadonlyMap<string, NodeRecord>, value: string): boolean {
  const values = new Set([value])
  // The set grows while it is gone through.
  for (const v of values) {
    const node = makers.get(v)
    if (node === undefined) continue
    if (['Add', 'Identity', 'Reshape', 'Flatten', 'Squeeze'].includes(node.op)) for (const i of node.in) values.add(i)
    else if (columnsOf(graph, node) === 1) return true
  }
  return false
}

/** Outputs of a layer, as its weight has them. */
function columnsOf(graph: PlainGraph, { op, in: inputs, attr }: NodeRecord): number | undefined {
  const dims = graph.tensors.get(inputs[1] ?? '')?.dims.map(Number)
  if (op === 'Conv') return dims?.[0]
  if (op === 'Gemm') return dims?.[attr?.transB ? 0 : 1]
  return op === 'MatMul' ? dims?.at(-1) : undefined
}

function exampleShape(file: OnnxFile, { name, dims }: GraphInput): Shape {
  const rest = dims?.slice(1)
  if (rest === undefined || dims?.length === 0 || rest.some((d) => d === undefined)) {
    const shown = rest === undefined ? 'no shape' : `[batch, ${rest.map((d) => d ?? '?').join(', ')}]`
    throw new LangevinError(
      'E_CONFIG',
      `importOnnx: ${file.source} declares input '${name}' with ${shown}; give the shape of one example, such as shape: [3, 32, 32]`,
    )
  }
  return rest as number[]
}

function checkOtherInputs(file: OnnxFile, graph: PlainGraph, nodes: readonly NodeRecord[], input: string): void {
  const read = new Set(nodes.flatMap((n) => n.in))
  const others = graph.inputs.filter((i) => i.name !== input && read.has(i.name)).map((i) => i.name)
  if (others.length > 0)
    throw new LangevinError(
      'E_ONNX',
      `[onnx] ${file.source}: the output also depends on input ${others.join(', ')}; a model takes x alone. Export it with those fixed`,
      { inputs: others },
    )
}

interface SplitTensors {
  readonly constants: Record<string, ConstantRecord>
  readonly variables: VariableRecord[]
  readonly values: Map<string, HostTensor>
}

/** The tensors that the nodes read: constants into the config, weights into variables. */
async function splitTensors(
  file: OnnxFile,
  graph: PlainGraph,
  nodes: readonly NodeRecord[],
  input: string,
  notes: string[],
): Promise<SplitTensors> {
  const uses = new Uses(nodes, input, (v) => graph.tensors.has(v))
  const constants = new Map<string, ConstantRecord>()
  const converted = new Map<string, number>()
  const found: { readonly record: Omit<VariableRecord, 'name'>; readonly data: Float32Array }[] = []
  for (const value of new Set(nodes.flatMap((n) => n.in))) {
    const tensor = graph.tensors.get(value)
    if (tensor === undefined) continue
    const numbers = await numbersOf(file, tensor, value)
    const { shape, data } = numbers
    if (numbers.from !== undefined) converted.set(numbers.from, (converted.get(numbers.from) ?? 0) + 1)
    const { part, init } =
      data instanceof Float32Array ? uses.partOf(value, shape) : { part: 'constant' as const, init: undefined }
    if (part === 'constant' || !(data instanceof Float32Array)) constants.set(value, constantRecord(numbers))
    else found.push({ record: { value, shape, role: part, ...(init !== undefined && { init }) }, data })
  }
  const names = variableNames(found.map((f) => f.record.value))
  // An object of its own names, whatever they are ('__proto__' too).
  const out: SplitTensors = { constants: Object.fromEntries(constants), variables: [], values: new Map() }
  for (const { record, data } of found) {
    const name = names.get(record.value) as string
    out.variables.push({ ...record, name })
    out.values.set(name, hostTensor(data, record.shape))
  }
  for (const [type, n] of converted)
    notes.push(`${n} ${type} tensor${n === 1 ? ' was' : 's were'} converted to float32`)
  return out
}
