/** Graphs compiled and run: parameters that change between runs, packed weights, thread counts, the event loop. */

import { afterEach, describe, expect, test } from 'vitest'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { DeviceTensor } from '../../lib/runtime/device.ts'
import { elsewhere, testDevice } from '../device.ts'

const filled = (shape: number[], f: (i: number) => number): HostTensor =>
  hostTensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => f(i)),
    shape,
  )

const threads = addonInfo().threads
afterEach(() => setThreads(threads))

test('call: numbers in, numbers out', async () => {
  const a = ops.input('a', [2, 3], 'float32')
  const b = ops.input('b', [3], 'float32')
  const plan = await compileGraph(testDevice, [a, b], [{ tensor: ops.add(a, b) }, { tensor: ops.sum(a) }])
  const [sum, total] = await plan.call([filled([2, 3], (i) => i), filled([3], (i) => 10 * i)])
  expect([...(sum as HostTensor).data]).toEqual([0, 11, 22, 3, 14, 25])
  expect((total as HostTensor).data[0]).toBe(15)
  await expect(plan.call([])).rejects.toMatchObject({ code: 'E_SHAPE' })
  plan.dispose()
})

describe('cached weights follow the contents', () => {
  const image = [2, 32, 6, 6]
  const weights = [32, 32, 3, 3]
  const build = () => {
    const x = ops.input('x', image, 'float32')
    const w = ops.input('w', weights, 'float32')
    const y = ops.conv2d(ops.conv2d(x, w, { padding: 1 }), w, { padding: 1 })
    return compileGraph(testDevice, [x, w], [{ tensor: ops.sum(y) }])
  }
  // A kernel that only passes channel c on, times v: the sum of two convolutions is v^2 times the sum of the image.
  const identity = (v: number): HostTensor =>
    filled(weights, (i) => (i % 9 === 4 && Math.floor(i / 9) % 32 === Math.floor(i / 288) ? v : 0))

  test('when the same tensor is written again, and when another is bound', async () => {
    const plan = await build()
    const x = await DeviceTensor.from(
      testDevice,
      filled(image, () => 1),
    )
    const w = await DeviceTensor.from(testDevice, identity(1))
    const other = await DeviceTensor.from(testDevice, identity(3))
    const y = DeviceTensor.empty(testDevice, 'float32', [])
    const result = async (weight: DeviceTensor): Promise<number> => {
      await plan.run([x, weight], [y])
      return (await y.read()).data[0] as number
    }
    const n = 2 * 32 * 36
    expect(await result(w)).toBe(n)
    expect(await result(other)).toBe(9 * n)
    expect(await result(w)).toBe(n)
    await w.write(identity(2))
    expect(await result(w)).toBe(4 * n)
    await w.copyFrom(other)
    expect(await result(w)).toBe(9 * n)
    await x.write(filled(image, () => 2))
    expect(await result(w)).toBe(18 * n)
  })
})

test('a plan gives the same on one thread and on two', async () => {
  const results: HostTensor[] = []
  for (const n of [1, 2]) {
    setThreads(n)
    expect(addonInfo().threads).toBe(n)
    const x = ops.input('x', [64, 300], 'float32')
    const plan = await compileGraph(testDevice, [x], [{ tensor: ops.tanh(ops.mul(x, x)) }])
    const [y] = await plan.call([filled([64, 300], (i) => Math.sin(i))])
    results.push(y as HostTensor)
  }
  expect(results[1]).toEqual(results[0])
  expect(() => setThreads(0)).toThrow(RangeError)
  expect(() => setThreads(1.5)).toThrow(RangeError)
})

// On another device the plan is over too soon.
test.skipIf(elsewhere)('the event loop goes on while a plan runs', async () => {
  const x = ops.input('x', [256, 256], 'float32')
  let y = x
  for (let i = 0; i < 400; i++) y = ops.matmul(y, x)
  const plan = await compileGraph(testDevice, [x], [{ tensor: ops.sum(y) }])
  const input = await DeviceTensor.from(
    testDevice,
    filled([256, 256], () => 0),
  )
  const output = DeviceTensor.empty(testDevice, 'float32', [])
  let ticks = 0
  let longest = 0
  let last = performance.now()
  const timer = setInterval(() => {
    ticks++
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }, 2)
  const start = performance.now()
  for (let i = 0; i < 3; i++) void plan.run([input], [output])
  const queued = performance.now() - start
  await output.read()
  const took = performance.now() - start
  clearInterval(timer)
  expect(queued).toBeLessThan(took / 2)
  expect(ticks).toBeGreaterThan(5)
  expect(longest).toBeLessThan(took / 2)
})
