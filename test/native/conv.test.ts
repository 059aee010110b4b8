/** conv2d and its adjoints against naive loops in float64, over a table of geometries and a seeded sweep of odd ones. */
import { afterEach, describe, expect, test } from 'vitest'
import { addon } from '../../lib/runtime/addon.ts'
import { elsewhere } from '../device.ts'
import { type Case, geometry, operands, reference, same, sweep, table } from './cases/conv.ts'
import { difference, expectOp, uniform, zeros } from './one-op.ts'
import { compileRaw, f32, generator, tensor } from './plan-json.ts'

// Sums of up to 64 * 9 products of numbers below 1, and Winograd's transforms: errors of 1e-6 of the largest result were seen.
const tolerance = 1e-5

async function check(g: Case, seed = 1): Promise<void> {
  const { attr } = geometry(g)
  const { x, w, bias, dy, y, dx, gradient } = operands(g, seed)
  await expectOp('conv2d', [x, w, bias], attr, y, tolerance)
  await expectOp('conv2d_input_grad', [dy, w], { ...attr, inputSize: [g.h, g.w] }, dx, tolerance)
  await expectOp('conv2d_weight_grad', [x, dy], { ...attr, kernelSize: g.kernel }, gradient, tolerance)
}

describe('convolutions', () => {
  for (const [name, g] of Object.entries(table)) test(name, () => check(g))

  test('a seeded sweep', async () => {
    for (const [i, g] of sweep(40).entries()) await check(g, i)
  })
})

describe('the choice of algorithm', () => {
  afterEach(() => {
    delete process.env.LANGEVIN_WINOGRAD
  })

  test('LANGEVIN_WINOGRAD switches Winograd off and on, within rounding', async () => {
    const random = generator(3)
    const attr = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 }
    const [x, w] = [uniform([32, 32, 8, 8], random), uniform([32, 32, 3, 3], random)]
    const run = async (setting: string): Promise<Float32Array> => {
      process.env.LANGEVIN_WINOGRAD = setting
      const plan = await compileRaw({
        version: 1,
        values: [f32(32, 32, 8, 8), f32(32, 32, 3, 3), f32(32, 32, 8, 8)],
        inputs: [0, 1],
        constants: [],
        outputs: [{ value: 2, alias: null }],
        code: [{ op: 'conv2d', in: [0, 1], out: [2], attr }],
      })
      const result = new (addon().Tensor)('float32', [32, 32, 8, 8])
      await plan.run([tensor(x.shape, [...x.data]), tensor(w.shape, [...w.data])], [result])
      plan.dispose()
      return (await result.read()) as Float32Array
    }
    const [off, on] = [await run('0'), await run('1')]
    expect(difference(on, Float64Array.from(off))).toBeLessThan(tolerance)
  })

  test.skipIf(elsewhere)('another LANGEVIN_WINOGRAD is refused by name', async () => {
    process.env.LANGEVIN_WINOGRAD = 'yes'
    const x = zeros([1, 32, 4, 4])
    await expect(
      expectOp(
        'conv2d',
        [x, zeros([32, 32, 3, 3])],
        { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 },
        x,
        0,
      ),
    ).rejects.toThrow("LANGEVIN_WINOGRAD must be 0 (never), 1 (wherever it exists) or auto; got 'yes'")
  })

  test('packed weights follow the weights', async () => {
    const g: Case = { n: 2, c: 16, h: 4, w: 4, o: 16, ...same }
    const { attr, oh, ow } = geometry(g)
    const random = generator(5)
    const x = uniform([2, 16, 4, 4], random)
    const plan = await compileRaw({
      version: 1,
      values: [f32(2, 16, 4, 4), f32(16, 16, 3, 3), f32(2, 16, oh, ow)],
      inputs: [0, 1],
      constants: [],
      outputs: [{ value: 2, alias: null }],
      code: [{ op: 'conv2d', in: [0, 1], out: [2], attr }],
    })
    const bound = tensor(x.shape, [...x.data])
    const weights = [tensor([16, 16, 3, 3], new Array(2304).fill(0)), tensor([16, 16, 3, 3], new Array(2304).fill(0))]
    const result = new (addon().Tensor)('float32', [2, 16, oh, ow])
    for (const which of [0, 1, 0, 0, 1]) {
      const w = uniform([16, 16, 3, 3], random)
      const native = weights[which] as (typeof weights)[number]
      await native.write(Float32Array.from(w.data))
      for (let repeat = 0; repeat < 2; repeat++) {
        await plan.run([bound, native], [result])
        const want = reference(g, x, w, zeros([16]), zeros([2, 16, oh, ow])).y
        expect(difference((await result.read()) as Float32Array, want.data)).toBeLessThan(tolerance)
      }
    }
    plan.dispose()
  })
})

describe('malformed convolutions', () => {
  const attr = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 }
  const compile = (changed: Record<string, unknown>, weight = [16, 16, 3, 3]) =>
    compileRaw({
      version: 1,
      values: [f32(2, 16, 4, 4), f32(...weight), f32(2, 16, 4, 4)],
      inputs: [0, 1],
      constants: [],
      outputs: [{ value: 2, alias: null }],
      code: [{ op: 'conv2d', in: [0, 1], out: [2], attr: { ...attr, ...changed } }],
    })
  const wrong: Record<string, [Record<string, unknown>, number[]?]> = {
    'stride 0': [{ stride: [0, 1] }],
    'negative padding': [{ padding: [-1, 0, 0, 0] }],
    'two paddings': [{ padding: [1, 1] }],
    'groups that do not divide': [{ groups: 3 }],
    'dilation as text': [{ dilation: '1' }],
    'another output size': [{ padding: [0, 0, 0, 0] }],
    'huge dilation': [{ dilation: [1e7, 1] }],
    'other channels': [{}, [16, 8, 3, 3]],
    'rank 3': [{}, [16, 16, 3]],
    'no kernel': [{}, [16, 16, 0, 3]],
  }
  for (const [name, [changed, weight]] of Object.entries(wrong)) {
    test(name, async () => {
      await expect(compile(changed, weight)).rejects.toMatchObject({ code: 'E_PLAN' })
    })
  }
})
