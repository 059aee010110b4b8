/**
 * Products and convolutions on device 'cuda', through the simulator: the cases of the CPU's tests in float32 without TF32; what TF32 changes; bfloat16
 * operands; reordered weights that several kernels share; and convolutions that cuDNN refuses when they run.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addon, type NativePlan } from '../../lib/runtime/addon.ts'
import * as convolutions from './cases/conv.ts'
import * as products from './cases/matmul.ts'
import { type Array64, difference, expectOp } from './one-op.ts'
import { compileRaw, f32 } from './plan-json.ts'
import { simulated } from './simulated.ts'

type Conv = convolutions.Case
const device = 'cuda'
const where = simulated ? describe : describe.skip

afterEach(() => {
  const set = ['LANGEVIN_TF32', 'LANGEVIN_CUDA_WIDE', 'LANGEVIN_SIMULATOR_REFUSE_CONVOLUTIONS']
  for (const name of set) delete process.env[name]
})

/** Of the values that cuDNN's or our own sums of a few hundred products of numbers below 1 may be off, as a share of the largest. */
const exact = 1e-5

async function checkProduct(g: products.Case, seed = 1): Promise<void> {
  const { a, b, attr, c } = products.operands(g, seed)
  await expectOp('matmul', [a, b], attr, c, exact, device)
}

async function checkConvolution(g: Conv, seed = 1, tolerance = exact): Promise<void> {
  const { attr } = convolutions.geometry(g)
  const { x, w, bias, dy, y, dx, gradient } = convolutions.operands(g, seed)
  await expectOp('conv2d', [x, w, bias], attr, y, tolerance, device)
  await expectOp('conv2d', [x, w], attr, { shape: y.shape, data: withoutBias(y, bias) }, tolerance, device)
  await expectOp('conv2d_input_grad', [dy, w], { ...attr, inputSize: [g.h, g.w] }, dx, tolerance, device)
  await expectOp('conv2d_weight_grad', [x, dy], { ...attr, kernelSize: g.kernel }, gradient, tolerance, device)
}

function withoutBias(y: Array64, bias: Array64): Float64Array {
  const [, o, h, w] = y.shape as [number, number, number, number]
  return y.data.map((v, i) => v - (bias.data[Math.floor(i / (h * w)) % o] as number))
}

where('in float32', () => {
  beforeEach(() => {
    process.env.LANGEVIN_TF32 = '0'
  })

  describe('products', () => {
    for (const [name, g] of Object.entries(products.table)) test(name, () => checkProduct(g))
    test('a seeded sweep', async () => {
      for (const [i, g] of products.sweep(40).entries()) await checkProduct(g, i)
    })
  })

  describe('convolutions', () => {
    for (const [name, g] of Object.entries(convolutions.table)) test(name, () => checkConvolution(g))
    test('a seeded sweep', async () => {
      for (const [i, g] of convolutions.sweep(25).entries()) await checkConvolution(g, i)
    })
  })

  test('with indices of 64 bits', async () => {
    process.env.LANGEVIN_CUDA_WIDE = '1'
    await checkConvolution({ n: 3, c: 8, h: 7, w: 6, o: 12, kernel: [3, 3], padding: [0, 1, 1, 0] })
  })

  test('what cuDNN refuses when it runs is computed all the same', async () => {
    process.env.LANGEVIN_SIMULATOR_REFUSE_CONVOLUTIONS = '1'
    const { same } = convolutions
    await checkConvolution({ n: 3, c: 16, h: 7, w: 6, o: 24, ...same })
    await checkConvolution({
      n: 3,
      c: 16,
      h: 7,
      w: 6,
      o: 24,
      ...same,
      padding: [0, 1, 2, 1],
      groups: 4,
      stride: [2, 1],
    })
  })
})

where('TF32', () => {
  // Operands keep 10 bits of mantissa: each term is off by up to 2^-10, their sum by less in the mean.
  const product = { a: [64, 200], b: [200, 64] }
  const convolution: Conv = { n: 4, c: 32, h: 8, w: 8, o: 32, ...convolutions.same }

  test('is the default, for products and convolutions', async () => {
    const { a, b, attr, c } = products.operands(product, 1)
    await expectOp('matmul', [a, b], attr, c, 2e-3, device)
    await expect(expectOp('matmul', [a, b], attr, c, exact, device)).rejects.toThrow(/to be less than or equal to/)
    await checkConvolution(convolution, 1, 2e-3)
    await expect(checkConvolution(convolution, 1)).rejects.toThrow(/to be less than or equal to/)
  })

  test('another LANGEVIN_TF32 is refused by name', async () => {
    process.env.LANGEVIN_TF32 = 'no'
    const refusal = { code: 'E_DEVICE', message: expect.stringMatching(/LANGEVIN_TF32 must be 1 .* got 'no'/) }
    const { a, b, attr, c } = products.operands(product, 1)
    await expect(expectOp('matmul', [a, b], attr, c, exact, device)).rejects.toMatchObject(refusal)
    await expect(checkConvolution(convolution)).rejects.toMatchObject(refusal)
  })
})

/** The nearest bfloat16, ties to even. */
function rounded(x: number): number {
  const bits = new Uint32Array(new Float32Array([x]).buffer)
  const b = bits[0] as number
  bits[0] = ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000) >>> 0
  return new Float32Array(bits.buffer)[0] as number
}
const halves = (t: Array64): Array64 => ({ shape: t.shape, data: t.data.map(rounded) })

/** Compiles a plan of instructions over the inputs, in order; runs it on each set of inputs, twice. */
async function runs(
  code: { op: string; in: number[]; out: number[]; attr: Record<string, unknown> }[],
  shapes: readonly (readonly number[])[],
  outputs: readonly number[],
  sets: readonly (readonly Array64[])[],
  look: (plan: NativePlan) => void,
  precision: 'float32' | 'bfloat16' = 'bfloat16',
): Promise<Float32Array[][]> {
  const inputs = (sets[0] as readonly Array64[]).map((_, i) => i)
  const values = shapes.map((s) => f32(...s))
  const bound = outputs.map((value) => ({ value, alias: null }))
  const plan = await compileRaw(
    { version: 1, precision, values, inputs, constants: [], outputs: bound, code },
    undefined,
    device,
  )
  look(plan)
  const results = outputs.map((v) => new (addon().Tensor)('float32', shapes[v] as readonly number[], device))
  const operands = inputs.map((i) => new (addon().Tensor)('float32', shapes[i] as readonly number[], device))
  const seen: Float32Array[][] = []
  for (const set of sets) {
    for (const [i, t] of operands.entries()) await t.write(Float32Array.from((set[i] as Array64).data))
    for (let repeat = 0; repeat < 2; repeat++) {
      await plan.run(operands, results)
      seen.push(await Promise.all(results.map(async (r) => (await r.read()) as Float32Array)))
    }
    expect(seen.at(-1), 'runs repeat bit for bit').toEqual(seen.at(-2))
  }
  plan.dispose()
  for (const t of [...operands, ...results]) t.dispose()
  return seen.filter((_, i) => i % 2 === 0)
}

const kernels = (plan: NativePlan, op: string) => plan.stats.kernels.find((k) => k.op === op)?.count ?? 0

where('in bfloat16', () => {
  const shapes: [string, number, number, number, boolean, boolean][] = []
  for (const [m, k, n] of [
    [64, 64, 64],
    [39, 37, 51],
    [9, 300, 65],
    [1024, 31, 17],
  ] as const) {
    for (const a of [false, true]) {
      for (const b of [false, true]) shapes.push([`${m}x${k}x${n}${a ? ' Aᵀ' : ''}${b ? ' Bᵀ' : ''}`, m, k, n, a, b])
    }
  }
  test.each(shapes)('a product %s: exact sums of rounded operands', async (_, m, k, n, transposeA, transposeB) => {
    const g = { a: transposeA ? [k, m] : [m, k], b: transposeB ? [n, k] : [k, n], transposeA, transposeB }
    const { a, b, attr } = products.operands(g, 1)
    const code = [{ op: 'matmul', in: [0, 1], out: [2], attr }]
    const [got] = await runs(code, [g.a, g.b, [m, n]], [2], [[a, b]], (plan) => {
      expect(kernels(plan, 'matmul:bf16')).toBe(1)
    })
    const want = products.reference(halves(a), halves(b), transposeA, transposeB)
    expect(difference((got as Float32Array[])[0] as Float32Array, want.data)).toBeLessThan(exact)
  })

  test('a product that only another reads is stored in bfloat16', async () => {
    const attr = { transposeA: false, transposeB: false }
    const first = products.operands({ a: [40, 64], b: [64, 48] }, 1)
    const second = products.operands({ a: [40, 48], b: [48, 40] }, 2)
    const code = [
      { op: 'matmul', in: [0, 1], out: [3], attr },
      { op: 'matmul', in: [3, 2], out: [4], attr },
    ]
    const sizes = [
      [40, 64],
      [64, 48],
      [48, 40],
      [40, 48],
      [40, 40],
    ]
    const [got] = await runs(code, sizes, [4], [[first.a, first.b, second.b]], (plan) => {
      expect(plan.stats.text).toMatch(/float32\[40,48\]:half@arena/)
      expect(plan.stats.reorders).toBe(3) // of the inputs
    })
    const hidden = products.reference(halves(first.a), halves(first.b), false, false)
    const want = products.reference(halves(hidden), halves(second.b), false, false)
    // A sum at the middle between two bfloat16 may be rounded either way.
    expect(difference((got as Float32Array[])[0] as Float32Array, want.data)).toBeLessThan(1e-3)
  })

  const table: Record<string, Conv> = {
    '3x3': { n: 4, c: 16, h: 8, w: 8, o: 8, ...convolutions.same },
    'uneven padding': { n: 3, c: 8, h: 7, w: 6, o: 24, kernel: [3, 3], padding: [0, 2, 1, 0] },
    'stride 2': { n: 4, c: 8, h: 9, w: 9, o: 40, ...convolutions.same, stride: [2, 2] },
    pointwise: { n: 4, c: 32, h: 6, w: 6, o: 24, kernel: [1, 1] },
    tiny: { n: 1, c: 8, h: 2, w: 2, o: 8, kernel: [1, 1] },
  }
  for (const refused of [false, true]) {
    test.each(Object.entries(table))(`%s: result and both gradients${refused ? ', refused' : ''}`, async (_, g) => {
      if (refused) process.env.LANGEVIN_SIMULATOR_REFUSE_CONVOLUTIONS = '1'
      const { attr } = convolutions.geometry(g)
      const { x, w, bias, dy } = convolutions.operands(g, 3)
      const code = [
        { op: 'conv2d', in: [0, 1, 2], out: [4], attr },
        { op: 'conv2d_input_grad', in: [3, 1], out: [5], attr: { ...attr, inputSize: [g.h, g.w] } },
        { op: 'conv2d_weight_grad', in: [0, 3], out: [6], attr: { ...attr, kernelSize: g.kernel } },
      ]
      const sizes = [x, w, bias, dy, dy, x, w].map((t) => t.shape)
      const [got] = await runs(code, sizes, [4, 5, 6], [[x, w, bias, dy]], (plan) => {
        for (const { op } of code) expect(kernels(plan, `${op}:bf16`), op).toBe(1)
      })
      // Sums of rounded operands, rounded once more to 8 bits.
      const want = convolutions.reference(g, halves(x), halves(w), bias, halves(dy))
      for (const [i, t] of [want.y, want.dx, want.gradient].entries()) {
        expect(difference((got as Float32Array[])[i] as Float32Array, t.data), `${code[i]?.op}`).toBeLessThan(2 ** -8)
      }
    })
  }

  test('convolutions of few or odd channels, grouped ones and small or batched products stay float32', async () => {
    const g: Conv = { n: 2, c: 3, h: 8, w: 8, o: 16, ...convolutions.same }
    const { x, w, y } = convolutions.operands(g, 1)
    const code = [{ op: 'conv2d', in: [0, 1], out: [2], attr: convolutions.geometry(g).attr }]
    await runs(
      code,
      [x, w, y].map((t) => t.shape),
      [2],
      [[x, w]],
      (plan) => expect(kernels(plan, 'conv2d')).toBe(1),
    )
    const grouped: Conv = { ...g, c: 16, groups: 2 }
    const t = convolutions.operands(grouped, 1)
    const other = [{ op: 'conv2d', in: [0, 1], out: [2], attr: convolutions.geometry(grouped).attr }]
    await runs(
      other,
      [t.x, t.w, t.y].map((v) => v.shape),
      [2],
      [[t.x, t.w]],
      (plan) => expect(kernels(plan, 'conv2d')).toBe(1),
    )
    for (const shapes of [
      { a: [4, 64], b: [64, 64] },
      { a: [8, 64, 64], b: [8, 64, 64] },
    ]) {
      const { a, b, attr, c } = products.operands(shapes, 1)
      const one = [{ op: 'matmul', in: [0, 1], out: [2], attr }]
      await runs(one, [a.shape, b.shape, c.shape], [2], [[a, b]], (plan) => expect(kernels(plan, 'matmul')).toBe(1))
    }
  })
})

where('reordered weights', () => {
  test('are made once a version, for all kernels of a plan that read them', async () => {
    process.env.LANGEVIN_TF32 = '0'
    const g: Conv = { n: 2, c: 16, h: 6, w: 6, o: 16, ...convolutions.same }
    const { attr } = convolutions.geometry(g)
    const sets = [1, 2].map((seed) => convolutions.operands(g, seed))
    const code = [
      { op: 'conv2d', in: [0, 1], out: [2], attr },
      { op: 'conv2d_input_grad', in: [0, 1], out: [3], attr: { ...attr, inputSize: [6, 6] } },
      { op: 'conv2d', in: [2, 1], out: [4], attr },
    ]
    const image = [2, 16, 6, 6]
    const weights = [16, 16, 3, 3]
    const look = (plan: NativePlan) => {
      // One copy of the weights and one of x: as NHWC.
      expect(plan.stats.persistentBytes).toBe((16 * 16 * 9 + 2 * 16 * 36) * 4)
    }
    const got = await runs(
      code,
      [image, weights, image, image, image],
      [2, 3, 4],
      sets.map((s) => [s.x, s.w]),
      look,
      'float32',
    )
    for (const [i, s] of sets.entries()) {
      const none = { shape: [16], data: new Float64Array(16) }
      const { y } = convolutions.reference(g, s.x, s.w, none, s.dy)
      const { dx } = convolutions.reference(g, s.x, s.w, none, s.x)
      const { y: second } = convolutions.reference(g, y, s.w, none, s.dy)
      const results = got[i] as Float32Array[]
      for (const [j, want] of [y, dx, second].entries()) {
        expect(difference(results[j] as Float32Array, want.data), `result ${j} of weights ${i}`).toBeLessThan(exact)
      }
    }
  })

  test('that the plan computes are reordered at each run', async () => {
    process.env.LANGEVIN_TF32 = '0'
    const g: Conv = { n: 2, c: 16, h: 6, w: 6, o: 16, ...convolutions.same }
    const { x, w, y, bias } = convolutions.operands(g, 4)
    const flat = { shape: [16 * 16, 9], data: w.data }
    const identity = { shape: [9, 9], data: Float64Array.from({ length: 81 }, (_, i) => (i % 10 === 0 ? 1 : 0)) }
    const code = [
      { op: 'matmul', in: [2, 3], out: [4], attr: { transposeA: false, transposeB: false } },
      { op: 'reshape', in: [4], out: [5], attr: {} },
      { op: 'conv2d', in: [0, 5, 1], out: [6], attr: convolutions.geometry(g).attr },
    ]
    const sizes = [x.shape, [16], flat.shape, [9, 9], flat.shape, [16, 16, 3, 3], y.shape]
    const [got] = await runs(code, sizes, [6], [[x, bias, flat, identity]], () => {}, 'float32')
    expect(difference((got as Float32Array[])[0] as Float32Array, y.data)).toBeLessThan(exact)
  })
})
