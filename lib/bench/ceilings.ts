/** A device's two ceilings, measured where and when they are compared with: a large matrix product, and a stream through memory. */
import { hostTensor } from '../graph/host-tensor.ts'
import { sizeOf } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import { compileGraph } from '../runtime/compile.ts'
import { DeviceTensor } from '../runtime/device.ts'
import type { Device } from '../runtime/devices.ts'

export interface Ceilings {
  /** Operations a second of a float32 product of two 1536 x 1536 matrices: the best of several. */
  readonly operations: number
  /** Bytes a second of y = a·x + y over arrays that no cache holds, read and written: the best of several. */
  readonly bytes: number
}

const SIDE = 1536
const STREAM = 2 ** 24
const REPEATS = 5

/** Takes about half a second. */
export async function measureCeilings(device: Device, signal?: AbortSignal): Promise<Ceilings> {
  const square = [SIDE, SIDE]
  const [a, b] = [ops.input('a', square, 'float32'), ops.input('b', square, 'float32')]
  const product = await fastest(device, [a, b], ops.matmul(a, b), signal)
  const [x, y] = [ops.input('x', [STREAM], 'float32'), ops.input('y', [STREAM], 'float32')]
  const stream = await fastest(device, [x, y], ops.add(ops.mul(x, 0.5), y), signal)
  return { operations: (2 * SIDE ** 3) / product, bytes: (3 * 4 * STREAM) / stream }
}

/** Seconds of the fastest run. */
async function fastest(
  device: Device,
  inputs: readonly Tensor[],
  output: Tensor,
  signal?: AbortSignal,
): Promise<number> {
  const plan = await compileGraph(device, inputs, [{ tensor: output }])
  const bound = inputs.map((t) => DeviceTensor.empty(device, t.dtype, t.shape))
  const result = DeviceTensor.empty(device, output.dtype, output.shape)
  try {
    // Pages that were never written would all be one page of zeros.
    for (const t of bound) await t.write(hostTensor(new Float32Array(sizeOf(t.shape)).fill(0.5), t.shape))
    await plan.run(bound, [result])
    await plan.setProfiling(true)
    let best = Number.POSITIVE_INFINITY
    let before = 0
    for (let i = 0; i < REPEATS; i++) {
      signal?.throwIfAborted()
      await plan.run(bound, [result])
      const spent = (await plan.profile()).reduce((s, k) => s + k.seconds, 0)
      best = Math.min(best, spent - before)
      before = spent
    }
    return best
  } finally {
    plan.dispose()
    for (const t of [...bound, result]) t.dispose()
  }
}
