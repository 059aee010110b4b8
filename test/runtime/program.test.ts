/** Programs: order, repeats, guards, metrics, cancelling, and that nothing is computed twice. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { type CompiledPlan, compileGraph } from '../../lib/runtime/compile.ts'
import { DeviceTensor } from '../../lib/runtime/device.ts'
import { type Instruction, makeProgram } from '../../lib/runtime/program.ts'
import { elsewhere, testDevice } from '../device.ts'

const scalar = (v: number): Promise<DeviceTensor> =>
  DeviceTensor.from(testDevice, hostTensor(new Float32Array([v]), []))
const read = async (t: DeviceTensor): Promise<number> => (await t.read()).data[0] as number

let increment: CompiledPlan // x -> x + 1, in place
let double: CompiledPlan // x -> 2 x, in place

beforeAll(async () => {
  const x = ops.input('x', [], 'float32')
  increment = await compileGraph(testDevice, [x], [{ tensor: ops.add(x, 1), alias: 0 }])
  double = await compileGraph(testDevice, [x], [{ tensor: ops.mul(x, 2), alias: 0 }])
})
afterAll(() => {
  increment.dispose()
  double.dispose()
})

const run = (plan: CompiledPlan, x: DeviceTensor): Instruction => ({ do: 'run', plan, inputs: [x], outputs: [x] })

test('runs in order, repeats, records, copies', async () => {
  const x = await scalar(1)
  const before = await scalar(0)
  const program = makeProgram([
    { do: 'copy', from: [x], to: [before] },
    run(increment, x),
    { do: 'repeat', count: 3, body: [run(double, x), { do: 'repeat', count: 0, body: [run(increment, x)] }] },
    { do: 'record', tensors: [before, x] },
  ])
  const result = await program.run(2)
  expect([...result.metrics]).toEqual([1, 16, 16, 136])
  expect(result).toMatchObject({ completed: 2, guard: null, cancelled: false })
  // Another device may take more of them for a plan.
  if (elsewhere) expect(result.kernels).toBeGreaterThanOrEqual(8)
  else expect(result.kernels).toBe(8)
  expect(result.seconds).toBeGreaterThan(0)
  expect(await read(x)).toBe(136)
  expect((await program.run(0)).completed).toBe(0)
})

test('a record inside repeats records every round', async () => {
  const x = await scalar(0)
  const body: Instruction[] = [run(increment, x), { do: 'record', tensors: [x] }]
  const program = makeProgram([{ do: 'repeat', count: 2, body: [{ do: 'repeat', count: 2, body }] }])
  expect([...(await program.run(2)).metrics]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
})

test('countFrom reads the tensor at that moment; negative counts are none', async () => {
  const x = await scalar(0)
  const n = await DeviceTensor.from(testDevice, hostTensor(new Int32Array([3]), []))
  const program = makeProgram([{ do: 'repeat', countFrom: n, body: [run(increment, x)] }])
  await program.run(1)
  expect(await read(x)).toBe(3)
  await n.write(hostTensor(new Int32Array([-5]), []))
  await program.run(1)
  expect(await read(x)).toBe(3)
})

describe('guards', () => {
  const guarded = (x: DeviceTensor, y: DeviceTensor, limit: number) =>
    makeProgram([
      run(double, x),
      { do: 'guard', name: 'x', tensor: x, limit },
      run(increment, y),
      { do: 'record', tensors: [x] },
    ])

  test('stop before what follows, and that step does not count', async () => {
    const [x, y] = [await scalar(1), await scalar(0)]
    const result = await guarded(x, y, 10).run(100)
    expect(result).toMatchObject({ completed: 3, guard: { name: 'x', value: 16, limit: 10, step: 3 } })
    expect([...result.metrics]).toEqual([2, 4, 8])
    expect(await read(y)).toBe(3)
  })

  test('the limit itself passes; negative values count by magnitude', async () => {
    const [x, y] = [await scalar(-1), await scalar(0)]
    expect((await guarded(x, y, 8).run(100)).guard).toMatchObject({ value: -16, step: 3 })
  })

  test.each([NaN, Infinity, -Infinity])('%s stops even without a limit', async (bad) => {
    const [x, y] = [await scalar(bad), await scalar(0)]
    const result = await guarded(x, y, Infinity).run(5)
    expect(result.completed).toBe(0)
    expect(result.guard?.value).toBe(bad)
    expect(await read(y)).toBe(0)
  })
})

describe('cancelling', () => {
  const endless = async () => {
    const x = await scalar(0)
    return { x, program: makeProgram([run(increment, x), { do: 'record', tensors: [x] }]) }
  }

  test('ends a running run at a step boundary and discards those that wait', async () => {
    const { x, program } = await endless()
    const running = program.run(1e12)
    const waiting = program.run(1e12)
    await new Promise((resolve) => setTimeout(resolve, 30))
    program.cancel()
    const [first, second] = await Promise.all([running, waiting])
    expect(first.cancelled).toBe(true)
    expect(first.completed).toBeGreaterThan(0)
    expect(first.metrics.length).toBe(first.completed)
    expect(second).toMatchObject({ cancelled: true, completed: 0 })
    expect(await read(x)).toBe(Math.min(first.completed, 2 ** 24))
    expect((await program.run(2)).completed).toBe(2)
  })

  test('by an AbortSignal, before or during', async () => {
    const { program } = await endless()
    const controller = new AbortController()
    const running = program.run(1e12, { signal: controller.signal })
    setTimeout(() => controller.abort(), 20)
    expect((await running).cancelled).toBe(true)
    expect(await program.run(1e12, { signal: controller.signal })).toMatchObject({ cancelled: true })
    // However short: an aborted signal lets nothing begin.
    for (let i = 0; i < 20; i++)
      expect(await program.run(1, { signal: controller.signal })).toMatchObject({ cancelled: true, completed: 0 })
    expect((await program.run(3, { signal: new AbortController().signal })).completed).toBe(3)
  })
})

describe('impossible programs', () => {
  test('typed errors at creation', async () => {
    const x = await scalar(0)
    const pair = DeviceTensor.empty(testDevice, 'float32', [2])
    const whole = DeviceTensor.empty(testDevice, 'int32', [])
    const expectCode = (code: string, instruction: Instruction): void =>
      expect(() => makeProgram([instruction])).toThrow(expect.objectContaining({ code }))
    expectCode('E_SHAPE', { do: 'run', plan: increment, inputs: [pair], outputs: [x] })
    expectCode('E_SHAPE', { do: 'run', plan: increment, inputs: [], outputs: [x] })
    expectCode('E_DTYPE', { do: 'run', plan: increment, inputs: [whole], outputs: [x] })
    expectCode('E_PLAN', { do: 'guard', name: 'g', tensor: pair, limit: 1 })
    expectCode('E_PLAN', { do: 'guard', name: 'g', tensor: x, limit: NaN })
    expectCode('E_PLAN', { do: 'record', tensors: [whole] })
    expectCode('E_PLAN', { do: 'repeat', countFrom: x, body: [] })
    expectCode('E_PLAN', { do: 'repeat', count: -1, body: [] })
    expectCode('E_PLAN', { do: 'repeat', count: 1.5, body: [] })
    expectCode('E_PLAN', { do: 'repeat', countFrom: whole, body: [{ do: 'record', tensors: [x] }] })
    expectCode('E_PLAN', { do: 'repeat', count: 1e9, body: [{ do: 'record', tensors: [x] }] })
    expectCode('E_SHAPE', { do: 'copy', from: [x], to: [pair] })
    expectCode('E_PLAN', { do: 'walk' } as unknown as Instruction)
    let deep: Instruction = run(increment, x)
    for (let i = 0; i < 9; i++) deep = { do: 'repeat', count: 1, body: [deep] }
    expectCode('E_PLAN', deep)
    await expect(makeProgram([]).run(-1)).rejects.toThrow(RangeError)
    x.dispose()
    expectCode('E_DEVICE', run(increment, x))
  })

  test('eight levels of repeat are allowed', async () => {
    const x = await scalar(0)
    let deep: Instruction = run(increment, x)
    for (let i = 0; i < 8; i++) deep = { do: 'repeat', count: 2, body: [deep] }
    await makeProgram([deep]).run(1)
    expect(await read(x)).toBe(256)
  })
})

test('a program keeps its tensors and plans alive', async () => {
  const x = await scalar(1)
  const y = await scalar(0)
  const t = ops.input('x', [], 'float32')
  const plan = await compileGraph(testDevice, [t], [{ tensor: ops.mul(t, 3) }])
  const program = makeProgram([
    { do: 'run', plan, inputs: [x], outputs: [y] },
    { do: 'record', tensors: [y] },
  ])
  plan.dispose()
  x.dispose()
  expect([...(await program.run(1)).metrics]).toEqual([3])
  await expect(plan.run([], [])).rejects.toMatchObject({ code: 'E_DEVICE' })
})
