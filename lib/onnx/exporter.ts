/**
 * Writes a graph as an ONNX model whose batch is free: traces the model at three batch sizes, reads the traces as one graph (trace.ts, align.ts),
 * emits each op by its rule (emitter.ts), a loop over a body where there is one (loop.ts), and computes what depends on the batch from the
 * input's shape (batch.ts).
 * Files are lib/onnx/save.ts, checking against ONNX Runtime is lib/onnx/verify.ts.
 */
import { create, toBinary } from '@bufbuild/protobuf'
import { LangevinError } from '../graph/errors.ts'
import { sameShape, showShape } from '../graph/shape.ts'
import type { Attrs, Tensor } from '../graph/tensor.ts'
import type { OnnxRule } from '../ops/define.ts'
import { packageVersion } from '../runtime/version.ts'
import { type Place, TraceMismatch } from './align.ts'
import { BatchNumbers, type BatchSource } from './batch.ts'
import { emitPlace } from './emitter.ts'
import { bytesOfArray, irVersionOf, type ValueType } from './format.ts'
import { type ModelProto, ModelProtoSchema } from './gen/onnx_pb.ts'
import { bindAll, emitLoop, type Region, regionsOf } from './loop.ts'
import { nodeNames } from './names.ts'
import { type Trace, type Traced, traceAll } from './trace.ts'
import { GraphWriter } from './writer.ts'

export type { NamedTensor, Trace } from './trace.ts'

export interface ExportOptions {
  /** Builds the model for a batch size. Called for several sizes; must build the same graph each time, but for numbers. */
  readonly build: (batch: number) => Trace
  /** ONNX opset, 17 to 21. Default 17. */
  readonly opset?: number
  /** Entries of `metadata_props`; `langevin.version` is added. */
  readonly metadata?: Readonly<Record<string, string>>
  /** Name of the graph. Default `model`. */
  readonly modelName?: string
  /** Rules that replace those of the ops, by op (random.ts). */
  readonly rules?: ReadonlyMap<string, OnnxRule<Attrs>>
}

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
  const { opset = 17, metadata = {}, modelName = 'model', rules = new Map() } = options
  const irVersion = irVersionOf(opset)
  const traced = traceAll(options.build)
  const { traces, places, placeOf } = traced
  const lead = traces[0] as Trace
  const writer = new GraphWriter()
  const inputs = [...lead.inputs, ...(lead.plain ?? [])]
  for (const i of inputs) writer.reserve(i.name, 'input')
  for (const o of [...lead.outputs, ...(lead.loop?.scanned ?? [])]) writer.reserve(o.name, 'output')
  const parameters = reserveParameters(writer, traces, places)
  const numbers = new BatchNumbers(writer, traced.batches, batchSource(traced))
  const typeOf = (tensors: readonly Tensor[], node: string): ValueType => {
    const first = tensors[0] as Tensor
    const axis = (a: number): number[] => tensors.map((t) => t.shape[a] as number)
    const asker = { op: first.op.name, node }
    return { dtype: first.dtype, dims: first.shape.map((_, a) => numbers.dimension(axis(a), asker)) }
  }
  const inputAt = (at: number): Tensor[] => traces.map((t) => t.inputs[at]?.tensor as Tensor)
  inputs.forEach((i, at) => {
    writer.input(i.name, 'tensor' in i ? typeOf(inputAt(at), i.name) : i)
  })
  const leaves = new Map(places.map((p) => [p.tensors[0] as Tensor, p]))
  const values = new Map<Place, string>()
  for (const [tensor, name] of [...parameters, ...lead.inputs.map((i) => [i.tensor, i.name] as const)]) {
    const place = leaves.get(tensor)
    if (place !== undefined) values.set(place, name)
  }
  bindAll(lead.bound ?? new Map(), leaves, values, writer)
  const regions = regionsOf(traced)
  const nameOf = nodeNames(places, parameters)
  const write = (region: Region, into: GraphWriter): void => {
    const context = { opset, rules, writer: into, numbers, nameOf }
    for (const place of places) {
      if (regions.get(place) !== region || values.has(place)) continue
      if (place.tensors[0]?.op.name === 'input') throw unboundInput(place.tensors[0])
      const operands = place.inputs.map((p) => values.get(p) as string)
      const name = emitPlace(context, place, operands)
      values.set(place, name)
      into.describe(name, typeOf(place.tensors, nameOf(place)))
    }
  }
  write('outer', writer)
  const stacked = lead.loop === undefined ? [] : emitLoop({ traced, writer, values, typeOf, write })
  write('after', writer)
  const shown = lead.outputs.map((o, at) => {
    const place = placeOf(traces.map((t) => t.outputs[at]?.tensor as Tensor))
    return { name: o.name, value: values.get(place) as string, type: typeOf(place.tensors, o.name) }
  })
  const version = packageVersion()
  return create(ModelProtoSchema, {
    irVersion: BigInt(irVersion),
    producerName: 'langevin',
    producerVersion: version,
    opsetImport: [{ domain: '', version: BigInt(opset) }],
    graph: writer.finish(modelName, [...shown, ...stacked]),
    metadataProps: Object.entries({ 'langevin.version': version, ...metadata }).map(([key, value]) => ({ key, value })),
  })
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
function batchSource({ traces, batches }: Traced): BatchSource | undefined {
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
