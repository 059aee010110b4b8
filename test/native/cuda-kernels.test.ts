/**
 * The ops that have kernels of ours on device 'cuda', through the simulator: the cases of the CPU's tests, with indices of 32 and of 64 bits, and what
 * only these kernels have: images that keep their channels last, and a slice of bfloat16 values.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testIndices } from './cases/index.ts'
import { testMoves } from './cases/move.ts'
import { testPooling } from './cases/pool.ts'
import { testRandom } from './cases/random.ts'
import { compileRaw, f32, numbers, tensor } from './plan-json.ts'
import { simulated } from './simulated.ts'

const device = 'cuda'
const where = simulated ? describe : describe.skip

/** Sets variables of the environment for the tests beside the call. */
function withEnvironment(variables: Record<string, string>): void {
  beforeAll(() => {
    Object.assign(process.env, variables)
  })
  afterAll(() => {
    for (const name of Object.keys(variables)) delete process.env[name]
  })
}

where.each([
  ['32', {}],
  ['64', { LANGEVIN_CUDA_WIDE: '1' }],
] as const)('indices of %s bits', (_, width) => {
  // Convolutions put images into their order for some cases; they must not round them.
  withEnvironment({ LANGEVIN_TF32: '0', ...width })
  testMoves(device)
  testIndices(device)
  testPooling(device)
})

where('random numbers', () => testRandom(device))

where('images with channels last', () => {
  const image = [2, 8, 6, 6]
  const convolution = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 }
  const window = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] }
  const table: [string, number, Record<string, unknown>, number[]][] = [
    ['slice', 1, { start: [0, 2, 1, 1], stop: [2, 6, 6, 6], step: [1, 1, 2, 1] }, [2, 4, 3, 5]],
    ['pad', 1, { low: [0, 0, 1, 1], high: [0, 0, 1, 2], interior: [0, 0, 0, 1], value: 0 }, [2, 8, 8, 14]],
    ['concat', 2, { axis: 1 }, [2, 16, 6, 6]],
    ['avgpool2d', 1, { ...window, countIncludePad: true }, [2, 8, 3, 3]],
    ['avgpool2d_grad', 1, { ...window, countIncludePad: true, inputSize: [12, 12] }, [2, 8, 12, 12]],
    ['maxpool2d', 1, window, [2, 8, 3, 3]],
    ['maxpool2d_select', 2, window, [2, 8, 3, 3]],
    ['resize2d', 1, { size: [9, 5], mode: 'bilinear', alignCorners: false }, [2, 8, 9, 5]],
    ['resize2d_grad', 1, { inputSize: [3, 4], mode: 'nearest', alignCorners: false }, [2, 8, 3, 4]],
  ]
  // Between two convolutions, which read and write their images so.
  test.each(table)('%s stands between convolutions without a reorder', async (op, inputs, attr, shape) => {
    const [, c, h, w] = shape as [number, number, number, number]
    const values = [f32(...image), f32(8, 8, 1, 1), f32(8, c, 1, 1), f32(...image), f32(...image), f32(...shape)]
    const plan = await compileRaw(
      {
        version: 1,
        values: [...values, f32(2, 8, h, w)],
        inputs: [0, 1, 2],
        constants: [],
        outputs: [{ value: 6, alias: null }],
        code: [
          { op: 'conv2d', in: [0, 1], out: [3], attr: convolution },
          { op: 'conv2d', in: [3, 1], out: [4], attr: convolution },
          { op, in: inputs === 1 ? [3] : [3, 4], out: [5], attr },
          { op: 'conv2d', in: [5, 2], out: [6], attr: convolution },
        ],
      },
      undefined,
      device,
    )
    const line = plan.stats.text.split('\n').find((l) => l.includes(`= ${op}(`)) as string
    expect(line.match(/:nhwc@/g)).toHaveLength(1 + inputs)
    expect(plan.stats.reorders).toBe(2) // the plan's input and its output
    plan.dispose()
  })

  test('a small slice reads the bfloat16 value that a convolution left for the next', async () => {
    const [n, c] = [4, 32]
    const shape = [n, c, 8, 8]
    const plan = await compileRaw(
      {
        version: 1,
        precision: 'bfloat16',
        values: [f32(...shape), f32(c, c, 1, 1), f32(...shape), f32(...shape), f32(2, c, 1, 2)],
        inputs: [0, 1],
        constants: [],
        outputs: [
          { value: 3, alias: null },
          { value: 4, alias: null },
        ],
        code: [
          { op: 'conv2d', in: [0, 1], out: [2], attr: convolution },
          { op: 'conv2d', in: [2, 1], out: [3], attr: convolution },
          { op: 'slice', in: [2], out: [4], attr: { start: [1, 0, 2, 3], stop: [4, c, 3, 8], step: [2, 1, 1, 4] } },
        ],
      },
      undefined,
      device,
    )
    expect(plan.stats.text).toMatch(/= slice\(float32\[4,32,8,8\][^@]*:half@/)
    // Numbers of 7 bits, and weights that leave them alone: bfloat16 holds all.
    const x = Float32Array.from({ length: n * c * 64 }, (_, i) => (i * 37) % 113)
    const identity = Float32Array.from({ length: c * c }, (_, i) => (i % (c + 1) === 0 ? 1 : 0))
    const inputs = [tensor(shape, [...x], device), tensor([c, c, 1, 1], [...identity], device)]
    const outputs = [tensor(shape, [...x].fill(0), device), tensor([2, c, 1, 2], new Array(4 * c).fill(0), device)]
    await plan.run(inputs, outputs)
    const [whole, slice] = await Promise.all(outputs.map(numbers))
    expect(whole).toEqual([...x])
    const want = Array.from({ length: 4 * c }, (_, i) => {
      const [image, channel, column] = [1 + 2 * Math.floor(i / (2 * c)), Math.floor(i / 2) % c, 3 + 4 * (i % 2)]
      return x[((image * c + channel) * 8 + 2) * 8 + column]
    })
    expect(slice).toEqual(want)
    for (const t of [...inputs, ...outputs]) t.dispose()
    plan.dispose()
  })
})
