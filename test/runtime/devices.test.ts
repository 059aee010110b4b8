/** Devices by name: which words are one, which is meant where none is given, and what is said where there is none. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { DeviceTensor } from '../../lib/runtime/device.ts'
import {
  availableDevices,
  checkDevice,
  chosenDevice,
  cudaInfo,
  type Device,
  defaultDevice,
  deviceMemory,
  isDevice,
  setDefaultDevice,
} from '../../lib/runtime/devices.ts'
import { State } from '../../lib/runtime/state.ts'
import { testDevice } from '../device.ts'

afterEach(() => setDefaultDevice(testDevice))

const missing = { code: 'E_DEVICE' }

describe('names', () => {
  test.each(['cpu', 'cuda', 'cuda:0', 'cuda:12'])('%s is one', (name) => expect(isDevice(name)).toBe(true))
  test.each(['', 'gpu', 'cuda:', 'cuda:01', 'cuda:-1', 'cuda:1.5', 'CUDA', 'cuda:99999', 3, null])(
    '%j is none',
    (name) => {
      expect(isDevice(name)).toBe(false)
      expect(() => checkDevice(name as Device)).toThrow(TypeError)
    },
  )

  test('a GPU that is not there is a typed error, wherever a device is given', async () => {
    const far = 'cuda:4321'
    expect(() => checkDevice(far)).toThrow(expect.objectContaining(missing))
    expect(() => setDefaultDevice(far)).toThrow(expect.objectContaining(missing))
    expect(() => mlp({ inputs: 2, hidden: [3], device: far })).toThrow(expect.objectContaining(missing))
    expect(() => DeviceTensor.empty(far, 'float32', [1])).toThrow(expect.objectContaining(missing))
    expect(() => new State(far).create('x', [1])).toThrow(expect.objectContaining(missing))
    const x = ops.input('x', [1])
    await expect(compileGraph(far, [x], [{ tensor: ops.neg(x) }])).rejects.toMatchObject(missing)
    expect(() => deviceMemory(far)).toThrow(expect.objectContaining(missing))
  })

  test('there is a CPU, and what CUDA lacks is told in a sentence', () => {
    expect(availableDevices()[0]).toBe('cpu')
    const { available, reason, devices } = cudaInfo()
    if (available) expect(devices?.length).toBeGreaterThan(0)
    else expect(reason).toMatch(/\w{3,} \w+/)
    expect(availableDevices()).toHaveLength(1 + (available ? (devices?.length ?? 0) : 0))
  })
})

describe('the default device', () => {
  test('takes what names no device', () => {
    setDefaultDevice('cpu')
    expect(defaultDevice()).toBe('cpu')
    expect(chosenDevice(undefined)).toBe('cpu')
    expect(defineEnergy({ shape: [2] }, (x) => x.square().sum(-1)).device).toBe('cpu')
  })

  test("'auto' is a GPU where there is one", () => {
    const expected = cudaInfo().available ? 'cuda' : 'cpu'
    expect(chosenDevice('auto')).toBe(expected)
    setDefaultDevice('auto')
    expect(defaultDevice()).toBe(expected)
  })
})

test('memory of the CPU: what a tensor takes is counted, and the peak stays', async () => {
  const before = await deviceMemory('cpu')
  const tensor = await DeviceTensor.from('cpu', hostTensor(new Float32Array(2 ** 20), [2 ** 20]))
  const held = await deviceMemory('cpu')
  tensor.dispose()
  expect(held.used - before.used).toBeGreaterThanOrEqual(2 ** 22)
  const after = await deviceMemory('cpu')
  expect(after.peak).toBeGreaterThanOrEqual(held.used)
  expect(after.used).toBeLessThan(held.used)
  expect(held.total).toBeGreaterThan(held.free)
})

describe('LANGEVIN_DEVICE', () => {
  const before = process.env.LANGEVIN_DEVICE
  afterEach(() => {
    if (before === undefined) delete process.env.LANGEVIN_DEVICE
    else process.env.LANGEVIN_DEVICE = before
  })

  /** The default device of a process that begins with this value. */
  const begin = async (value: string): Promise<Device> => {
    process.env.LANGEVIN_DEVICE = value
    vi.resetModules()
    return (await import('../../lib/runtime/devices.ts')).defaultDevice()
  }

  test.each(['', ' ', 'cpu'])("'%s' is the CPU", async (value) => expect(await begin(value)).toBe('cpu'))

  test("'auto' is what there is", async () => {
    expect(await begin('auto')).toBe(cudaInfo().available ? 'cuda' : 'cpu')
  })

  test('other words and GPUs that are not there are refused', async () => {
    await expect(begin('gpu')).rejects.toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining("'gpu'") })
    await expect(begin('cuda:4321')).rejects.toMatchObject(missing)
  })
})
