/**
 * The form of the op case table: what one case is, and seeded inputs for it. The table itself is cases.ts; who runs it: test/ops (float64
 * references, gradients), test/native (compiled plans against the references), test/onnx (the exported op in ONNX Runtime).
 */
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { type DType, type Shape, sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'

export interface OpCase {
  /** Unique in the table: the op, then what is special. */
  readonly name: string
  /** The op under test, as registered. */
  readonly op: string
  /** Fresh inputs, the same at every call. */
  readonly inputs: () => HostTensor[]
  readonly build: (...inputs: Tensor[]) => Tensor
  /** Bound on |got - want| / max(1, |want|) for a float32 implementation (integers and bools must be equal). */
  readonly tolerance: number
  readonly reason: string
  /** Positions of float32 inputs for which the case is smooth, so that differences must agree with the rule. */
  readonly differentiable?: readonly number[]
  /** Why ONNX Runtime is not compared. */
  readonly onnx?: string
  /** Lowest opset of the op's ONNX form, when above 17. */
  readonly minOpset?: number
}

/** A case with the defaults of most: exact to a few float32 roundings, differentiable in nothing. */
export function opCase(
  name: string,
  inputs: () => HostTensor[],
  build: OpCase['build'],
  rest: Partial<Omit<OpCase, 'name' | 'inputs' | 'build'>> = {},
): OpCase {
  const op = rest.op ?? (name.split(/[ :]/)[0] as string)
  return { name, op, inputs, build, tolerance: 2e-6, reason: 'a few float32 roundings', ...rest }
}

/** Uniform numbers from a seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** float32 uniform in [low, high). */
export function floats(shape: Shape, low = -2, high = 2, seed = 1): HostTensor {
  const next = generator(seed)
  return hostTensor(
    Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * next()),
    shape,
  )
}

/** float32 with |x| in [least, most): away from a kink at 0. */
export function awayFromZero(shape: Shape, least = 0.3, most = 2, seed = 2): HostTensor {
  const next = generator(seed)
  return hostTensor(
    Float32Array.from({ length: sizeOf(shape) }, () => (next() < 0.5 ? -1 : 1) * (least + (most - least) * next())),
    shape,
  )
}

/** float32 values of which no two are nearer than 1/n: no ties under differences. */
export function distinct(shape: Shape, seed = 3): HostTensor {
  const n = sizeOf(shape)
  const next = generator(seed)
  const order = Array.from({ length: n }, (_, i) => [next(), i] as const).sort((a, b) => a[0] - b[0])
  return hostTensor(
    Float32Array.from(order, ([, i]) => (2 * i + 0.6) / n - 1),
    shape,
  )
}

/** int32 uniform in low..high. */
export function integers(shape: Shape, low: number, high: number, seed = 4): HostTensor {
  const next = generator(seed)
  return hostTensor(
    Int32Array.from({ length: sizeOf(shape) }, () => low + Math.floor((high - low + 1) * next())),
    shape,
  )
}

export function bools(shape: Shape, seed = 5): HostTensor {
  const next = generator(seed)
  return hostTensor(
    Uint8Array.from({ length: sizeOf(shape) }, () => (next() < 0.5 ? 1 : 0)),
    shape,
    'bool',
  )
}

export function bytes(shape: Shape, seed = 6): HostTensor {
  const next = generator(seed)
  return hostTensor(
    Uint8Array.from({ length: sizeOf(shape) }, () => Math.floor(256 * next())),
    shape,
  )
}

/** float32 of the given numbers, a vector unless a shape is given. */
export function list(data: readonly number[], shape: Shape = [data.length]): HostTensor {
  return hostTensor(Float32Array.from(data), shape)
}

export function ints(data: readonly number[], shape: Shape = [data.length]): HostTensor {
  return hostTensor(Int32Array.from(data), shape)
}

/** A graph input for each host tensor, its case's graph over them, and the feeds of the reference interpreter. */
export interface BuiltCase {
  readonly inputs: Tensor[]
  readonly output: Tensor
  readonly feeds: Map<Tensor, RefArray>
  readonly data: HostTensor[]
}

export function buildCase(c: OpCase): BuiltCase {
  const data = c.inputs()
  const inputs = data.map((d, i) => ops.input(`x${i}`, d.shape, d.dtype))
  const feeds = new Map(inputs.map((t, i) => [t, toReference(data[i] as HostTensor)]))
  return { inputs, output: c.build(...inputs), feeds, data }
}

export function toReference(x: HostTensor): RefArray {
  return { shape: x.shape, data: Float64Array.from(x.data) }
}

/** What is wrong with `got` (values of a float32 implementation), or undefined. NaN must meet NaN and infinity the same infinity. */
export function mismatch(c: OpCase, dtype: DType, got: ArrayLike<number>, want: ArrayLike<number>): string | undefined {
  if (got.length !== want.length) return `${got.length} elements instead of ${want.length}`
  const tolerance = dtype === 'float32' ? c.tolerance : 0
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] as number, want[i] as number]
    const rounded = dtype === 'float32' ? Math.fround(w) : w
    if (Object.is(g, rounded) || g === rounded) continue
    const error = Math.abs(g - w) / Math.max(1, Math.abs(w))
    if (!(error <= tolerance))
      return `element ${i}: ${g} instead of ${w} (error ${error}, allowed ${tolerance}: ${c.reason})`
  }
  return undefined
}
