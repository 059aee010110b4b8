/**
 * Plans of precision bfloat16 against float64 loops: every way through the matrix products and convolutions, values kept in bfloat16 between
 * them, and that it is the bfloat16 kernels that run. Skipped, all but the refusals, on processors that cannot.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { type CompiledPlan, compileGraph, type Precision } from '../../lib/runtime/compile.ts'
import { compileRaw, generator, richPlan } from './plan-json.ts'

const { bfloat16: available, threads } = addonInfo()
const where = available ? describe : describe.skip
afterEach(() => {
  setThreads(threads)
  delete process.env.LANGEVIN_WINOGRAD
})

/** The nearest bfloat16, ties to even. */
function rounded(x: number): number {
  const bits = new Uint32Array(new Float32Array([x]).buffer)
  const b = bits[0] as number
  bits[0] = ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000) >>> 0
  return new Float32Array(bits.buffer)[0] as number
}

const uniform = (shape: readonly number[], seed: number, map = (x: number) => x): HostTensor => {
  const random = generator(seed)
  return hostTensor(
    Float32Array.from({ length: sizeOf(shape) }, () => map(random() * 2 - 1)),
    shape,
  )
}

const count = (plan: CompiledPlan, op: string) => plan.stats.kernels.find((k) => k.op === op)?.count ?? 0

interface Outcome {
  /** Root mean square of the difference, as a share of that of the reference. */
  readonly rms: number
  /** Largest difference, as a share of the largest reference. */
  readonly worst: number
}

function compare(got: HostTensor, want: ArrayLike<number>): Outcome {
  let [square, scale, worst, largest] = [0, 0, 0, 1e-30]
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got.data[i] as number, want[i] as number]
    square += (g - w) ** 2
    scale += w * w
    worst = Math.max(worst, Math.abs(g - w))
    largest = Math.max(largest, Math.abs(w))
  }
  return { rms: Math.sqrt(square / Math.max(scale, 1e-30)), worst: worst / largest }
}

/** Runs on one thread and on two, twice each (the second time with packed parameters), and compares with float64 over `feeds`. */
async function check(
  y: Tensor,
  feeds: readonly (readonly [Tensor, HostTensor])[],
  kernel: string,
  precise: readonly HostTensor[],
) {
  const [want] = evaluateReference(
    [y],
    new Map(feeds.map(([t], i) => [t, { shape: t.shape, data: Float64Array.from((precise[i] as HostTensor).data) }])),
  )
  const outcomes: Outcome[] = []
  for (const n of [1, 2]) {
    setThreads(n)
    const plan = await compileGraph(
      'cpu',
      feeds.map(([t]) => t),
      [{ tensor: y }],
      { precision: 'bfloat16' },
    )
    expect(count(plan, kernel), `${kernel} in ${JSON.stringify(plan.stats.kernels)}`).toBeGreaterThan(0)
    const runs: HostTensor[] = []
    for (let i = 0; i < 2; i++) runs.push((await plan.call(feeds.map(([, v]) => v)))[0] as HostTensor)
    plan.dispose()
    expect(runs[1]?.data, 'runs repeat bit for bit').toEqual(runs[0]?.data)
    outcomes.push(compare(runs[0] as HostTensor, (want as { data: Float64Array }).data))
  }
  return outcomes
}

where('matrix products', () => {
  const cases: [string, number, number, number, boolean, boolean][] = []
  for (const [m, k, n] of [
    [64, 64, 64],
    [39, 37, 51],
    [256, 16, 130],
    [9, 300, 65],
    [100, 128, 16],
    [1024, 31, 17],
  ] as const) {
    for (const [a, b] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ] as const) {
      cases.push([`${m}x${k}x${n}${a ? ' Aᵀ' : ''}${b ? ' Bᵀ' : ''}`, m, k, n, a, b])
    }
  }
  test.each(cases)('%s: exact products of rounded operands', async (_, m, k, n, transposeA, transposeB) => {
    const a = ops.input('a', transposeA ? [k, m] : [m, k], 'float32')
    const b = ops.input('b', transposeB ? [n, k] : [k, n], 'float32')
    const values = [uniform(a.shape, 1), uniform(b.shape, 2)] as const
    const feeds = [
      [a, values[0]],
      [b, values[1]],
    ] as const
    const halves = values.map((v) => hostTensor(Float32Array.from(v.data as Float32Array, rounded), v.shape))
    const y = ops.matmul(a, b, { transposeA, transposeB })
    for (const { worst } of await check(y, feeds, 'matmul:bf16', halves)) expect(worst).toBeLessThan(2e-6)
    // And it is bfloat16: against the unrounded operands the difference is that of 8 bits.
    for (const { rms } of await check(y, feeds, 'matmul:bf16', values)) {
      expect(rms).toBeGreaterThan(5e-4)
      expect(rms).toBeLessThan(5e-3)
    }
  })

  test('a chain of layers keeps large intermediates in bfloat16, and its result is right', async () => {
    const [x, v, w] = [
      ops.input('x', [512, 64], 'float32'),
      ops.input('v', [300, 64], 'float32'),
      ops.input('w', [300, 48], 'float32'),
    ]
    const hidden = ops.silu(ops.matmul(x, v, { transposeB: true }))
    const y = ops.matmul(hidden, w)
    const values = [x, v, w].map((t, i) => uniform(t.shape, i + 3, (u) => u / 4))
    const feeds = [x, v, w].map((t, i) => [t, values[i] as HostTensor] as const)
    for (const { rms } of await check(y, feeds, 'matmul:bf16', values)) expect(rms).toBeLessThan(1e-2)
    const plan = await compileGraph('cpu', [x, v, w], [{ tensor: y }], { precision: 'bfloat16' })
    expect(plan.stats.text).toMatch(/float32\[512,300\]:half/)
    expect(plan.stats.text).not.toMatch(/float32\[512,48\]:half/)
    plan.dispose()
  })

  test('small products, vectors and batches stay float32', async () => {
    for (const [a, b] of [
      [
        [4, 64],
        [64, 64],
      ],
      [
        [256, 128],
        [128, 4],
      ],
      [
        [8, 64, 64],
        [8, 64, 64],
      ],
    ] as const) {
      const [x, w] = [ops.input('a', a, 'float32'), ops.input('b', b, 'float32')]
      const plan = await compileGraph('cpu', [x, w], [{ tensor: ops.matmul(x, w) }], { precision: 'bfloat16' })
      expect(count(plan, 'matmul:bf16')).toBe(0)
      plan.dispose()
    }
  })
})

interface Conv {
  readonly n: number
  readonly c: number
  readonly h: number
  readonly w: number
  readonly o: number
  readonly kernel: readonly [number, number]
  readonly stride?: number
  readonly padding?: number | readonly [number, number, number, number]
}

where('convolutions', () => {
  const table: Record<string, Conv> = {
    'Winograd, 8x8': { n: 8, c: 32, h: 8, w: 8, o: 32, kernel: [3, 3], padding: 1 },
    'Winograd, odd image': { n: 5, c: 48, h: 7, w: 9, o: 32, kernel: [3, 3], padding: 1 },
    'Winograd, no padding': { n: 4, c: 32, h: 9, w: 8, o: 80, kernel: [3, 3] },
    'Winograd, uneven padding': { n: 4, c: 64, h: 6, w: 6, o: 32, kernel: [3, 3], padding: [0, 2, 1, 0] },
    'Winograd, channels shared out': { n: 1, c: 144, h: 8, w: 8, o: 160, kernel: [3, 3], padding: 1 },
    'few tiles': { n: 1, c: 32, h: 4, w: 4, o: 32, kernel: [3, 3], padding: 1 },
    'few channels': { n: 4, c: 16, h: 8, w: 8, o: 16, kernel: [3, 3], padding: 1 },
    'stride 2': { n: 4, c: 32, h: 9, w: 9, o: 64, kernel: [3, 3], stride: 2, padding: 1 },
    pointwise: { n: 4, c: 32, h: 6, w: 6, o: 48, kernel: [1, 1] },
  }
  const graphs = ({ n, c, h, w, o, kernel, stride = 1, padding = 0 }: Conv) => {
    const x = ops.input('x', [n, c, h, w], 'float32')
    const k = ops.input('w', [o, c, ...kernel], 'float32')
    const bias = ops.input('bias', [o], 'float32')
    const attr = { stride, padding }
    const y = ops.add(ops.conv2d(x, k, attr), ops.reshape(bias, [o, 1, 1]))
    const dy = ops.input('dy', y.shape, 'float32')
    const up = ops.sum(ops.mul(ops.conv2d(x, k, attr), dy))
    return { x, k, bias, y, dy, up }
  }
  test.each(Object.entries(table))('%s: result and both gradients', async (name, g) => {
    const { x, k, bias, y, dy, up } = graphs(g)
    const [dx, dk] = grad(up, [x, k]) as [Tensor, Tensor]
    const values = [x, k, bias, dy].map((t, i) => uniform(t.shape, i + 1))
    const [vx, vk, vb, vdy] = values as [HostTensor, HostTensor, HostTensor, HostTensor]
    const winograd = name.startsWith('Winograd')
    const results = [
      await check(
        y,
        [
          [x, vx],
          [k, vk],
          [bias, vb],
        ],
        'conv2d:bf16',
        [vx, vk, vb],
      ),
      await check(
        dx,
        [
          [dy, vdy],
          [k, vk],
        ],
        'conv2d_input_grad:bf16',
        [vdy, vk],
      ),
      await check(
        dk,
        [
          [x, vx],
          [dy, vdy],
        ],
        'conv2d_weight_grad:bf16',
        [vx, vdy],
      ),
    ]
    for (const [i, outcomes] of results.entries()) {
      for (const { rms, worst } of outcomes) {
        expect(rms, `${i}`).toBeLessThan(winograd && i < 2 ? 6e-3 : 4e-3)
        expect(worst, `${i}`).toBeLessThan(2e-2)
      }
    }
  })

  test('without Winograd a sum is exact but for the rounding of its operands', async () => {
    process.env.LANGEVIN_WINOGRAD = '0'
    const { x, k, bias, y } = graphs(table['Winograd, 8x8'] as Conv)
    const values = [x, k, bias].map((t, i) => uniform(t.shape, i + 1))
    const halves = values.map((v, i) =>
      i === 2 ? v : hostTensor(Float32Array.from(v.data as Float32Array, rounded), v.shape),
    )
    const feeds = [x, k, bias].map((t, i) => [t, values[i] as HostTensor] as const)
    for (const { worst } of await check(y, feeds, 'conv2d:bf16', halves)) expect(worst).toBeLessThan(5e-6)
  })

  test('layers with a norm between: activations lie in bfloat16, nothing is converted back and forth, new weights are packed anew', async () => {
    const [n, c] = [8, 32]
    const x = ops.input('x', [n, c, 8, 8], 'float32')
    const w = ops.input('w', [c, c, 3, 3], 'float32')
    const layer = (t: Tensor) => ops.relu(ops.normalize(ops.conv2d(t, w, { padding: 1 }), [0, 2, 3]))
    const y = ops.sum(ops.square(ops.conv2d(layer(layer(x)), w, { padding: 1 })), [1, 2, 3])
    const values = uniform(x.shape, 1)
    const both = async (precision: Precision, weights: readonly HostTensor[]) => {
      const plan = await compileGraph('cpu', [x, w], [{ tensor: y }], { precision })
      const out: HostTensor[] = []
      for (const v of weights) out.push((await plan.call([values, v]))[0] as HostTensor)
      const { kernels, reorders, text } = plan.stats
      plan.dispose()
      return { out, kernels, reorders, text }
    }
    const weights = [uniform(w.shape, 2), uniform(w.shape, 3, (u) => u * 2)]
    const [half, full] = [await both('bfloat16', weights), await both('float32', weights)]
    expect(half.kernels.find((k) => k.op === 'conv2d:bf16')?.count).toBe(3)
    expect(half.reorders).toBeLessThanOrEqual(2)
    for (const [i, h] of half.out.entries()) expect(compare(h, (full.out[i] as HostTensor).data).rms).toBeLessThan(1e-2)
    expect(compare(half.out[0] as HostTensor, (half.out[1] as HostTensor).data).rms).toBeGreaterThan(0.1)
  })
})

test('an unknown precision is refused, by name', async () => {
  const { plan, constants } = richPlan()
  await expect(compileRaw({ ...plan, precision: 'half' }, constants)).rejects.toMatchObject({ code: 'E_PLAN' })
  const x = ops.input('x', [2], 'float32')
  const wrong = compileGraph('cpu', [x], [{ tensor: ops.neg(x) }], { precision: 'bfloat' as Precision })
  await expect(wrong).rejects.toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(/bfloat16/) })
})

test('a processor without the instructions is told so', () => {
  const path =
    process.env.LANGEVIN_ADDON ?? fileURLToPath(new URL('../../build/Release/langevin.node', import.meta.url))
  const source = `
    const addon = require(${JSON.stringify(path)})
    const plan = { version: 1, precision: 'bfloat16', values: [], inputs: [], constants: [], outputs: [], code: [] }
    addon.compile(JSON.stringify(plan), new Uint8Array()).then(() => 'compiled', (e) => e.code + ' ' + e.message)
      .then((told) => process.stdout.write(JSON.stringify({ bfloat16: addon.info().bfloat16, told })))`
  const env = { ...process.env, ONEDNN_MAX_CPU_ISA: 'AVX2' }
  const told = JSON.parse(execFileSync(process.execPath, ['-e', source], { env, encoding: 'utf8' }))
  expect(told).toEqual({ bfloat16: false, told: expect.stringMatching(/^E_DEVICE .*AVX512-BF16/) })
})
