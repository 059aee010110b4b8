/**
 * The configuration of a model for NVIDIA Triton Inference Server: config.pbtxt, in protobuf's text format, made from what the ONNX file takes and gives.
 * Names of fields and values are those of Triton's model_config.proto; test/onnx/triton-model-config.proto has the part that is used here.
 */
import { LangevinError } from '../graph/errors.ts'
import type { Port, Signature } from './manifest.ts'

export interface TritonOptions {
  /** Rows that Triton may join in one call; default 64. */
  readonly maxBatch?: number
  /** How long a request waits for others, in microseconds; default 1000. */
  readonly queueDelay?: number
  /** Where instances run: 'auto' (default) is on GPUs where there are any. */
  readonly device?: 'auto' | 'cpu' | 'gpu'
  /** Instances of each model (per GPU, on GPUs); default 1. */
  readonly instances?: number
}

/** A model of the repository. */
export interface TritonModel {
  readonly name: string
  readonly signature: Signature
  /** File of class names, a line each, beside config.pbtxt: the labels of an output. */
  readonly labels?: { readonly output: string; readonly file: string }
  /** Raw little-endian values of inputs for the call that warms the model up, by input; the others get zeros. */
  readonly warmup?: ReadonlyMap<string, string>
  /** Free text that clients can ask for. */
  readonly parameters: Readonly<Record<string, string>>
}

/** A value of the text format: text, a number, a word (an enum's), a block, a list of numbers, or repeated blocks. */
type Value = string | number | boolean | Word | Block | readonly number[] | readonly Block[]
interface Word {
  readonly word: string
}
interface Block {
  readonly [field: string]: Value | undefined
}

/** `TensorProto.DataType` of ONNX as Triton's. */
const dataTypes: ReadonlyMap<number, string> = new Map([
  [1, 'TYPE_FP32'],
  [2, 'TYPE_UINT8'],
  [3, 'TYPE_INT8'],
  [5, 'TYPE_INT16'],
  [6, 'TYPE_INT32'],
  [7, 'TYPE_INT64'],
  [9, 'TYPE_BOOL'],
  [10, 'TYPE_FP16'],
  [11, 'TYPE_FP64'],
])
const kinds = { auto: 'KIND_AUTO', cpu: 'KIND_CPU', gpu: 'KIND_GPU' } as const

/** Every tensor has the batch as its first axis, so that rows of several requests may be joined. */
export function isBatchable({ inputs, outputs }: Signature): boolean {
  const firsts = new Set([...inputs, ...outputs].map((p) => p.dims[0]))
  return firsts.size === 1 && typeof [...firsts][0] === 'string'
}

/** The text of config.pbtxt. @throws LangevinError E_ONNX for element types that Triton has not; RangeError for impossible options */
export function tritonConfig(model: TritonModel, options: TritonOptions = {}): string {
  const { maxBatch = 64, queueDelay = 1000, device = 'auto', instances = 1 } = options
  checkCounts({ maxBatch, instances }, queueDelay)
  const { name, signature, labels, parameters } = model
  const batched = isBatchable(signature)
  const preferred = [1, 2, 4].map((k) => maxBatch / k).filter((n) => n >= 2 && Number.isInteger(n))
  const texts = Object.entries(parameters).map(([key, text]) => ({ key, value: { string_value: text } }))
  return printBlock({
    name,
    platform: 'onnxruntime_onnx',
    max_batch_size: batched ? maxBatch : 0,
    input: signature.inputs.map((p) => port(p, batched)),
    output: signature.outputs.map((p) => ({
      ...port(p, batched),
      label_filename: labels?.output === p.name ? labels.file : undefined,
    })),
    version_policy: { latest: { num_versions: 1 } },
    dynamic_batching: batched
      ? { preferred_batch_size: preferred.sort((a, b) => a - b), max_queue_delay_microseconds: queueDelay }
      : undefined,
    instance_group: [{ kind: { word: kinds[device] }, count: instances }],
    model_warmup: warmups(model, batched ? [1, maxBatch] : [1]),
    parameters: texts.length > 0 ? texts : undefined,
  })
}

function checkCounts(counts: Readonly<Record<string, number>>, delay: number): void {
  for (const [name, n] of Object.entries(counts))
    if (!Number.isInteger(n) || n < 1) throw new RangeError(`exportTriton: ${name} must be an integer ≥ 1; got ${n}`)
  if (!Number.isInteger(delay) || delay < 0)
    throw new RangeError(`exportTriton: queueDelay must be microseconds, an integer ≥ 0; got ${delay}`)
}

/** Dimensions but the batch's; -1 is any. Triton's own API takes no scalars: they are [1] there, reshaped on their way. */
function shapeOf({ dims }: Port, batched: boolean): { readonly dims: number[]; readonly reshape?: Block } {
  const own = (batched ? dims.slice(1) : dims).map((d) => (typeof d === 'number' ? d : -1))
  return own.length > 0 ? { dims: own } : { dims: [1], reshape: { shape: [] } }
}

function port(p: Port, batched: boolean): Block {
  const { dims, reshape } = shapeOf(p, batched)
  return { name: p.name, data_type: dataType(p), dims, reshape }
}

function dataType({ name, elementType }: Port): Word {
  const word = dataTypes.get(elementType)
  if (word === undefined)
    throw new LangevinError(
      'E_ONNX',
      `exportTriton: '${name}' has ONNX element type ${elementType}, which Triton has not`,
    )
  return { word }
}

/** Calls at start, so that the first request finds the model's memory laid out. */
function warmups({ signature, warmup }: TritonModel, batches: readonly number[]): Block[] {
  const batched = isBatchable(signature)
  const inputs = signature.inputs.map((p) => {
    const { dims } = shapeOf(p, batched)
    const file = warmup?.get(p.name)
    const value = { data_type: dataType(p), dims: dims.map((d) => Math.max(1, d)) }
    return {
      key: p.name,
      value: file === undefined ? { ...value, zero_data: true } : { ...value, input_data_file: file },
    }
  })
  return [...new Set(batches)].map((batch) => ({ name: `batch_${batch}`, batch_size: batch, inputs }))
}

function printBlock(block: Block, indent = ''): string {
  return Object.entries(block)
    .filter((e): e is [string, Value] => e[1] !== undefined)
    .map(([field, value]) => printField(field, value, indent))
    .join('')
}

function printField(field: string, value: Value, indent: string): string {
  if (Array.isArray(value)) {
    const list = value as readonly (number | Block)[]
    const blocks = list.filter((v): v is Block => typeof v === 'object')
    if (blocks.length === 0) return `${indent}${field}: [${list.join(', ')}]\n`
    return blocks.map((b) => printField(field, b, indent)).join('')
  }
  if (typeof value === 'object' && !('word' in value))
    return `${indent}${field} {\n${printBlock(value as Block, `${indent}  `)}${indent}}\n`
  const text = typeof value === 'object' ? (value as Word).word : typeof value === 'string' ? quoted(value) : value
  return `${indent}${field}: ${String(text)}\n`
}

/** Text in the format's quotes; UTF-8 may stand as it is. */
function quoted(text: string): string {
  const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n', '\r': '\\r', '\t': '\\t' }
  return `"${text.replace(/[\\"\n\r\t]/g, (c) => escapes[c] ?? c)}"`
}
