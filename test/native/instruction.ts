/** Runs one hand-written instruction natively on host arrays of any dtype. Not a test itself. */

import { expect } from 'vitest'
import { type TypedArray, zeros } from '../../lib/graph/host-tensor.ts'
import type { DType } from '../../lib/graph/shape.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import { addon } from '../../lib/runtime/addon.ts'
import { testDevice } from '../device.ts'
import { compileRaw, type RawPlan } from './plan-json.ts'

export interface Value {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: TypedArray
}

export function floats(shape: readonly number[], data: Iterable<number>): Value {
  return { dtype: 'float32', shape, data: Float32Array.from(data) }
}
export function ints(shape: readonly number[], data: Iterable<number>): Value {
  return { dtype: 'int32', shape, data: Int32Array.from(data) }
}
export function bytes(shape: readonly number[], data: Iterable<number>, dtype: 'uint8' | 'bool' = 'uint8'): Value {
  return { dtype, shape, data: Uint8Array.from(data) }
}

export interface Instruction {
  readonly op: string
  readonly inputs: readonly Value[]
  readonly outputs: readonly { readonly dtype: DType; readonly shape: readonly number[] }[]
  readonly attr: Record<string, unknown>
  /** Rank-4 float32 inputs of this shape pass a 1x1 depthwise convolution by ones first, so that they arrive in its blocked layout. */
  readonly blocked?: readonly number[]
  /** Team size; the plan is compiled for it. */
  readonly threads?: number
  /** Where it runs; the device that is tested where it does not say. */
  readonly device?: string | undefined
  /** Outputs written over inputs: output index to input index. */
  readonly alias?: ReadonlyMap<number, number>
}

/** The outputs, and (with `alias`) the contents of the aliased inputs afterwards are those outputs. */
export async function runInstruction(i: Instruction): Promise<TypedArray[]> {
  const native = addon()
  const { plan, ones } = planOf(i)
  if (i.threads !== undefined) native.setThreads(i.threads)
  const { device = testDevice } = i
  const compiled = await compileRaw(plan, undefined, device)
  const inputs = [...i.inputs, ...ones].map((v) => {
    const t = new native.Tensor(v.dtype, [...v.shape], device)
    void t.write(v.data)
    return t
  })
  const outputs = i.outputs.map((o, at) => {
    const from = i.alias?.get(at)
    return from === undefined
      ? new native.Tensor(o.dtype, [...o.shape], device)
      : (inputs[from] as (typeof inputs)[number])
  })
  await compiled.run(inputs, outputs)
  const results = await Promise.all(outputs.map((t) => t.read()))
  for (const t of new Set([...inputs, ...outputs])) t.dispose()
  compiled.dispose()
  return results
}

function planOf(i: Instruction): { plan: RawPlan; ones: Value[] } {
  const plan: RawPlan = {
    version: 1,
    values: i.inputs.map((v) => ({ dtype: v.dtype, shape: [...v.shape] })),
    inputs: i.inputs.map((_, at) => at),
    constants: [],
    outputs: [],
    code: [],
  }
  const ones: Value[] = []
  const add = (dtype: DType, shape: readonly number[]) => plan.values.push({ dtype, shape: [...shape] }) - 1
  const operands = i.inputs.map((v, at) => {
    if (i.blocked === undefined || v.dtype !== 'float32' || String(v.shape) !== String(i.blocked)) return at
    const groups = v.shape[1] as number
    const weight = add('float32', [groups, 1, 1, 1])
    plan.inputs.push(weight)
    ones.push(floats([groups, 1, 1, 1], new Float32Array(groups).fill(1)))
    const value = add('float32', v.shape)
    const attr = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups }
    plan.code.push({ op: 'conv2d', in: [at, weight], out: [value], attr })
    return value
  })
  const out = i.outputs.map((o) => add(o.dtype, o.shape))
  plan.code.push({ op: i.op, in: operands, out, attr: i.attr })
  plan.outputs = out.map((value, at) => ({ value, alias: i.alias?.get(at) ?? null }))
  return { plan, ones }
}

/** The same elements bit for bit? Faster than toEqual for large arrays; says where they begin to differ. */
export function expectSame(got: TypedArray | undefined, want: TypedArray): void {
  const bits = (t: TypedArray) => Buffer.from(t.buffer, t.byteOffset, t.byteLength)
  if (got !== undefined && got.constructor === want.constructor && bits(got).equals(bits(want))) return
  const first = want.findIndex((v, i) => !Object.is(got?.[i], v))
  expect({ length: got?.length, first, value: got?.[first] }).toEqual({
    length: want.length,
    first,
    value: want[first],
  })
  throw new Error('the arrays differ in type or in the bits of a NaN')
}

/** An array of `n` zeros like the dtype's. */
export function blank(dtype: DType, shape: readonly number[]): TypedArray {
  return zeros(dtype, sizeOf(shape))
}
