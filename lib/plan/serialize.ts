/** Scheduled units to the serialised form: value ids, alias reshapes, the constants' blob. Decides nothing. */
import { internalError, LangevinError } from '../graph/errors.ts'
import { type Shape, sameShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { kernels, type PlanAttr, type PlanInstruction, type PlanJson, type PlanValue } from './format.ts'
import { type Operand, type PlanNode, withoutLeadingOnes } from './node.ts'
import type { Unit } from './schedule.ts'

export interface PlannedOutput {
  readonly operand: Operand
  readonly alias: number | null
}

/** Constants start at multiples of this many bytes in the blob. */
const alignment = 64

export function serialize(
  inputs: readonly Tensor[],
  outputs: readonly PlannedOutput[],
  units: readonly Unit[],
): { plan: PlanJson; constants: Uint8Array } {
  const writer = new PlanWriter(inputs)
  const copies = new Map<number, number>()
  for (const u of units) {
    if (u.loop) writer.loop(u.loop)
    else if (u.kernel) writer.kernel(u.kernel)
    else if (u.copy !== undefined) copies.set(u.copy, writer.copy((outputs[u.copy] as PlannedOutput).operand))
  }
  const results = outputs.map((o, i) => ({ value: copies.get(i) ?? writer.use(o.operand), alias: o.alias }))
  return writer.finish(results)
}

class PlanWriter {
  private readonly values: PlanValue[] = []
  private readonly inputs: number[]
  private readonly constants: { value: number; offset: number; data: Uint8Array }[] = []
  private readonly code: PlanInstruction[] = []
  private readonly inputIds: ReadonlyMap<Tensor, number>
  private readonly ids = new Map<PlanNode, number>()
  private readonly views = new Map<string, number>()
  private blob = 0

  constructor(inputs: readonly Tensor[]) {
    this.inputs = inputs.map((t) => this.value(t.dtype, t.shape))
    this.inputIds = new Map(inputs.map((t, i) => [t, this.inputs[i] as number]))
  }

  /** The value of an operand in exactly its shape. */
  use({ node, shape }: Operand): number {
    const id = this.idOf(node)
    const have = (this.values[id] as PlanValue).shape
    return sameShape(have, shape) ? id : this.view(id, node, shape)
  }

  loop(draft: NonNullable<Unit['loop']>): void {
    const shape = (draft.group.members[0] as PlanNode).iter
    const ins = draft.inputs.map((o) => this.useBroadcast(o, shape.length))
    const outs = draft.outputs.map((o) => this.define(o.node))
    const outputs = draft.outputs.map(({ register, reduce }) => (reduce ? { register, reduce } : { register }))
    const axes = draft.outputs.find((o) => o.reduce)?.node.axes ?? []
    this.code.push({ op: 'loop', in: ins, out: outs, attr: { shape, program: draft.program, outputs, axes } })
  }

  kernel(n: PlanNode): void {
    if (!kernels.has(n.op)) throw internalError(`op ${n.op} has no native kernel and is not decomposed`)
    const ins = n.inputs.map((o) => this.use(o))
    this.code.push({ op: n.op, in: ins, out: [this.define(n)], attr: kernelAttrs(n) })
  }

  copy(o: Operand): number {
    const from = this.use(o)
    const to = this.value((this.values[from] as PlanValue).dtype, o.shape)
    this.code.push({ op: 'copy', in: [from], out: [to], attr: {} })
    return to
  }

  finish(outputs: PlanJson['outputs']): { plan: PlanJson; constants: Uint8Array } {
    const bytes = new Uint8Array(this.blob)
    for (const c of this.constants) bytes.set(c.data, c.offset)
    const constants = this.constants.map(({ value, offset }) => ({ value, offset }))
    const { values, inputs, code } = this
    return { plan: { version: 1, values, inputs, constants, outputs, code }, constants: bytes }
  }

  /** Broadcasting aligns from the right, so leading dimensions of 1 need no view. */
  private useBroadcast(o: Operand, rank: number): number {
    const id = this.idOf(o.node)
    const have = (this.values[id] as PlanValue).shape
    return have.length <= rank && sameShape(withoutLeadingOnes(have), withoutLeadingOnes(o.shape)) ? id : this.use(o)
  }

  private view(id: number, node: PlanNode, shape: Shape): number {
    const key = `${id}:${shape.join(',')}`
    const have = this.views.get(key)
    if (have !== undefined) return have
    const view = this.value(node.tensor.dtype, shape)
    this.code.push({ op: 'reshape', in: [id], out: [view], attr: {} })
    this.views.set(key, view)
    return view
  }

  private idOf(node: PlanNode): number {
    const have = this.ids.get(node) ?? this.inputIds.get(node.tensor)
    if (have !== undefined) return have
    if (node.tensor.data === undefined) throw internalError(`${node.tensor.toString()} is read before it is computed`)
    return this.constant(node, node.tensor.data)
  }

  private constant(node: PlanNode, data: Float32Array | Int32Array | Uint8Array): number {
    const id = this.define(node)
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.constants.push({ value: id, offset: this.blob, data: bytes })
    this.blob += Math.ceil(bytes.length / alignment) * alignment
    return id
  }

  private define(node: PlanNode): number {
    const id = this.value(node.tensor.dtype, node.storeShape)
    this.ids.set(node, id)
    return id
  }

  private value(dtype: PlanValue['dtype'], shape: Shape): number {
    return this.values.push({ dtype, shape: [...shape] }) - 1
  }
}

/** Attributes as JSON: infinities and NaN as their names, which native code reads. */
function kernelAttrs(n: PlanNode): PlanAttr {
  const attr: { [name: string]: unknown } = {}
  for (const [name, value] of Object.entries(n.attrs)) {
    if (value === undefined) continue
    if (Array.isArray(value) && !value.every((v) => Number.isFinite(v))) {
      throw new LangevinError('E_GRAPH', `[${n.op}] attribute ${name} must hold finite numbers; got ${value}`, {
        value,
      })
    }
    attr[name] = typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
  }
  return attr
}
