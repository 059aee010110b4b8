/** Constants while planning: what a uniform value is, and evaluation of small constant expressions by the ops' references. */
import { type DType, type Shape, sizeOf, type TensorType } from '../graph/shape.ts'
import { type Attrs, type OpHandle, Tensor } from '../graph/tensor.ts'
import type { OpDefinition, RefArray } from '../ops/define.ts'

const constantHandle: OpHandle = { name: 'constant' }
/** Results above this many elements stay computed: a bigger blob costs more than the instruction. */
const foldLimit = 1024
const foldInputLimit = 65536
const foldableKernels = new Set(['transpose', 'slice', 'pad', 'concat', 'gather', 'matmul'])

/** A constant tensor of values that are rounded to the dtype. */
export function constantOf(values: ArrayLike<number>, shape: Shape, dtype: DType): Tensor {
  return new Tensor(constantHandle, [], {}, shape, dtype, { data: typed(values, dtype) })
}

function typed(values: ArrayLike<number>, dtype: DType): Float32Array | Int32Array | Uint8Array {
  if (dtype === 'float32') return Float32Array.from(values)
  return dtype === 'int32' ? Int32Array.from(values) : Uint8Array.from(values)
}

export function isConstant(t: Tensor): boolean {
  return t.op.name === 'constant'
}

/** The one value that every element has, for a constant of one element or a broadcast of one; otherwise undefined. */
export function scalarOf(t: Tensor): number | undefined {
  let at = t
  while (at.op.name === 'broadcast') at = at.inputs[0] as Tensor
  return isConstant(at) && at.data !== undefined && at.data.length === 1 ? at.data[0] : undefined
}

/** The value of all elements of a constant with more than one element, if they agree bit for bit (NaN does not count). */
export function uniformValue(t: Tensor): number | undefined {
  const data = t.data
  const first = data?.[0]
  if (data === undefined || first === undefined || data.length < 2) return undefined
  for (let i = 1; i < data.length; i++) if (!Object.is(data[i], first)) return undefined
  return Number.isNaN(first) ? undefined : first
}

/** Text that is equal for equal constants: exact for short ones, a 53-bit hash for long ones (compare contents then). */
export function contentKey(t: Tensor): string {
  const data = t.data as Float32Array | Int32Array | Uint8Array
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const head = `constant|${t.dtype}|${t.shape.join(',')}|`
  if (bytes.length <= 64) return head + bytes.join(',')
  let a = 0x811c9dc5
  let b = 0x9747b28c
  for (let i = 0; i < bytes.length; i++) {
    a = Math.imul(a ^ (bytes[i] as number), 0x01000193)
    b = Math.imul(b ^ (bytes[i] as number), 0x5bd1e995)
    b ^= b >>> 15
  }
  return `${head}#${a >>> 0}:${b >>> 0}`
}

export function sameContents(a: Tensor, b: Tensor): boolean {
  const x = a.data
  const y = b.data
  if (x === undefined || y === undefined || x.length !== y.length) return false
  for (let i = 0; i < x.length; i++) if (!Object.is(x[i], y[i])) return false
  return true
}

/** Float64 copy of a constant, as references take it. */
export function refOf(t: Tensor): RefArray {
  return { shape: t.shape, data: Float64Array.from(t.data as Float32Array) }
}

/** The node evaluated now, if all inputs are constants and the result is small; random ops and broadcasts are left alone. */
export function fold(d: OpDefinition, inputs: readonly Tensor[], attrs: Attrs, type: TensorType): Tensor | undefined {
  if (inputs.length === 0 || d.name === 'broadcast' || sizeOf(type.shape) > foldLimit) return undefined
  if (d.kind === 'structured' && !foldableKernels.has(d.name)) return undefined
  if (!inputs.every((t) => isConstant(t) && t.size <= foldInputLimit)) return undefined
  const result = d.reference(inputs.map(refOf), attrs, type)
  return constantOf(result.data, type.shape, type.dtype)
}
