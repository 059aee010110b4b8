/** What fused loops mean: every instruction in float64, programs by it, and the comparison of a device's results with that. */
import { expect } from 'vitest'
import { type DType, reducedShape, sizeOf } from '../../../lib/graph/shape.ts'
import { erfReference, roundHalfEven } from '../../../lib/ops/ref.ts'
import { bytes, floats, ints, runInstruction, type Value } from '../instruction.ts'
import { generator } from '../plan-json.ts'

export type Row = readonly [string, ...number[]]
export type Kind = 'float32' | 'int32' | 'bool'
export interface Output {
  readonly register: number
  readonly reduce?: 'sum' | 'max' | 'min'
}

const rem = (a: number, b: number) => (b === 0 ? 0 : a - b * Math.floor(a / b))
const truncated = (x: number, low: number, high: number) =>
  Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x)))

/** The scalar meaning of each instruction in float64; int32 results wrap around afterwards. */
export const meaning: Record<string, (a: number, b: number, c: number) => number> = {
  neg: (a) => -a,
  abs: Math.abs,
  sign: Math.sign,
  square: (a) => a * a,
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  rsqrt: (a) => 1 / Math.sqrt(a),
  reciprocal: (a) => 1 / a,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sigmoid: (a) => (a >= 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a))),
  softplus: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
  relu: (a) => Math.max(a, 0),
  leaky_relu: (a, b) => (a < 0 ? a * b : a),
  erf: erfReference,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfEven,
  is_finite: (a) => Number(Number.isFinite(a)),
  logical_not: (a) => Number(a === 0),
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  pow: (a, b) => a ** b,
  maximum: (a, b) => Math.max(a, b),
  minimum: (a, b) => Math.min(a, b),
  rem,
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
  logical_and: (a, b) => a & b,
  logical_or: (a, b) => a | b,
  select: (a, b, c) => (a !== 0 ? b : c),
  clamp: (a, b, c) => (a < b ? b : Math.min(a, c)),
  cast_float: (a) => a,
  cast_int: (a) => truncated(a, -(2 ** 31), 2 ** 31 - 1),
  cast_bool: (a) => Number(a !== 0),
  cast_byte: (a) => truncated(a, 0, 255),
}
const integerMeaning: typeof meaning = {
  mul: (a, b) => Math.imul(a, b),
  square: (a) => Math.imul(a, a),
  div: (a, b) => (b === 0 ? 0 : Math.floor(a / b)),
  pow: (a, b) => Array.from({ length: Math.max(0, b) }).reduce((p: number) => Math.imul(p, a), 1),
}

export const comparisons = 'eq ne lt le gt ge'.split(' ')
const isFloat = (v: Value) => v.dtype === 'float32'

export function evaluate(op: string, float: boolean, a: number, b: number, c: number): number {
  const f = ((float ? undefined : integerMeaning[op]) ?? meaning[op]) as (a: number, b: number, c: number) => number
  return f(a, b, c)
}

/** Registers of a program as flat float64 arrays over the iteration shape, rounded as registers are. */
export function registersOf(
  shape: readonly number[],
  inputs: readonly Value[],
  program: readonly Row[],
): Float64Array[] {
  const total = sizeOf(shape)
  const floatRegister = inputs.map(isFloat)
  const registers = inputs.map((v) =>
    Float64Array.from({ length: total }, (_, e) => v.data[offsetOf(shape, v, e)] as number),
  )
  for (const [op, ...args] of program) {
    const [x, y, z] = args as [number, number, number]
    if (op === 'const' || op === 'const_int') {
      registers.push(new Float64Array(total).fill(x))
      floatRegister.push(op === 'const')
    } else if (op === 'iota') {
      registers.push(Float64Array.from({ length: total }, (_, e) => indexOf(shape, e)[x] as number))
      floatRegister.push(false)
    } else {
      const float = floatRegister[op === 'select' ? y : x] as boolean
      const result = float
        ? !op.startsWith('cast') && !comparisons.includes(op) && op !== 'is_finite'
        : op === 'cast_float'
      const at = (r: number, e: number) => registers[r]?.[e] ?? 0
      const own = Float64Array.from({ length: total }, (_, e) => evaluate(op, float, at(x, e), at(y, e), at(z, e)))
      registers.push(
        result ? Float64Array.from(Float32Array.from(own)) : op.startsWith('cast') ? own : own.map((v) => v | 0),
      )
      floatRegister.push(result)
    }
  }
  return registers
}

function indexOf(shape: readonly number[], e: number): number[] {
  const index: number[] = []
  for (let i = shape.length - 1; i >= 0; i--) {
    index.unshift(e % (shape[i] as number))
    e = Math.floor(e / (shape[i] as number))
  }
  return index
}

function offsetOf(shape: readonly number[], v: Value, e: number): number {
  const index = indexOf(shape, e).slice(shape.length - v.shape.length)
  return v.shape.reduce((o, d, i) => o * d + (d === 1 ? 0 : (index[i] as number)), 0)
}

function reduceReference(shape: readonly number[], axes: readonly number[], x: Float64Array, how: string): number[] {
  const kept = shape.map((_, i) => i).filter((i) => !axes.includes(i))
  const start = how === 'sum' ? 0 : how === 'max' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  const out = new Array<number>(sizeOf(reducedShape(shape, axes, false))).fill(start)
  x.forEach((value, e) => {
    const index = indexOf(shape, e)
    const at = kept.reduce((o, i) => o * (shape[i] as number) + (index[i] as number), 0)
    const have = out[at] as number
    out[at] = how === 'sum' ? have + value : how === 'max' ? Math.max(have, value) : Math.min(have, value)
  })
  return out
}

export function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length)
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] as number, want[i] as number]
    if (Object.is(g, w) || g === w) continue
    const error = Math.abs(g - w) / Math.max(1, Math.abs(w))
    if (!(error <= tolerance)) throw new Error(`${what}: element ${i} is ${g}, not ${w}`)
  }
}

interface LoopCase {
  readonly shape: readonly number[]
  readonly inputs: readonly Value[]
  readonly program: readonly Row[]
  readonly outputs: readonly Output[]
  readonly dtypes: readonly DType[]
  readonly axes?: readonly number[]
  readonly tolerance?: number
  readonly blocked?: boolean
}

/** Runs on 1 and 2 threads of the CPU or twice on a device: right, repeatable bit for bit, and equal for all threads where nothing is reduced. */
export async function checkLoop(c: LoopCase, what: string, device: string): Promise<void> {
  const axes = c.axes ?? []
  const registers = registersOf(c.shape, c.inputs, c.program)
  const outputs = c.outputs.map((o, i) => ({
    dtype: c.dtypes[i] as DType,
    shape: o.reduce === undefined ? c.shape : reducedShape(c.shape, axes, i % 2 === 0),
  }))
  const attr = { shape: c.shape, program: c.program, outputs: c.outputs, axes }
  const seen = new Map<string, ArrayLike<number>>()
  for (const threads of device === 'cpu' ? [1, 2, 2] : [1, 1]) {
    const blocked = c.blocked === true ? { blocked: c.shape } : {}
    const results = await runInstruction({ op: 'loop', inputs: c.inputs, outputs, attr, threads, device, ...blocked })
    c.outputs.forEach((o, i) => {
      const register = registers[o.register] as Float64Array
      const want = o.reduce === undefined ? register : reduceReference(c.shape, axes, register, o.reduce)
      // Sums are compared in units of the sum of magnitudes, as float32 registers carry their rounding into it.
      const scale =
        o.reduce === 'sum' ? Math.max(1, ...reduceReference(c.shape, axes, register.map(Math.abs), 'sum')) : 1
      expectClose(
        results[i] as ArrayLike<number>,
        want,
        (c.tolerance ?? 2e-6) * scale,
        `${what}, output ${i}, ${threads} threads`,
      )
      const key = o.reduce === undefined ? `${i}` : `${i} on ${threads}`
      expect(results[i], `${what}: repeatable`).toEqual(seen.get(key) ?? results[i])
      seen.set(key, results[i] as ArrayLike<number>)
    })
  }
}

const random = generator(11)
export const between = (n: number, low: number, high: number) =>
  Array.from({ length: n }, () => low + (high - low) * random())
export function draw(dtype: Kind, shape: readonly number[], low = -3, high = 3): Value {
  const n = sizeOf(shape)
  if (dtype === 'float32') return floats(shape, between(n, low, high))
  if (dtype === 'int32') return ints(shape, between(n, 5 * low, 5 * high).map(Math.floor))
  return bytes(shape, between(n, 0, 2).map(Math.floor), 'bool')
}
