/**
 * Weight gradients of 3x3 convolutions by Winograd's algorithm against naive loops in float64: both strides, tiles that are cut off, all
 * paddings, both ways of sharing out work, float32 and bfloat16 operands. On processors without AVX-512 the same is asked of what they run.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import * as ops from '../../lib/ops/index.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { type Array64, difference, expectOp, uniform, zeros } from './one-op.ts'
import { generator } from './plan-json.ts'

interface Case {
  readonly n: number
  readonly c: number
  readonly o: number
  readonly h: number
  readonly w: number
  readonly stride: 1 | 2
  readonly padding: readonly [number, number, number, number]
}

const around = [1, 1, 1, 1] as const
const none = [0, 0, 0, 0] as const
const cases: Record<string, Case> = {
  'whole tiles': { n: 1, c: 16, o: 16, h: 8, w: 8, stride: 1, padding: around },
  'cut tiles, a panel of 96 in two': { n: 3, c: 48, o: 96, h: 7, w: 9, stride: 1, padding: around },
  'no padding': { n: 3, c: 96, o: 64, h: 5, w: 12, stride: 1, padding: none },
  'padding on two sides': { n: 3, c: 32, o: 48, h: 10, w: 6, stride: 1, padding: [1, 0, 0, 1] },
  'smaller than a tile': { n: 1, c: 64, o: 16, h: 2, w: 1, stride: 1, padding: around },
  'threads with tiles of their own, several rounds': { n: 1, c: 16, o: 16, h: 65, w: 64, stride: 1, padding: around },
  'shared tiles, two rounds': { n: 7, c: 528, o: 16, h: 16, w: 16, stride: 1, padding: around },
  'stride 2': { n: 1, c: 16, o: 16, h: 16, w: 16, stride: 2, padding: around },
  'stride 2, cut tiles': { n: 3, c: 48, o: 96, h: 13, w: 7, stride: 2, padding: around },
  'stride 2, no padding': { n: 3, c: 96, o: 64, h: 12, w: 9, stride: 2, padding: none },
  'stride 2, padding on two sides': { n: 3, c: 32, o: 48, h: 10, w: 6, stride: 2, padding: [0, 1, 1, 0] },
  'stride 2, tiles of their own': { n: 3, c: 16, o: 48, h: 64, w: 33, stride: 2, padding: around },
  'stride 2, two rounds': { n: 3, c: 528, o: 16, h: 32, w: 32, stride: 2, padding: around },
}

// Of the largest gradient. 2e-6 was seen; a wrong coefficient gives 1e-2 and more.
const tolerance = 5e-6

function sizes(g: Case) {
  const [top, left, bottom, right] = g.padding
  const oh = Math.floor((g.h + top + bottom - 3) / g.stride) + 1
  const ow = Math.floor((g.w + left + right - 3) / g.stride) + 1
  return { oh, ow, attr: { stride: [g.stride, g.stride], padding: g.padding, dilation: [1, 1], groups: 1 } }
}

function reference(g: Case, x: Array64, dy: Array64): Array64 {
  const { oh, ow } = sizes(g)
  const [top, left] = g.padding
  const result = zeros([g.o, g.c, 3, 3])
  const add = (o: number, c: number, i: number, j: number) => {
    let sum = 0
    for (let n = 0; n < g.n; n++) {
      for (let p = 0; p < oh; p++) {
        const row = p * g.stride - top + i
        if (row < 0 || row >= g.h) continue
        const from = ((n * g.c + c) * g.h + row) * g.w + j - left
        const up = ((n * g.o + o) * oh + p) * ow
        for (let q = 0; q < ow; q++) {
          const column = q * g.stride + j - left
          if (column < 0 || column >= g.w) continue
          sum += (x.data[from + q * g.stride] as number) * (dy.data[up + q] as number)
        }
      }
    }
    result.data[((o * g.c + c) * 3 + i) * 3 + j] = sum
  }
  for (let k = 0; k < g.o * g.c * 9; k++) {
    add(Math.floor(k / (9 * g.c)), Math.floor(k / 9) % g.c, Math.floor(k / 3) % 3, k % 3)
  }
  return result
}

function operands(g: Case, map = (v: number) => v) {
  const random = generator(5)
  const { oh, ow } = sizes(g)
  const of = (shape: readonly number[]): Array64 => {
    const { data } = uniform(shape, random)
    return { shape, data: data.map(map) }
  }
  return { x: of([g.n, g.c, g.h, g.w]), dy: of([g.n, g.o, oh, ow]) }
}

/** Numbers that bfloat16 holds exactly, so that only the arithmetic differs. */
const exact = (v: number): number => Math.round(v * 128) / 128

async function gradient(g: Case, x: Array64, dy: Array64, precision: 'float32' | 'bfloat16') {
  const inputs = [ops.input('x', x.shape, 'float32'), ops.input('dy', dy.shape, 'float32')] as const
  const [a, b] = inputs
  const options = { stride: g.stride, padding: g.padding, kernelSize: 3 } as const
  const plan = await compileGraph('cpu', [a, b], [{ tensor: ops.conv2dWeightGrad(a, b, options) }], { precision })
  const values = [x, dy].map((t) => hostTensor(Float32Array.from(t.data), t.shape))
  const runs = [await plan.call(values), await plan.call(values)].map(([t]) => t?.data as Float32Array)
  const { kernels } = plan.stats
  plan.dispose()
  expect(runs[1], 'runs repeat bit for bit').toEqual(runs[0])
  return { data: runs[0] as Float32Array, kernels }
}

const { threads, bfloat16, isa } = addonInfo()
beforeEach(() => {
  process.env.LANGEVIN_WINOGRAD = '1'
})
afterEach(() => {
  delete process.env.LANGEVIN_WINOGRAD
  setThreads(threads)
})

describe('float32 operands', () => {
  test.each(Object.entries(cases))('%s', async (_, g) => {
    const { x, dy } = operands(g)
    const { attr } = sizes(g)
    await expectOp(
      'conv2d_weight_grad',
      [x, dy],
      { ...attr, kernelSize: [3, 3] },
      reference(g, x, dy),
      tolerance,
      'cpu',
    )
  })
})

describe.skipIf(!bfloat16)('bfloat16 operands: sums are as of float32 ones', () => {
  test.each(Object.entries(cases))('%s', async (_, g) => {
    const { x, dy } = operands(g, exact)
    const want = reference(g, x, dy)
    for (const n of [1, 2]) {
      setThreads(n)
      const { data, kernels } = await gradient(g, x, dy, 'bfloat16')
      expect(kernels.map((k) => k.op)).toContain('conv2d_weight_grad:bf16')
      expect(difference(data, want.data), `${n} threads`).toBeLessThan(tolerance)
    }
  })
})

describe('the setting', () => {
  const chosen = {
    stride1: cases['padding on two sides'] as Case,
    stride2: cases['stride 2, tiles of their own'] as Case,
  }
  // Padding on two sides only, and stride 2: oneDNN has no Winograd for these, so other bits are the bits of ours.
  test.each(Object.entries(chosen))('%s: LANGEVIN_WINOGRAD=0 gives the direct sum, within rounding', async (_, g) => {
    const { x, dy } = operands(g)
    const ours = await gradient(g, x, dy, 'float32')
    process.env.LANGEVIN_WINOGRAD = '0'
    const direct = await gradient(g, x, dy, 'float32')
    expect(difference(direct.data, Float64Array.from(ours.data))).toBeLessThan(tolerance)
    if (isa.startsWith('AVX3')) expect(direct.data).not.toEqual(ours.data)
  })

  test('left alone, large gradients are taken and images that hardly fill a tile are not', async () => {
    const bits = async (g: Case, setting: string) => {
      process.env.LANGEVIN_WINOGRAD = setting
      const { x, dy } = operands(g)
      return (await gradient(g, x, dy, 'float32')).data
    }
    const large: Case = { n: 4, c: 64, o: 64, h: 16, w: 16, stride: 2, padding: around }
    const tiny: Case = { n: 16, c: 32, o: 32, h: 4, w: 4, stride: 2, padding: around }
    expect(await bits(large, 'auto')).toEqual(await bits(large, '1'))
    expect(await bits(tiny, 'auto')).toEqual(await bits(tiny, '0'))
    if (isa.startsWith('AVX3')) expect(await bits(tiny, '1')).not.toEqual(await bits(tiny, '0'))
  })
})
