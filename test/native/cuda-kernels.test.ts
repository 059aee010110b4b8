/**
 * The ops that have kernels of ours on device 'cuda', through the simulator: the cases of the CPU's tests, with indices of 32 and of 64 bits, and what
 * only these kernels have: images that keep their channels last.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testIndices } from './cases/index.ts'
import { testMoves } from './cases/move.ts'
import { testPooling } from './cases/pool.ts'
import { testRandom } from './cases/random.ts'
import { compileRaw, f32 } from './plan-json.ts'
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
})
