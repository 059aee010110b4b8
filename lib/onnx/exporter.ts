/**
 * Writes a graph as an ONNX model whose batch is free: traces the model at three batch sizes, reads the traces as one graph (align.ts),
 * emits each op by its rule (emitter.ts) and computes what depends on the batch from the input's shape (batch.ts).
 * Files are lib/onnx/save.ts, checking against ONNX Runtime is lib/onnx/verify.ts.
 */
import { create, toBinary } from '@bufbuild/protobuf'
import { LangevinError } from '../graph/errors.ts'
import type { HostTensor } from '../graph/host-tensor.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { packageVersion } from '../runtime/version.ts'
import { alignTraces, type Place, TraceMismatch } from './align.ts'
import { BatchNumbers, type BatchSource } from './batch.ts'
import { emitPlace } from './emitter.ts'
import { bytesOfArray, irVersionOf, type ValueType } from './format.ts'
import { type ModelProto, ModelProtoSchema } from './gen/onnx_pb.ts'
import { nodeNames } from './names.ts'
import { GraphWriter } from './writer.ts'

/** A tensor under the name it has in the model. */
export interface NamedTensor {
  readonly name: string
  readonly tensor: Tensor
}

/** A model traced for one batch size. */
export interface Trace {
  /** Graph inputs (tensors of op `input`), in the order the model declares them. An axis equal to the batch becomes dynamic. */
  readonly inputs: readonly NamedTensor[]
  readonly outputs: readonly NamedTensor[]
  /** Inputs whose values are written into the model, under PyTorch's names. Those that no output needs are left out. */
  readonly parameters: ReadonlyMap<Tensor, { readonly name: string; readonly data: HostTensor }>
}

export interface ExportOptions {
  /** Builds the model for a batch size. Called for several sizes; must build the same graph each time, but for numbers. */
  readonly build: (batch: number) => Trace
  /** ONNX opset, 17 to 21. Default 17. */
  readonly opset?: number
  /** Entries of `metadata_props`; `langevin.version` is added. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Name of the graph. Default `model`. */
  readonly modelName?: string
}

/** Batch sizes of the traces: primes that seldom equal a dimension of the model, and others if they do. */
const batchSizes: readonly (readonly number[])[] = [
  [11, 13, 17],
  [19, 23, 29],
]

/**
 * The ONNX model as bytes.
 * @returns a serialised ModelProto; larger than 2 GB does not fit (use `buildOnnx` and `saveOnnx` with external data)
 * @throws LangevinError E_ONNX when an op has no ONNX form (the message names op, node and reason), when the batch enters in a way that a
 *   model cannot compute, or when an input, output or parameter is missing or named twice; RangeError for an opset outside 17..21
 */
export function exportGraph(options: ExportOptions): Uint8Array {
  return encodeOnnx(buildOnnx(options))
}

/** Serialises a model; E_ONNX if it exceeds the 2 GB that the format can hold in one file. */
export function encodeOnnx(model: ModelProto): Uint8Array {
  const bytes = model.graph?.initializer.reduce((n, t) => n + t.rawData.byteLength, 0) ?? 0
  if (bytes >= 2 ** 31 - 2 ** 20) {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] the parameters take ${bytes} bytes, more than the 2 GB of one ONNX file; save with externalData: true`,
      { bytes },
    )
  }
  return toBinary(ModelProtoSchema, model)
}

/** The ONNX model as a message: what `exportGraph` serialises. Parameter bytes are shared with the host tensors, not copied. */
export function buildOnnx(options: ExportOptions): ModelProto {
  const { opset = 17, metadata = {}, modelName = 'model' } = options
  const irVersion = irVersionOf(opset)
  const { traces, batches, places, outputs } = traceAll(options.build)
  const lead = traces[0] as Trace
  const writer = new GraphWriter()
  for (const i of lead.inputs) writer.reserve(i.name, 'input')
  for (const o of lead.outputs) writer.reserve(o.name, 'output')
  const parameters = reserveParameters(writer, traces, places)
  const numbers = new BatchNumbers(writer, batches, batchSource(traces, batches))
  const typeOf = (tensors: readonly Tensor[], op: string, node: string): ValueType => {
    const first = tensors[0] as Tensor
    const axis = (a: number): number[] => tensors.map((t) => t.shape[a] as number)
    return { dtype: first.dtype, dims: first.shape.map((_, a) => numbers.dimension(axis(a), { op, node })) }
  }
  const values = new Map<Place, string>()
  const inputNames = new Map(lead.inputs.map((i) => [i.tensor, i.name]))
  lead.inputs.forEach((i, at) => {
    const tensors = traces.map((t) => t.inputs[at]?.tensor as Tensor)
    writer.input(i.name, typeOf(tensors, 'input', i.name))
  })
  const nameOf = nodeNames(places, parameters)
  for (const place of places) {
    const tensor = place.tensors[0] as Tensor
    const given = inputNames.get(tensor) ?? parameters.get(tensor)
    if (given !== undefined) values.set(place, given)
    else if (tensor.op.name === 'input') throw unboundInput(tensor)
    else {
      const inputs = place.inputs.map((p) => values.get(p) as string)
      const name = emitPlace({ opset, writer, numbers, nameOf }, place, inputs)
      values.set(place, name)
      writer.describe(name, typeOf(place.tensors, tensor.op.name, nameOf(place)))
    }
  }
  const shown = lead.outputs.map((o, at) => {
    const place = outputs[at] as Place
    return { name: o.name, value: values.get(place) as string, type: typeOf(place.tensors, 'output', o.name) }
  })
  const version = packageVersion()
  return create(ModelProtoSchema, {
    irVersion: BigInt(irVersion),
    producerName: 'langevin',
    producerVersion: version,
    opsetImport: [{ domain: '', version: BigInt(opset) }],
    graph: writer.finish(modelName, shown),
    metadataProps: Object.entries({ 'langevin.version': version, ...metadata }).map(([key, value]) => ({ key, value })),
  })
}

interface Traced {
  readonly traces: readonly Trace[]
  readonly batches: readonly number[]
  readonly places: readonly Place[]
  readonly outputs: readonly Place[]
}

/** Traces at several batch sizes and aligns them; takes other sizes where one of them happened to equal a dimension of the model. */
function traceAll(build: (batch: number) => Trace): Traced {
  let problem: unknown
  for (const batches of batchSizes) {
    const traces = batches.map((b) => build(b))
    try {
      checkTraces(traces)
      const count = (traces[0] as Trace).outputs.length
      const tuples = Array.from({ length: count }, (_, i) => traces.map((t) => t.outputs[i]?.tensor as Tensor))
      return { traces, batches, ...alignTraces(tuples) }
    } catch (error) {
      if (!(error instanceof TraceMismatch)) throw error
      problem ??= error
    }
  }
  throw problem
}

/** Inputs and outputs must be the same list in every trace. */
function checkTraces(traces: readonly Trace[]): void {
  const [lead] = traces as [Trace]
  if (lead.outputs.length === 0) throw new LangevinError('E_ONNX', '[onnx] the model has no outputs; name at least one')
  for (const trace of traces) {
    for (const key of ['inputs', 'outputs'] as const) {
      const names = (t: Trace): string =>
        t[key].map((x) => `${x.name}: ${x.tensor.dtype} rank ${x.tensor.rank}`).join(', ')
      if (names(trace) !== names(lead)) {
        throw new TraceMismatch(`the ${key} differ between batch sizes: (${names(lead)}) and (${names(trace)})`)
      }
    }
    for (const { name, tensor } of trace.inputs) {
      if (tensor.op.name !== 'input') {
        throw new LangevinError(
          'E_ONNX',
          `[onnx] input '${name}' is the result of ${tensor.op.name}; pass a tensor made by input()`,
        )
      }
      if (trace.parameters.has(tensor))
        throw new LangevinError('E_ONNX', `[onnx] '${name}' is both an input and a parameter; choose one`)
    }
  }
}

/** Reserves the names of all parameters and writes those that the graph uses; returns each one's name, for the tensors of the first trace. */
function reserveParameters(
  writer: GraphWriter,
  traces: readonly Trace[],
  places: readonly Place[],
): ReadonlyMap<Tensor, string> {
  const names = new Map<Tensor, string>()
  for (const [tensor, { name }] of (traces[0] as Trace).parameters) {
    writer.reserve(name, 'parameter')
    names.set(tensor, name)
  }
  for (const { tensors } of places) {
    const entries = tensors.map((t, i) => traces[i]?.parameters.get(t))
    const entry = entries[0]
    if (entry === undefined) continue
    const { name, data } = entry
    if (entries.some((e) => e?.name !== name)) {
      throw new TraceMismatch(
        `parameter '${name}' stands where another batch size has ${entries.map((e) => `'${e?.name}'`).join(', ')}`,
      )
    }
    for (const t of tensors) {
      if (!sameShape(t.shape, data.shape) || t.dtype !== data.dtype) {
        throw new LangevinError(
          'E_ONNX',
          `[onnx] parameter '${name}' is ${t.dtype}${showShape(t.shape)} in the graph, but its data is ${data.dtype}${showShape(data.shape)}; ` +
            'give data of the shape that the graph takes, the same for every batch',
          { name },
        )
      }
    }
    writer.parameter(name, data.dtype, data.shape, bytesOfArray(data.data))
  }
  return names
}

/** The first input with an axis that equals the batch in every trace. */
function batchSource(traces: readonly Trace[], batches: readonly number[]): BatchSource | undefined {
  const [lead] = traces as [Trace]
  for (const [at, { name, tensor }] of lead.inputs.entries()) {
    const axis = tensor.shape.findIndex((_, a) => traces.every((t, k) => t.inputs[at]?.tensor.shape[a] === batches[k]))
    if (axis >= 0) return { input: name, axis }
  }
  return undefined
}

function unboundInput(t: Tensor): LangevinError {
  return new LangevinError(
    'E_ONNX',
    `[onnx] the outputs depend on input ${t}, which is neither among the inputs nor among the parameters; add it to one of them`,
    { input: t.label },
  )
}
