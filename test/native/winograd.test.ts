/**
 * Our float32 Winograd kernels of results and input gradients against the float64 interpreter, and against the direct algorithm where images
 * are too large for that. On processors without AVX-512 the same holds of whatever runs instead; only its use is not checked there.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { sizeOf } from '../../lib/graph/shape.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { addonInfo, setThreads } from '../../lib/runtime/addon.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { type Array64, difference, expectOp, uniform } from './one-op.ts'
import { generator } from './plan-json.ts'

interface Case {
  readonly n: number
  readonly c: number
  readonly o: number
  readonly size: readonly [number, number]
  /** Top, left, bottom, right. */
  readonly padding?: readonly [number, number, number, number]
}

const even = [1, 1, 1, 1] as const
const table: Record<string, Case> = {
  'one block of channels': { n: 3, c: 16, o: 16, size: [8, 8] },
  'tiles that are not full': { n: 3, c: 16, o: 32, size: [7, 5] },
  'a row of tiles that is not full': { n: 1, c: 48, o: 16, size: [9, 12] },
  'image smaller than a tile': { n: 5, c: 16, o: 16, size: [2, 3] },
  'one pixel': { n: 17, c: 16, o: 16, size: [1, 1] },
  'panels of different width': { n: 1, c: 64, o: 80, size: [6, 6] },
  'panels of different width, many channels': { n: 1, c: 80, o: 144, size: [5, 4] },
  'no padding': { n: 3, c: 48, o: 32, size: [8, 7], padding: [0, 0, 0, 0] },
  'uneven padding': { n: 3, c: 32, o: 32, size: [8, 7], padding: [0, 1, 1, 0] },
  'wide padding': { n: 1, c: 16, o: 32, size: [5, 6], padding: [3, 4, 2, 3] },
  'more tiles than a run': { n: 2, c: 16, o: 16, size: [33, 34] },
  'weights transformed on the way': { n: 2, c: 192, o: 160, size: [4, 3] },
  'weights transformed on the way, uneven': { n: 1, c: 160, o: 208, size: [5, 6], padding: [1, 0, 0, 1] },
}

const sizes = (g: Case) => {
  const [top, left, bottom, right] = g.padding ?? even
  const out = [g.size[0] + top + bottom - 2, g.size[1] + left + right - 2] as const
  const attr = { stride: [1, 1], padding: [top, left, bottom, right], dilation: [1, 1], groups: 1 }
  return { out, attr, padding: [top, left, bottom, right] as [number, number, number, number] }
}

function reference(y: Tensor, feeds: readonly (readonly [Tensor, Array64])[]): Array64 {
  const [want] = evaluateReference([y], new Map(feeds))
  return { shape: y.shape, data: (want as { data: Float64Array }).data }
}

// Errors of 1.4e-6 of the largest result were seen.
const tolerance = 4e-6

afterEach(() => {
  delete process.env.LANGEVIN_WINOGRAD
  setThreads(addonInfo().threads)
})

describe('against float64, on one thread and on two, the same bits at every run', () => {
  for (const [name, g] of Object.entries(table)) {
    test(name, async () => {
      const random = generator(1)
      const { out, attr, padding } = sizes(g)
      const [x, w, bias, dy] = [
        uniform([g.n, g.c, ...g.size], random),
        uniform([g.o, g.c, 3, 3], random),
        uniform([g.o], random),
        uniform([g.n, g.o, ...out], random),
      ]
      const [tx, tw, ty] = [x, w, dy].map((t, i) => ops.input('xwy'[i] as string, t.shape, 'float32')) as [
        Tensor,
        Tensor,
        Tensor,
      ]
      const y = reference(ops.conv2d(tx, tw, { padding }), [
        [tx, x],
        [tw, w],
      ])
      await expectOp('conv2d', [x, w], attr, y, tolerance)
      const area = out[0] * out[1]
      const shifted = y.data.map((v, i) => v + (bias.data[Math.floor(i / area) % g.o] as number))
      await expectOp('conv2d', [x, w, bias], attr, { shape: y.shape, data: shifted }, tolerance)
      const dx = reference(ops.conv2dInputGrad(ty, tw, { padding, inputSize: g.size }), [
        [ty, dy],
        [tw, w],
      ])
      await expectOp('conv2d_input_grad', [dy, w], { ...attr, inputSize: g.size }, dx, tolerance)
    })
  }
})

/** What a plan of one convolution and its input gradient gives under a setting of LANGEVIN_WINOGRAD. */
async function both(g: Case, setting: string): Promise<Float32Array[]> {
  process.env.LANGEVIN_WINOGRAD = setting
  const random = generator(2)
  const { out, padding } = sizes(g)
  const shapes = [
    [g.n, g.c, ...g.size],
    [g.o, g.c, 3, 3],
    [g.n, g.o, ...out],
  ]
  const [x, w, dy] = shapes.map((s, i) => ops.input('xwy'[i] as string, s, 'float32')) as [Tensor, Tensor, Tensor]
  const results = [ops.conv2d(x, w, { padding }), ops.conv2dInputGrad(dy, w, { padding, inputSize: g.size })]
  const plan = await compileGraph(
    'cpu',
    [x, w, dy],
    results.map((tensor) => ({ tensor })),
  )
  const values = shapes.map((s) => hostTensor(Float32Array.from(uniform(s, random).data), s))
  const got = await plan.call(values)
  plan.dispose()
  return got.map((t) => t.data as Float32Array)
}

describe('beside the direct algorithm', () => {
  const large: Record<string, Case> = {
    'threads with tiles of their own': { n: 5, c: 96, o: 80, size: [17, 18] },
    'rounds of tiles that threads share': { n: 3, c: 208, o: 176, size: [18, 21] },
    'uneven padding, rounds': { n: 3, c: 176, o: 176, size: [18, 21], padding: [0, 1, 2, 0] },
  }
  for (const [name, g] of Object.entries(large)) {
    test.each([1, 2, 3])(`${name}, %i threads`, async (threads) => {
      setThreads(threads)
      const [direct, chosen] = [await both(g, '0'), await both(g, 'auto')]
      for (const [i, d] of direct.entries()) {
        expect(difference(chosen[i] as Float32Array, Float64Array.from(d))).toBeLessThan(tolerance)
      }
    })
  }

  // oneDNN has none for uneven padding, so other bits than the direct algorithm's are ours.
  test.skipIf(!/^AVX3|^AVX10/.test(addonInfo().isa))('it is our kernel that runs', async () => {
    const g: Case = { n: 8, c: 64, o: 64, size: [16, 16], padding: [0, 1, 1, 0] }
    const [direct, chosen] = [await both(g, '0'), await both(g, 'auto')]
    for (const [i, d] of direct.entries()) expect(chosen[i]).not.toEqual(d)
  })
})

describe('packed weights', () => {
  const [n, c] = [8, 32]
  const x = ops.input('x', [n, c, 16, 16], 'float32')
  const w = ops.input('w', [c, c, 3, 3], 'float32')
  const layer = (t: Tensor) => ops.conv2d(ops.relu(t), w, { padding: 1 })

  test('are made anew when the parameter changes', async () => {
    const plan = await compileGraph('cpu', [x, w], [{ tensor: layer(layer(x)) }])
    const random = generator(3)
    const image = uniform(x.shape, random)
    for (const seed of [4, 5, 4]) {
      const weights = uniform(w.shape, generator(seed))
      const feeds = [image, weights].map((t) => hostTensor(Float32Array.from(t.data), t.shape))
      const got = (await plan.call(feeds))[0]?.data as Float32Array
      process.env.LANGEVIN_WINOGRAD = '0'
      const direct = await compileGraph('cpu', [x, w], [{ tensor: layer(layer(x)) }])
      delete process.env.LANGEVIN_WINOGRAD
      const want = (await direct.call(feeds))[0]?.data as Float32Array
      direct.dispose()
      expect(difference(got, Float64Array.from(want))).toBeLessThan(tolerance)
    }
    plan.dispose()
  })

  test('of a parameter are kept once, whoever reads it', async () => {
    const one = await compileGraph('cpu', [x, w], [{ tensor: layer(x) }])
    const three = await compileGraph('cpu', [x, w], [{ tensor: layer(layer(layer(x))) }])
    const kept = [one.stats.persistentBytes, three.stats.persistentBytes]
    one.dispose()
    three.dispose()
    expect(kept[0]).toBeGreaterThanOrEqual(sizeOf(w.shape) * 4)
    expect(kept[1]).toBe(kept[0])
  })

  test('of weights that are no parameter are made at every run', async () => {
    const scale = ops.input('s', [], 'float32')
    const scaled = ops.mul(w, scale)
    const plan = await compileGraph('cpu', [x, w, scale], [{ tensor: ops.conv2d(x, scaled, { padding: 1 }) }])
    const [image, weights] = [uniform(x.shape, generator(6)), uniform(w.shape, generator(7))]
    const feeds = [image, weights].map((t) => hostTensor(Float32Array.from(t.data), t.shape))
    const runs: Float32Array[] = []
    for (const s of [1, 2]) {
      const got = await plan.call([...feeds, hostTensor(new Float32Array([s]), [])])
      runs.push(Float32Array.from((got[0] as { data: Float32Array }).data))
    }
    plan.dispose()
    expect(runs[1]).toEqual(runs[0]?.map((v) => 2 * v))
  })
})
