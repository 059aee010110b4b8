/** Device tensors: contents, types, lifetime, order of work. */

import { describe, expect, test } from 'vitest'
import { hostTensor, type TypedArray } from '../../lib/graph/host-tensor.ts'
import type { DType } from '../../lib/graph/shape.ts'
import { copyTensors, DeviceTensor } from '../../lib/runtime/device.ts'
import { checkDevice, type Device } from '../../lib/runtime/devices.ts'
import { testDevice } from '../device.ts'

const contents: [DType, TypedArray][] = [
  ['float32', new Float32Array([1.5, -0, Infinity, NaN, 1e-40, -3])],
  ['int32', new Int32Array([1, -1, 2147483647, -2147483648, 0, 7])],
  ['uint8', new Uint8Array([0, 1, 127, 128, 254, 255])],
  ['bool', new Uint8Array([0, 1, 1, 0, 0, 1])],
]

test.each(contents)('%s goes there and back unchanged', async (dtype, data) => {
  const value = hostTensor(data, [2, 3], dtype)
  const tensor = await DeviceTensor.from(testDevice, value)
  const back = await tensor.read()
  expect(back).toEqual(value)
  expect(Object.is(back.data[1], data[1])).toBe(true)
  expect(tensor.bytes).toBe(data.byteLength)
})

test('a new tensor holds zeros; scalars and empty tensors work', async () => {
  expect((await DeviceTensor.empty(testDevice, 'int32', [3]).read()).data).toEqual(new Int32Array(3))
  expect((await DeviceTensor.from(testDevice, hostTensor(new Float32Array([4]), []))).size).toBe(1)
  const empty = await DeviceTensor.from(testDevice, hostTensor(new Float32Array(0), [2, 0, 3]))
  expect((await empty.read()).data).toEqual(new Float32Array(0))
})

test('booleans become 0 or 1', async () => {
  const tensor = await DeviceTensor.from(testDevice, hostTensor(new Uint8Array([0, 2, 255]), [3], 'bool'))
  expect([...(await tensor.read()).data]).toEqual([0, 1, 1])
})

test('write copies at the call, and work is done in the order of the calls', async () => {
  const tensor = DeviceTensor.empty(testDevice, 'float32', [2])
  const data = new Float32Array([1, 2])
  const first = tensor.write(hostTensor(data, [2]))
  data.fill(9)
  const between = tensor.read()
  const second = tensor.write(hostTensor(new Float32Array([3, 4]), [2]))
  const after = tensor.read()
  expect([...(await between).data]).toEqual([1, 2])
  expect([...(await after).data]).toEqual([3, 4])
  await Promise.all([first, second])
})

test('a view into a larger buffer is written from its offset', async () => {
  const whole = new Float32Array([9, 9, 1, 2, 9])
  const tensor = await DeviceTensor.from(testDevice, hostTensor(whole.subarray(2, 4), [2]))
  expect([...(await tensor.read()).data]).toEqual([1, 2])
})

describe('misuse', () => {
  test('a value of another type is refused and changes nothing', async () => {
    const tensor = await DeviceTensor.from(testDevice, hostTensor(new Float32Array([1, 2]), [2]))
    await expect(tensor.write(hostTensor(new Int32Array([1, 2]), [2]))).rejects.toMatchObject({ code: 'E_DTYPE' })
    await expect(tensor.write(hostTensor(new Float32Array(2), [1, 2]))).rejects.toMatchObject({ code: 'E_SHAPE' })
    expect([...(await tensor.read()).data]).toEqual([1, 2])
  })

  test('shapes that cannot be', () => {
    expect(() => DeviceTensor.empty(testDevice, 'float32', [-1])).toThrow(expect.objectContaining({ code: 'E_SHAPE' }))
    expect(() => DeviceTensor.empty(testDevice, 'float32', [1.5])).toThrow(expect.objectContaining({ code: 'E_SHAPE' }))
    expect(() => DeviceTensor.empty(testDevice, 'float32', [2 ** 50])).toThrow(
      expect.objectContaining({ code: 'E_SHAPE' }),
    )
  })

  test('more memory than the machine has is a typed error', () => {
    expect(() => DeviceTensor.empty(testDevice, 'float32', [2 ** 39])).toThrow(
      expect.objectContaining({ code: 'E_DEVICE' }),
    )
  })

  test('a disposed tensor', async () => {
    const tensor = DeviceTensor.empty(testDevice, 'float32', [2])
    const queued = tensor.read()
    tensor.dispose()
    tensor.dispose()
    expect(tensor.disposed).toBe(true)
    expect((await queued).data).toEqual(new Float32Array(2))
    await expect(tensor.read()).rejects.toMatchObject({ code: 'E_DEVICE' })
    await expect(tensor.write(hostTensor(new Float32Array(2), [2]))).rejects.toMatchObject({ code: 'E_DEVICE' })
  })

  test('devices that are not there', () => {
    expect(() => DeviceTensor.empty('cuda:99', 'float32', [1])).toThrow(expect.objectContaining({ code: 'E_DEVICE' }))
    expect(() => checkDevice('gpu' as Device)).toThrow(TypeError)
  })
})

test('copies are pairwise, in order, and typed', async () => {
  const make = (v: number): Promise<DeviceTensor> =>
    DeviceTensor.from(testDevice, hostTensor(new Float32Array([v]), [1]))
  const [a, b, c] = [await make(1), await make(2), await make(3)]
  await copyTensors([a, b], [b, c])
  expect((await c.read()).data[0]).toBe(1)
  await a.copyFrom(a)
  expect((await a.read()).data[0]).toBe(1)
  await expect(copyTensors([a], [])).rejects.toMatchObject({ code: 'E_SHAPE' })
  await expect(a.copyFrom(DeviceTensor.empty(testDevice, 'int32', [1]))).rejects.toMatchObject({ code: 'E_DTYPE' })
  await expect(a.copyFrom(DeviceTensor.empty(testDevice, 'float32', [2]))).rejects.toMatchObject({ code: 'E_SHAPE' })
})
