/** conv2d and its adjoints against naive loops in float64, over a table of geometries and a seeded sweep of odd ones. */
import { afterEach, describe, expect, test } from 'vitest'
import { addon } from '../../lib/runtime/addon.ts'
import { type Array64, between, difference, expectOp, uniform, zeros } from './one-op.ts'
import { compileRaw, f32, generator, tensor } from './plan-json.ts'

interface Case {
  readonly n: number
  readonly c: number
  readonly h: number
  readonly w: number
  readonly o: number
  readonly kernel: readonly [number, number]
  readonly stride?: readonly [number, number]
  readonly padding?: readonly [number, number, number, number]
  readonly dilation?: readonly [number, number]
  readonly groups?: number
}

// Sums of up to 64 * 9 products of numbers below 1, and Winograd's transforms: errors of 1e-6 of the largest result were seen.
const tolerance = 1e-5

function geometry(g: Case) {
  const [sh, sw] = g.stride ?? [1, 1]
  const [top, left, bottom, right] = g.padding ?? [0, 0, 0, 0]
  const [dh, dw] = g.dilation ?? [1, 1]
  const oh = Math.floor((g.h + top + bottom - (g.kernel[0] - 1) * dh - 1) / sh) + 1
  const ow = Math.floor((g.w + left + right - (g.kernel[1] - 1) * dw - 1) / sw) + 1
  const attr = { stride: [sh, sw], padding: [top, left, bottom, right], dilation: [dh, dw], groups: g.groups ?? 1 }
  return { sh, sw, top, left, dh, dw, oh, ow, attr, groups: g.groups ?? 1 }
}

/** All three results at once: every term x·w·y of the trilinear form is visited once. */
function reference(g: Case, x: Array64, w: Array64, bias: Array64, dy: Array64) {
  const { sh, sw, top, left, dh, dw, oh, ow, groups } = geometry(g)
  const [kh, kw] = g.kernel
  const [cg, og] = [g.c / groups, g.o / groups]
  const y = zeros(dy.shape)
  const dx = zeros(x.shape)
  const gradient = zeros(w.shape)
  for (let i = 0; i < dy.data.length; i++) {
    const [q, p] = [i % ow, Math.floor(i / ow) % oh]
    const o = Math.floor(i / (ow * oh)) % g.o
    const n = Math.floor(i / (ow * oh * g.o))
    const up = dy.data[i] as number
    let total = bias.data[o] as number
    for (let k = 0; k < cg * kh * kw; k++) {
      const [b, a] = [k % kw, Math.floor(k / kw) % kh]
      const [row, column] = [p * sh - top + a * dh, q * sw - left + b * dw]
      if (row < 0 || column < 0 || row >= g.h || column >= g.w) continue
      const c = Math.floor(o / og) * cg + Math.floor(k / (kw * kh))
      const at = ((n * g.c + c) * g.h + row) * g.w + column
      const weight = o * cg * kh * kw + k
      total += (x.data[at] as number) * (w.data[weight] as number)
      dx.data[at] = (dx.data[at] as number) + up * (w.data[weight] as number)
      gradient.data[weight] = (gradient.data[weight] as number) + up * (x.data[at] as number)
    }
    y.data[i] = total
  }
  return { y, dx, gradient }
}

async function check(g: Case, seed = 1): Promise<void> {
  const random = generator(seed)
  const { oh, ow, attr, groups } = geometry(g)
  const x = uniform([g.n, g.c, g.h, g.w], random)
  const w = uniform([g.o, g.c / groups, ...g.kernel], random)
  const bias = uniform([g.o], random)
  const dy = uniform([g.n, g.o, oh, ow], random)
  const { y, dx, gradient } = reference(g, x, w, bias, dy)
  await expectOp('conv2d', [x, w, bias], attr, y, tolerance)
  await expectOp('conv2d_input_grad', [dy, w], { ...attr, inputSize: [g.h, g.w] }, dx, tolerance)
  await expectOp('conv2d_weight_grad', [x, dy], { ...attr, kernelSize: g.kernel }, gradient, tolerance)
}

const same = { kernel: [3, 3], padding: [1, 1, 1, 1] } as const
const table: Record<string, Case> = {
  'digits, first layer': { n: 8, c: 1, h: 8, w: 8, o: 16, ...same },
  'colour, first layer': { n: 4, c: 3, h: 12, w: 12, o: 16, ...same },
  'image as result': { n: 4, c: 32, h: 8, w: 8, o: 3, ...same },
  'blocked, Winograd': { n: 32, c: 32, h: 8, w: 8, o: 32, ...same },
  'blocked, Winograd, edges not full': { n: 32, c: 64, h: 7, w: 7, o: 32, ...same },
  'uneven padding': { n: 32, c: 32, h: 8, w: 8, o: 32, kernel: [3, 3], padding: [0, 1, 1, 0] },
  'stride 2 with a remainder': { n: 3, c: 16, h: 8, w: 9, o: 32, ...same, stride: [2, 2] },
  'stride 2, 1x1, remainder': { n: 3, c: 32, h: 8, w: 7, o: 64, kernel: [1, 1], stride: [2, 2] },
  '1x1': { n: 3, c: 32, h: 5, w: 5, o: 16, kernel: [1, 1] },
  'channels beside the block': { n: 3, c: 12, h: 6, w: 6, o: 20, ...same },
  groups: { n: 2, c: 32, h: 6, w: 6, o: 64, ...same, groups: 2 },
  depthwise: { n: 2, c: 32, h: 6, w: 6, o: 32, ...same, groups: 32 },
  'depthwise, beside the block': { n: 2, c: 5, h: 6, w: 6, o: 10, ...same, groups: 5 },
  dilation: { n: 2, c: 16, h: 9, w: 9, o: 16, kernel: [3, 3], padding: [2, 2, 2, 2], dilation: [2, 2] },
  'kernel larger than the image': { n: 2, c: 16, h: 2, w: 2, o: 16, kernel: [5, 5], padding: [2, 2, 2, 2] },
  'padding as large as the kernel': { n: 2, c: 16, h: 3, w: 3, o: 16, kernel: [2, 2], padding: [3, 2, 4, 2] },
  'one pixel': { n: 1, c: 1, h: 1, w: 1, o: 1, kernel: [1, 1] },
  'wide kernel': { n: 2, c: 3, h: 4, w: 11, o: 4, kernel: [1, 7], padding: [0, 3, 0, 3] },
  'no batch': { n: 0, c: 16, h: 4, w: 4, o: 16, ...same },
  'no channels': { n: 2, c: 0, h: 4, w: 4, o: 16, ...same },
}

describe('convolutions', () => {
  for (const [name, g] of Object.entries(table)) test(name, () => check(g))

  test('a seeded sweep', async () => {
    const random = generator(7)
    const channels = [1, 2, 3, 8, 16, 17, 32]
    const pick = (): number => channels[between(random, 0, channels.length - 1)] as number
    for (let i = 0; i < 40; i++) {
      const depthwise = random() < 0.2
      const c = pick()
      const size = (low: number, high: number): [number, number] => [
        between(random, low, high),
        between(random, low, high),
      ]
      const g: Case = {
        n: between(random, 1, 4),
        c,
        h: between(random, 1, 9),
        w: between(random, 1, 9),
        o: depthwise ? c : pick(),
        kernel: size(1, 4),
        stride: size(1, 3),
        padding: [...size(0, 2), ...size(0, 2)],
        dilation: size(1, 2),
        groups: depthwise ? c : 1,
      }
      const { oh, ow } = geometry(g)
      if (oh > 0 && ow > 0) await check(g, i)
    }
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

  test('another LANGEVIN_WINOGRAD is refused by name', async () => {
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
