/**
 * Runs a serialised plan in float64 with the ops' references: the oracle for plans, without native code. Slow; for tests and debugging.
 * It trusts a plan no more than native code does: ids, shapes, order and loop limits are checked.
 */
import { LangevinError } from '../graph/errors.ts'
import {
  broadcastShapes,
  type DType,
  reducedShape,
  sameShape,
  showShape,
  sizeOf,
  type TensorType,
} from '../graph/shape.ts'
import type { Attrs } from '../graph/tensor.ts'
import { allOps, type OpDefinition, type RefArray } from '../ops/define.ts'
import { mostLive } from './emit.ts'
import {
  isLoop,
  type LoopAttr,
  type LoopEntry,
  limits,
  type PlanInstruction,
  type PlanJson,
  type PlanValue,
  type SerializedPlan,
} from './format.ts'

/** A register: values over the whole iteration shape. */
interface Register {
  readonly dtype: DType
  readonly array: RefArray
}

function fail(message: string): never {
  throw new LangevinError('E_PLAN', message)
}

/** Results of the plan for `inputs`, in the order of its outputs. */
export function interpretPlan(plan: SerializedPlan, inputs: readonly RefArray[]): RefArray[] {
  return new Interpreter(JSON.parse(plan.json) as PlanJson, plan.constants).run(inputs)
}

class Interpreter {
  private readonly plan: PlanJson
  private readonly memory = new Map<number, RefArray>()
  private readonly ops: ReadonlyMap<string, OpDefinition> = new Map(allOps().map((d) => [d.name, d]))

  constructor(plan: PlanJson, constants: Uint8Array) {
    this.plan = plan
    for (const c of plan.constants) this.write(c.value, this.constant(c.value, c.offset, constants))
  }

  run(inputs: readonly RefArray[]): RefArray[] {
    if (inputs.length !== this.plan.inputs.length) fail(`takes ${this.plan.inputs.length} inputs; got ${inputs.length}`)
    this.plan.inputs.forEach((id, i) => {
      this.write(id, inputs[i] as RefArray)
    })
    for (const i of this.plan.code) this.step(i)
    return this.plan.outputs.map((o) => this.read(o.value))
  }

  private step(i: PlanInstruction): void {
    const args = i.in.map((id) => this.read(id))
    const first = args[0] as RefArray
    const out = i.out[0] as number
    if (isLoop(i)) this.loop(i, i.attr, args)
    else if (i.op === 'reshape') this.write(out, { shape: this.type(out).shape, data: first.data })
    else if (i.op === 'copy') this.write(out, { shape: first.shape, data: first.data.slice() })
    else this.write(out, this.kernel(i, args, this.type(out)))
  }

  private kernel(i: PlanInstruction, args: readonly RefArray[], type: PlanValue): RefArray {
    const attrs = revived(i.attr as Attrs)
    const d = this.definition(i.op)
    if (i.op !== 'conv2d' || args.length !== 3) return d.reference(args, attrs, type)
    const [x, w, bias] = args as [RefArray, RefArray, RefArray]
    if (!sameShape(bias.shape, [type.shape[1] as number])) fail(`conv2d bias has shape ${showShape(bias.shape)}`)
    const column = { shape: [bias.shape[0] as number, 1, 1], data: bias.data }
    return this.definition('add').reference([d.reference([x, w], attrs, type), column], {}, type)
  }

  private loop(i: PlanInstruction, attr: LoopAttr, args: readonly RefArray[]): void {
    checkLimits(i, attr)
    const registers = args.map((a, at) => this.spread(i.in[at] as number, a, attr.shape))
    for (const entry of attr.program) registers.push(this.entry(entry, registers, attr.shape))
    attr.outputs.forEach((o, at) => {
      const id = i.out[at] as number
      const register = registers[o.register] ?? fail(`loop output reads register ${o.register}`)
      this.write(id, o.reduce === undefined ? register.array : this.reduced(o.reduce, register.array, id, attr))
    })
  }

  private reduced(op: string, x: RefArray, id: number, attr: LoopAttr): RefArray {
    const type = this.type(id)
    const keepDims = type.shape.length === attr.shape.length
    if (!sameShape(type.shape, reducedShape(attr.shape, attr.axes, keepDims))) {
      fail(`value ${id} is declared ${showShape(type.shape)}, which is not the loop's shape reduced`)
    }
    return this.definition(op).reference([x], { axes: attr.axes, keepDims }, type)
  }

  private spread(id: number, a: RefArray, shape: readonly number[]): Register {
    const stored = this.type(id).dtype
    return {
      dtype: stored === 'uint8' ? 'int32' : stored,
      array: this.apply('broadcast', [a], { shape }, stored, shape),
    }
  }

  private entry([op, ...args]: LoopEntry, registers: readonly Register[], shape: readonly number[]): Register {
    const value = args[0] ?? fail(`loop entry ${op} has no operand`)
    if (op === 'const') return { dtype: 'float32', array: filled(value, shape) }
    if (op === 'const_int') return { dtype: 'int32', array: filled(value, shape) }
    if (op === 'iota') return this.result('iota', 'int32', [], { shape, axis: value, dtype: 'int32' }, shape)
    const operands = args.map((r) => registers[r] ?? fail(`loop entry ${op} reads register ${r}, not yet defined`))
    const cast = casts[op]
    if (cast !== undefined) {
      const result = this.result('cast', cast, operands, { dtype: cast }, shape)
      return { dtype: cast === 'uint8' ? 'int32' : cast, array: result.array }
    }
    const names = this.definition(op).constants ?? []
    const plain = operands.slice(0, operands.length - names.length)
    const attrs = Object.fromEntries(names.map((name, k) => [name, operands[plain.length + k]?.array.data[0] ?? 0]))
    const types = plain.map((r): TensorType => ({ shape, dtype: r.dtype }))
    return this.result(op, this.definition(op).infer(types, attrs).dtype, plain, attrs, shape)
  }

  private result(
    op: string,
    dtype: DType,
    args: readonly Register[],
    attrs: Attrs,
    shape: readonly number[],
  ): Register {
    const arrays = args.map((r) => r.array)
    return { dtype, array: this.apply(op, arrays, attrs, dtype, shape) }
  }

  private apply(op: string, args: readonly RefArray[], attrs: Attrs, dtype: DType, shape: readonly number[]): RefArray {
    const last = args[0]
    if (op === 'broadcast' && last && !sameShape(broadcastShapes('loop', last.shape, shape), shape)) {
      fail(`loop input ${showShape(last.shape)} does not broadcast to ${showShape(shape)}`)
    }
    return this.definition(op).reference(args, attrs, { shape, dtype })
  }

  private definition(op: string): OpDefinition {
    return this.ops.get(op) ?? fail(`unknown op ${op}`)
  }

  private type(id: number): PlanValue {
    return this.plan.values[id] ?? fail(`value ${id} is not declared`)
  }

  private read(id: number): RefArray {
    return this.memory.get(id) ?? fail(`value ${id} is read before it is written`)
  }

  private write(id: number, a: RefArray): void {
    const { shape } = this.type(id)
    if (this.memory.has(id)) fail(`value ${id} is written twice`)
    if (!sameShape(shape, a.shape) || a.data.length !== sizeOf(shape)) {
      fail(`value ${id} is declared ${showShape(shape)} and written as ${showShape(a.shape)}`)
    }
    this.memory.set(id, a)
  }

  private constant(id: number, offset: number, blob: Uint8Array): RefArray {
    const { dtype, shape } = this.type(id)
    const n = sizeOf(shape)
    const bytes = blob.slice(offset, offset + n * (dtype === 'float32' || dtype === 'int32' ? 4 : 1))
    const data =
      dtype === 'float32' ? new Float32Array(bytes.buffer) : dtype === 'int32' ? new Int32Array(bytes.buffer) : bytes
    return { shape, data: Float64Array.from(data) }
  }
}

const casts: { readonly [op: string]: DType } = {
  cast_float: 'float32',
  cast_int: 'int32',
  cast_bool: 'bool',
  cast_byte: 'uint8',
}

function filled(value: number, shape: readonly number[]): RefArray {
  return { shape, data: new Float64Array(sizeOf(shape)).fill(value) }
}

/** Attributes whose names stand for numbers that JSON lacks. */
function revived(attrs: Attrs): Attrs {
  const special = new Set<unknown>(['Infinity', '-Infinity', 'NaN'])
  return Object.fromEntries(Object.entries(attrs).map(([k, v]) => [k, special.has(v) ? Number(v) : v]))
}

function checkLimits(i: PlanInstruction, attr: LoopAttr): void {
  if (i.in.length > limits.inputs) fail(`loop has ${i.in.length} inputs`)
  if (i.out.length > limits.outputs || i.out.length !== attr.outputs.length) fail(`loop has ${i.out.length} outputs`)
  const live = mostLive(
    i.in.length,
    attr.program,
    attr.outputs.map((o) => o.register),
  )
  if (live > limits.liveRegisters) fail(`loop needs ${live} registers at once`)
  if (attr.program.length > limits.program) fail(`loop has ${attr.program.length} entries`)
}
