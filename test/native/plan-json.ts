/** Small serialised plans written by hand, for tests of the native runtime. Not a test itself. */
import type { DType } from '../../lib/graph/shape.ts'
import { addon, type NativePlan, type NativeTensor } from '../../lib/runtime/addon.ts'

export interface RawPlan {
  version: number
  values: { dtype: DType; shape: number[] }[]
  inputs: number[]
  constants: { value: number; offset: number }[]
  outputs: { value: number; alias: number | null }[]
  code: { op: string; in: number[]; out: number[]; attr?: Record<string, unknown> }[]
}

export const f32 = (...shape: number[]): { dtype: DType; shape: number[] } => ({ dtype: 'float32', shape })

export function compileRaw(
  plan: unknown,
  constants: Uint8Array = new Uint8Array(),
  device = 'cpu',
): Promise<NativePlan> {
  return addon().compile(JSON.stringify(plan), constants, device)
}

/** A float32 tensor with contents; the write is queued. */
export function tensor(shape: readonly number[], data: readonly number[], device = 'cpu'): NativeTensor {
  const t = new (addon().Tensor)('float32', shape, device)
  void t.write(new Float32Array(data))
  return t
}

export async function numbers(t: NativeTensor): Promise<number[]> {
  return [...(await t.read())]
}

/** One loop of a single binary operation over operands of the same shape. */
export function binary(op: string, shape: number[], a: number, b: number, out: number): RawPlan['code'][number] {
  return {
    op: 'loop',
    in: [a, b],
    out: [out],
    attr: { shape, program: [[op, 0, 1]], outputs: [{ register: 2 }], axes: [] },
  }
}

/**
 * A valid plan that touches most of the format: a convolution with bias, loops with a reduction, a reshape, a matmul, a constant, an alias.
 * Inputs: x [2,16,4,4], w [16,16,3,3], b [16]; outputs: x' (alias of x), sum [], y [2,3].
 */
export function richPlan(): { plan: RawPlan; constants: Uint8Array } {
  const image = [2, 16, 4, 4]
  const plan: RawPlan = {
    version: 1,
    values: [
      f32(...image),
      f32(16, 16, 3, 3),
      f32(16),
      f32(256, 3),
      f32(...image),
      f32(...image),
      f32(),
      f32(2, 256),
      f32(2, 3),
    ],
    inputs: [0, 1, 2],
    constants: [{ value: 3, offset: 0 }],
    outputs: [
      { value: 5, alias: 0 },
      { value: 6, alias: null },
      { value: 8, alias: null },
    ],
    code: [
      {
        op: 'conv2d',
        in: [0, 1, 2],
        out: [4],
        attr: { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 },
      },
      {
        op: 'loop',
        in: [0, 4],
        out: [5, 6],
        attr: {
          shape: image,
          program: [
            ['const', 0.5],
            ['mul', 1, 2],
            ['add', 0, 3],
          ],
          outputs: [{ register: 4 }, { register: 4, reduce: 'sum' }],
          axes: [0, 1, 2, 3],
        },
      },
      { op: 'reshape', in: [4], out: [7] },
      { op: 'matmul', in: [7, 3], out: [8], attr: { transposeA: false, transposeB: false } },
    ],
  }
  const constants = new Float32Array(256 * 3).map((_, i) => ((i * 7) % 11) / 11 - 0.5)
  return { plan, constants: new Uint8Array(constants.buffer) }
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function generator(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
