/**
 * One model traced at several batch sizes, read as one graph: the traces are walked in step, and each place holds one node of every trace.
 * Shapes and numeric attributes may differ between them; ops, wiring and everything else may not.
 */
import { LangevinError } from '../graph/errors.ts'
import { showShape } from '../graph/shape.ts'
import type { AttrValue, Tensor } from '../graph/tensor.ts'
import { definitionOf } from '../ops/define.ts'

/** One place of the graph: the node that stands there in each trace. */
export interface Place {
  readonly tensors: readonly Tensor[]
  readonly inputs: readonly Place[]
}

/** Thrown when traces differ in more than numbers; the exporter may try other batch sizes before it gives up. */
export class TraceMismatch extends LangevinError {
  constructor(message: string) {
    super('E_ONNX', `[onnx] ${message}`)
    this.name = 'TraceMismatch'
  }
}

/** Tensors whose values are not computed from what stands below them. */
export interface Cuts {
  /** Given from outside, whatever their op. */
  isBound(t: Tensor): boolean
  /** Another tensor that stands for this one. */
  aliasOf(t: Tensor): Tensor | undefined
}

const noCuts: Cuts = { isBound: () => false, aliasOf: () => undefined }

/** The places below `outputs` (each a tuple: one tensor a trace), inputs before users. Every place appears once. */
export function alignTraces(
  outputs: readonly (readonly Tensor[])[],
  cuts: Cuts = noCuts,
): { places: Place[]; outputs: Place[] } {
  const done = new Map<string, Place>()
  const places: Place[] = []
  const operands = new Map<string, readonly (readonly Tensor[])[]>()
  const stack = [...outputs].reverse()
  while (stack.length > 0) {
    const tuple = stack[stack.length - 1] as readonly Tensor[]
    const key = keyOf(tuple)
    if (done.has(key)) {
      stack.pop()
      continue
    }
    const below = operands.get(key) ?? expand(tuple, cuts)
    operands.set(key, below)
    const missing = below.filter((t) => !done.has(keyOf(t)))
    if (missing.length > 0) {
      stack.push(...missing.reverse())
      continue
    }
    const inputs = below.map((t) => done.get(keyOf(t)) as Place)
    if (isReplaced(tuple, cuts)) {
      done.set(key, inputs[0] as Place)
    } else {
      const place = { tensors: tuple, inputs }
      done.set(key, place)
      places.push(place)
    }
    stack.pop()
  }
  return { places, outputs: outputs.map((t) => done.get(keyOf(t)) as Place) }
}

const keyOf = (tuple: readonly Tensor[]): string => tuple.map((t) => t.id).join(',')

/** Composite ops without an ONNX form of their own stand for their decomposition, and aliases for what they name. */
function isReplaced(tuple: readonly Tensor[], cuts: Cuts): boolean {
  if (cuts.isBound(tuple[0] as Tensor)) return false
  if (cuts.aliasOf(tuple[0] as Tensor) !== undefined) return true
  const definition = definitionOf(tuple[0] as Tensor)
  return typeof definition.onnx !== 'function' && definition.decompose !== undefined
}

/** What a tuple depends on: its inputs, or the one tensor that replaces it. */
function expand(tuple: readonly Tensor[], cuts: Cuts): readonly (readonly Tensor[])[] {
  const first = tuple[0] as Tensor
  for (const t of tuple) checkSame(first, t)
  if (cuts.isBound(first)) return []
  if (cuts.aliasOf(first) !== undefined) return [tuple.map((t) => cuts.aliasOf(t) ?? t)]
  if (!isReplaced(tuple, cuts)) return first.inputs.map((_, i) => tuple.map((t) => t.inputs[i] as Tensor))
  const parts = tuple.map((t) => {
    const part = definitionOf(t).decompose?.(t.inputs, t.attrs) ?? t
    if (t.label !== undefined && part.label === undefined && part !== t && !t.inputs.includes(part)) part.named(t.label)
    return part
  })
  return [parts]
}

function checkSame(a: Tensor, b: Tensor): void {
  if (a === b) return
  const differ = (what: string, x: unknown, y: unknown): never => {
    throw new TraceMismatch(
      `the model builds another graph for another batch size: ${what} is ${x} in one trace and ${y} in another, at ${a} and ${b}. ` +
        'Let the build function use the batch only in shapes',
    )
  }
  if (a.op.name !== b.op.name) differ('an op', a.op.name, b.op.name)
  if (a.inputs.length !== b.inputs.length)
    differ(`the number of inputs of ${a.op.name}`, a.inputs.length, b.inputs.length)
  if (a.dtype !== b.dtype) differ(`the dtype of ${a.op.name}`, a.dtype, b.dtype)
  if (a.rank !== b.rank) differ(`the shape of ${a.op.name}`, showShape(a.shape), showShape(b.shape))
  for (const k of new Set([...Object.keys(a.attrs), ...Object.keys(b.attrs)])) {
    if (!comparable(a.attrs[k], b.attrs[k]))
      differ(`${a.op.name}.${k}`, JSON.stringify(a.attrs[k]), JSON.stringify(b.attrs[k]))
  }
}

/** Equal, or numbers (lists of numbers of one length) that may depend on the batch. */
function comparable(a: AttrValue, b: AttrValue): boolean {
  if (typeof a === 'object' && typeof b === 'object') return a.length === b.length
  if (typeof a === 'number' && typeof b === 'number') return true
  return a === b
}
