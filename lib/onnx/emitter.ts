/**
 * Emits one place of the aligned graph: runs the op's ONNX rule for every traced batch size, compares the recordings and writes their common
 * form. Initializers may differ (then they are computed from the batch); node attributes may not, as ONNX fixes them.
 */
import { internalError, LangevinError } from '../graph/errors.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Attrs, Tensor } from '../graph/tensor.ts'
import { definitionOf, type OnnxRule } from '../ops/define.ts'
import type { Place } from './align.ts'
import type { Asker, BatchNumbers, Numbers } from './batch.ts'
import { bytesOfArray, elementType } from './format.ts'
import { type Entry, localName, parseLocal, Recorder } from './recorder.ts'
import { attributesKey, type GraphWriter } from './writer.ts'

export interface EmitContext {
  readonly opset: number
  readonly writer: GraphWriter
  readonly numbers: BatchNumbers
  /** Rules that replace those of the ops, by op. */
  readonly rules: ReadonlyMap<string, OnnxRule<Attrs>>
  /** Name for the node that makes the place's value. */
  nameOf(place: Place): string
}

/** Writes the nodes of a place whose inputs have these ONNX names; returns the name of its value. */
export function emitPlace(context: EmitContext, place: Place, inputs: readonly string[]): string {
  const first = place.tensors[0] as Tensor
  if (first.op.name === 'constant') return emitConstant(context, place)
  const asker = { op: first.op.name, node: context.nameOf(place) }
  const recordings = place.tensors.map((t) => record(context, t, inputs, asker))
  const lead = recordings[0] as Recording
  for (const r of recordings) checkSame(lead, r, asker)
  const nodes = lead.entries.filter((e) => e.kind !== 'floats' && e.kind !== 'ints').length
  const made: (readonly string[])[] = []
  const emit = (at: number): readonly string[] => {
    const same = recordings.map((r) => r.entries[at] as Entry)
    const result = parseLocal(lead.result)?.entry === at || nodes === 1
    return emitEntry(context, { same, asker, resolve, result, entries: recordings.map((r) => r.entries) })
  }
  // Numbers are written when first read: a Reshape may do without its batch, and what no node reads costs nothing.
  const resolve = (name: string): string => {
    const local = parseLocal(name)
    if (local === undefined) return name
    made[local.entry] ??= emit(local.entry)
    return made[local.entry]?.[local.output] ?? missing(asker, local.entry)
  }
  return resolve(lead.result)
}

interface Recording {
  readonly entries: readonly Entry[]
  readonly result: string
}

interface EntryContext {
  /** The entry in each trace's recording. */
  readonly same: readonly Entry[]
  readonly entries: readonly (readonly Entry[])[]
  readonly asker: Asker
  /** This entry makes the value of the op, so it takes the op's name. */
  readonly result: boolean
  resolve(name: string): string
}

function emitEntry({ writer, numbers }: EmitContext, c: EntryContext): string[] {
  const entry = c.same[0] as Entry
  const named = (part: string): string => (c.result ? c.asker.node : `${c.asker.node}/${part}`)
  if (entry.kind === 'cast') {
    const to = { int: elementType[entry.to] }
    return [...writer.node('Cast', [c.resolve(entry.value)], { to }, 1, named('Cast'))]
  }
  if (entry.kind === 'node') {
    const target = entry.opType === 'Reshape' ? reshapeTarget(numbers, c, entry.inputs[1]) : undefined
    const inputs = entry.inputs.map((name, i) => (i === 1 && target !== undefined ? target : c.resolve(name)))
    return [...writer.node(entry.opType, inputs, entry.attributes, entry.outputs, named(entry.opType))]
  }
  const columns = columnsOf(c.same)
  return [entry.kind === 'ints' ? numbers.ints(columns, c.asker) : numbers.values(columns, 'float32', c.asker)]
}

/** Reshape finds one dimension itself, which keeps shape arithmetic out of the graph where only the batch moves. */
function reshapeTarget(numbers: BatchNumbers, c: EntryContext, target: string | undefined): string | undefined {
  const local = target === undefined ? undefined : parseLocal(target)
  if (local === undefined) return undefined
  const lists = c.entries.map((e) => e[local.entry] as Entry)
  return lists[0]?.kind === 'ints' ? numbers.ints(columnsOf(lists), c.asker, true) : undefined
}

function columnsOf(entries: readonly Entry[]): Numbers {
  const lists = entries.filter((e) => 'data' in e)
  return { data: lists.map((e) => e.data), shapes: lists.map((e) => e.shape) }
}

/** A constant: as it is when every trace holds the same bytes, otherwise one number of the batch. */
function emitConstant({ writer, numbers, nameOf }: EmitContext, place: Place): string {
  const data = place.tensors.map((t) => {
    if (t.data === undefined || t.data.length !== sizeOf(t.shape)) throw internalError(`constant ${t} holds no data`)
    return t.data
  })
  const [first] = place.tensors as [Tensor]
  const bytes = data.map(bytesOfArray)
  const same = bytes.every((b) => b === bytes[0] || Buffer.compare(b, bytes[0] as Uint8Array) === 0)
  if (same && place.tensors.every((t) => t.shape.every((d, i) => d === first.shape[i]))) {
    return writer.constant(first.dtype, first.shape, bytes[0] as Uint8Array, nameOf(place))
  }
  const asker = { op: 'constant', node: nameOf(place) }
  const lists = { data: data.map((d) => Array.from(d)), shapes: place.tensors.map((t) => t.shape) }
  return numbers.values(lists, first.dtype, asker)
}

function record({ opset, rules }: EmitContext, t: Tensor, inputs: readonly string[], asker: Asker): Recording {
  const rule = rules.get(t.op.name) ?? definitionOf(t).onnx
  if (typeof rule !== 'function') {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] op ${asker.op} at node '${asker.node}' has no ONNX form: ${rule.unsupported}. Export outputs that do not need it`,
      { ...asker, reason: rule.unsupported },
    )
  }
  const recorder = new Recorder(opset)
  const types = t.inputs.map((i) => ({ shape: i.shape, dtype: i.dtype }))
  const output = { shape: t.shape, dtype: t.dtype }
  try {
    const result = rule({ emit: recorder, inputs, types, attrs: t.attrs, output })
    return { entries: recorder.entries, result }
  } catch (cause) {
    if (!(cause instanceof LangevinError && cause.code === 'E_ONNX')) throw cause
    throw new LangevinError(
      'E_ONNX',
      `[onnx] op ${asker.op} at node '${asker.node}': ${cause.message}`,
      { ...asker },
      cause,
    )
  }
}

/** Two recordings may differ in the numbers of initializers, and in nothing else. */
function checkSame(a: Recording, b: Recording, asker: Asker): void {
  const fail = (what: string): never => {
    throw new LangevinError(
      'E_ONNX',
      `[onnx] op ${asker.op} at node '${asker.node}': ${what} depends on the batch, which ONNX fixes in the graph. ` +
        'Export with a fixed batch, or make what depends on it an input',
      { ...asker },
    )
  }
  if (a.entries.length !== b.entries.length || a.result !== b.result) fail('the form of the node')
  a.entries.forEach((x, i) => {
    const y = b.entries[i] as Entry
    if (x.kind === 'node' && y.kind === 'node') {
      if (x.opType !== y.opType || x.outputs !== y.outputs || x.inputs.join('|') !== y.inputs.join('|'))
        fail(`node ${x.opType}`)
      if (attributesKey(x.attributes) !== attributesKey(y.attributes)) {
        fail(`an attribute of ${x.opType} (${attributesKey(x.attributes)} and ${attributesKey(y.attributes)})`)
      }
    } else if (x.kind === 'cast' && y.kind === 'cast') {
      if (x.to !== y.to || x.value !== y.value) fail('a cast')
    } else if (x.kind !== y.kind) fail('the form of the node')
  })
}

function missing(asker: Asker, entry: number): never {
  throw internalError(`the ONNX rule of ${asker.op} reads ${localName(entry, 0).slice(1)} before it is made`)
}
