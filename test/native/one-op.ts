/** Runs one instruction natively and compares with naive float64 loops: the drive of the kernel tests beside it. Not a test itself. */
import { expect } from 'vitest'
import { sizeOf } from '../../lib/graph/shape.ts'
import { addon, type NativePlan } from '../../lib/runtime/addon.ts'
import { testDevice } from '../device.ts'
import { compileRaw, f32, type generator, type RawPlan, tensor } from './plan-json.ts'

export interface Array64 {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export type Random = ReturnType<typeof generator>

/** Values in [-1, 1), rounded to float32 so that both sides start from the same numbers. */
export function uniform(shape: readonly number[], random: Random): Array64 {
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(random() * 2 - 1)) }
}

export function zeros(shape: readonly number[]): Array64 {
  return { shape, data: new Float64Array(sizeOf(shape)) }
}

/** An integer in low..high, both included. */
export function between(random: Random, low: number, high: number): number {
  return low + Math.floor(random() * (high - low + 1))
}

const identity = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 }

/**
 * A plan of one instruction. With `blocked`, each rank-4 input first goes through a depthwise 1x1 convolution by ones, which leaves its
 * numbers alone but produces it in the layout that convolutions prefer for its channels.
 */
function planOf(
  op: string,
  inputs: readonly Array64[],
  attr: Record<string, unknown>,
  shape: readonly number[],
  blocked: boolean,
): RawPlan {
  const plan: RawPlan = {
    version: 1,
    values: inputs.map((t) => f32(...t.shape)),
    inputs: inputs.map((_, i) => i),
    constants: [],
    outputs: [],
    code: [],
  }
  const operands = inputs.map((t, i) => {
    if (!blocked || t.shape.length !== 4 || t.data.length === 0) return i
    const channels = t.shape[1] as number
    const ones = plan.values.push(f32(channels, 1, 1, 1)) - 1
    plan.inputs.push(ones)
    const value = plan.values.push(f32(...t.shape)) - 1
    plan.code.push({ op: 'conv2d', in: [i, ones], out: [value], attr: { ...identity, groups: channels } })
    return value
  })
  const out = plan.values.push(f32(...shape)) - 1
  plan.code.push({ op, in: operands, out: [out], attr })
  plan.outputs.push({ value: out, alias: null })
  return plan
}

/** Runs a plan on the inputs (and ones for whatever else it takes); the same bits must come out three times. */
async function runThrice(
  plan: RawPlan,
  native: NativePlan,
  inputs: readonly Array64[],
  device: string,
): Promise<Float32Array> {
  const shapes = plan.inputs.map((v) => (plan.values[v] as { shape: number[] }).shape)
  const bound = shapes.map((s, i) => tensor(s, [...(inputs[i]?.data ?? new Float64Array(sizeOf(s)).fill(1))], device))
  const result = new (addon().Tensor)(
    'float32',
    (plan.values[(plan.outputs[0] as { value: number }).value] as { shape: number[] }).shape,
    device,
  )
  const runs: Float32Array[] = []
  for (let i = 0; i < 3; i++) {
    void result.write(new Float32Array(result.bytes / 4).fill(Number.NaN))
    await native.run(bound, [result])
    runs.push((await result.read()) as Float32Array)
  }
  for (const t of [...bound, result]) t.dispose()
  const bits = runs.map((r) => Buffer.from(r.buffer, r.byteOffset, r.byteLength))
  expect(bits[1]?.equals(bits[0] as Buffer) && bits[2]?.equals(bits[0] as Buffer), 'runs repeat bit for bit').toBe(true)
  return runs[0] as Float32Array
}

/** Largest difference, as a share of the largest finite reference value; NaN and infinities must agree exactly. */
export function difference(got: Float32Array, want: Float64Array): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY
  const scale = want.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 1e-3)
  let worst = 0
  want.forEach((v, i) => {
    const g = got[i] as number
    if (Object.is(g, v) || (Number.isNaN(g) && Number.isNaN(v))) return
    const d = Math.abs(g - v) / scale
    worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d)
  })
  return worst
}

/**
 * Runs `op` (by default on the device that is tested), on the CPU with one and two threads, from plain and (where rank-4 inputs exist) from operands in the layout of convolutions, and compares
 * each with `want`.
 */
export async function expectOp(
  op: string,
  inputs: readonly Array64[],
  attr: Record<string, unknown>,
  want: Array64,
  tolerance: number,
  device: string = testDevice,
): Promise<void> {
  const threads = addon().info().threads
  const layouts = inputs.some((t) => t.shape.length === 4) ? [false, true] : [false]
  try {
    for (const count of device === 'cpu' ? [1, 2] : [threads]) {
      addon().setThreads(count)
      for (const blocked of layouts) {
        const plan = planOf(op, inputs, attr, want.shape, blocked)
        const native = await compileRaw(plan, undefined, device)
        const whole = inputs.some((t) => t.shape.length === 4 && t.data.length > 0 && (t.shape[1] as number) % 16 === 0)
        if (blocked && whole) expect(native.stats.text, 'a blocked tensor').toMatch(/:(8|16|nhwc)@/)
        const got = await runThrice(plan, native, inputs, device)
        native.dispose()
        const where = `${op} ${inputs.map((t) => `[${t.shape}]`).join(' ')} ${JSON.stringify(attr)}, ${device}, ${count} threads, blocked ${blocked}`
        expect(difference(got, want.data), where).toBeLessThanOrEqual(tolerance)
      }
    }
  } finally {
    addon().setThreads(threads)
  }
}
