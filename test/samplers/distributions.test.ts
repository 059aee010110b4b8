/** Distributions: log densities against scipy's, integrals, moments of draws (native), gradients, parameters as state, refusals. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { evaluateReference } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { compileGraph } from '../../lib/runtime/compile.ts'
import { keyFromSeed, Recorder, State } from '../../lib/runtime/state.ts'
import {
  customDistribution,
  type Distribution,
  diagonalGaussian,
  gaussian,
  gaussianMixture,
  inlineParameters,
  standardNormal,
  uniformBox,
} from '../../lib/samplers/distributions.ts'
import { testDevice } from '../device.ts'
import { pattern, relativeError } from '../golden/pattern.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/distributions.json', import.meta.url), 'utf8')) as {
  densities: Record<'standard' | 'diagonal' | 'gaussian' | 'mixture', number[]>
}

const tensor = (values: number[], shape: number[]): HostTensor => hostTensor(Float32Array.from(values), shape)

/** As `lower` of distributions.py. */
function lower(d: number, seed: number): HostTensor {
  const [off, diagonal] = [pattern([d, d], seed, 0.6), pattern([d], seed + 100, 0.4, 1)]
  const at = (i: number): number => {
    const [row, column] = [Math.floor(i / d), i % d]
    return row === column ? (diagonal.data[row] as number) : column < row ? (off.data[i] as number) : 0
  }
  return tensor(
    Array.from({ length: d * d }, (_, i) => at(i)),
    [d, d],
  )
}

function stacked(parts: readonly HostTensor[]): HostTensor {
  return tensor(
    parts.flatMap((p) => Array.from(p.data)),
    [parts.length, ...(parts[0]?.shape ?? [])],
  )
}

/** The four of distributions.py, in three dimensions. */
const three: Readonly<Record<string, Distribution>> = {
  standard: standardNormal([3]),
  diagonal: diagonalGaussian(pattern([3], 2, 1.5), pattern([3], 4, 0.5, 1)),
  gaussian: gaussian(pattern([3], 2, 1.5), lower(3, 3)),
  mixture: gaussianMixture(
    pattern([4], 5, 0.4, 1),
    pattern([4, 3], 6, 2),
    stacked([0, 1, 2, 3].map((i) => lower(3, 10 + i))),
  ),
}

async function logDensities(distribution: Distribution, x: HostTensor): Promise<Float32Array> {
  const given = ops.input('x', x.shape)
  const plan = await compileGraph(
    testDevice,
    [given],
    [{ tensor: distribution.logDensity(inlineParameters(distribution), given) }],
  )
  const [out] = await plan.call([x])
  plan.dispose()
  return out?.data as Float32Array
}

/** Draws with the parameters as state tensors, as a trainer keeps them. */
async function draws(distribution: Distribution, count: number, seed = 1): Promise<HostTensor> {
  const state = new State(testDevice)
  await state.put('key', keyFromSeed(seed))
  for (const [name, value] of distribution.parameters) await state.put(`noise/${name}`, value)
  const r = new Recorder(state)
  r.write(
    'x',
    distribution.sample((name) => r.read(`noise/${name}`), r.read('key'), count, 5),
  )
  const stage = await r.compile('draw')
  await stage.plan.run(stage.inputs, stage.outputs)
  const x = await state.get('x').read()
  stage.plan.dispose()
  state.dispose()
  return x
}

function momentsOf(x: HostTensor): { mean: number[]; covariance: number[][] } {
  const [n = 0, d = 0] = x.shape
  const at = (i: number, j: number): number => x.data[i * d + j] as number
  const mean = Array.from(
    { length: d },
    (_, j) => Array.from({ length: n }, (_, i) => at(i, j)).reduce((a, b) => a + b) / n,
  )
  const covariance = mean.map((a, j) =>
    mean.map(
      (b, k) => Array.from({ length: n }, (_, i) => (at(i, j) - a) * (at(i, k) - b)).reduce((s, v) => s + v) / n,
    ),
  )
  return { mean, covariance }
}

/** Points of a square grid over [-half, half]² and the area of a cell. */
function grid(half: number, side: number): { points: HostTensor; area: number } {
  const step = (2 * half) / side
  const points = Array.from({ length: side * side }, (_, i) => [
    -half + (Math.floor(i / side) + 0.5) * step,
    -half + ((i % side) + 0.5) * step,
  ])
  return { points: tensor(points.flat(), [side * side, 2]), area: step * step }
}

describe('log densities', () => {
  for (const name of ['standard', 'diagonal', 'gaussian', 'mixture'] as const) {
    test(`${name} agrees with scipy, natively and in the float64 reference`, async () => {
      const d = three[name] as Distribution
      const x = pattern([12, 3], 1, 3)
      expect(relativeError(await logDensities(d, x), golden.densities[name])).toBeLessThan(2e-6)
      const [reference] = evaluateReference([d.logDensity(inlineParameters(d), ops.constant(x.data, x.shape))])
      expect(relativeError(reference?.data ?? [], golden.densities[name])).toBeLessThan(5e-7)
    })
  }

  const factors = stacked([lower(2, 30), lower(2, 31)])
  const plane: Readonly<Record<string, Distribution>> = {
    gaussian: gaussian(tensor([0.5, -1], [2]), lower(2, 30)),
    mixture: gaussianMixture(tensor([1, 3], [2]), tensor([-2, 0, 2, 1], [2, 2]), factors),
    box: uniformBox(tensor([-1, -2], [2]), tensor([1, 3], [2])),
  }
  for (const [name, d] of Object.entries(plane)) {
    test(`${name} integrates to 1`, async () => {
      const { points, area } = grid(10, 200)
      const total = (await logDensities(d, points)).reduce((sum, l) => sum + Math.exp(l) * area, 0)
      expect(total).toBeCloseTo(1, 4)
    })
  }

  test('the gradient is the score', async () => {
    const d = three.gaussian as Distribution
    const x = pattern([5, 3], 9, 2)
    const given = ops.input('x', x.shape)
    const [score] = grad(ops.sum(d.logDensity(inlineParameters(d), given)), [given]) as [Tensor]
    const feeds = new Map([[given, { shape: x.shape, data: Float64Array.from(x.data) }]])
    const [got] = evaluateReference([score], feeds)
    // -Σ⁻¹ (x - mean): multiply by the covariance to get mean - x back.
    const { mean, factor } = { mean: pattern([3], 2, 1.5).data, factor: lower(3, 3).data }
    const covariance = (i: number, j: number): number =>
      [0, 1, 2].reduce((sum, k) => sum + (factor[3 * i + k] as number) * (factor[3 * j + k] as number), 0)
    for (let row = 0; row < 5; row++) {
      for (let i = 0; i < 3; i++) {
        const back = [0, 1, 2].reduce((sum, j) => sum + covariance(i, j) * (got?.data[3 * row + j] as number), 0)
        expect(back).toBeCloseTo((mean[i] as number) - (x.data[3 * row + i] as number), 5)
      }
    }
  })

  test('a box is -Infinity outside, with a gradient of 0', async () => {
    const d = plane.box as Distribution
    const got = await logDensities(d, tensor([0, 0, 1.01, 0, 1, 3, 0, -2.01], [4, 2]))
    expect(Array.from(got)).toEqual([Math.fround(-Math.log(10)), -Infinity, Math.fround(-Math.log(10)), -Infinity])
    const x = ops.constant([0, 0, 1.01, 0], [2, 2])
    const [g] = grad(ops.sum(d.logDensity(inlineParameters(d), x)), [x]) as [Tensor]
    expect(Array.from(evaluateReference([g])[0]?.data ?? [])).toEqual([0, 0, 0, 0])
  })
})

describe('draws', () => {
  const n = 20_000
  for (const name of ['standard', 'diagonal', 'gaussian', 'mixture']) {
    test(`${name} has the distribution's moments`, async () => {
      const d = three[name] as Distribution
      const { mean, covariance } = momentsOf(await draws(d, n))
      const want = exactMoments(name)
      for (let i = 0; i < 3; i++) {
        const deviation = Math.sqrt(want.covariance[i]?.[i] as number)
        expect(Math.abs((mean[i] as number) - (want.mean[i] as number)) / deviation).toBeLessThan(4.5 / Math.sqrt(n))
        for (let j = 0; j < 3; j++) {
          const other = Math.sqrt(want.covariance[j]?.[j] as number)
          const off = (covariance[i]?.[j] as number) - (want.covariance[i]?.[j] as number)
          expect(Math.abs(off) / (deviation * other)).toBeLessThan(4.5 * Math.sqrt(2 / n))
        }
      }
    })
  }

  test('a box is filled evenly, images keep their shape, and the key decides', async () => {
    const x = await draws(uniformBox(tensor([0, 10], [2]), tensor([2, 14], [2])), n)
    const { mean, covariance } = momentsOf(x)
    expect(mean[0]).toBeCloseTo(1, 1)
    expect(Math.abs((covariance[1]?.[1] as number) / (16 / 12) - 1)).toBeLessThan(0.03)
    expect(Math.min(...Array.from(x.data).filter((_, i) => i % 2 === 1))).toBeGreaterThanOrEqual(10)
    const image = diagonalGaussian(pattern([1, 4, 4], 1), pattern([1, 4, 4], 2, 0.5, 1))
    const first = await draws(image, 7)
    expect(first.shape).toEqual([7, 1, 4, 4])
    expect(await draws(image, 7)).toEqual(first)
    expect(await draws(image, 7, 2)).not.toEqual(first)
    expect((await draws(standardNormal([1, 4, 4]), 7)).shape).toEqual([7, 1, 4, 4])
  })
})

/** Mean and covariance by their formulas. */
function exactMoments(name: string): { mean: number[]; covariance: number[][] } {
  const axes = [0, 1, 2]
  const outer = (f: ArrayLike<number>): number[][] =>
    axes.map((i) => axes.map((j) => axes.reduce((s, k) => s + (f[3 * i + k] as number) * (f[3 * j + k] as number), 0)))
  const spread = (scale: ArrayLike<number>): number[][] =>
    axes.map((i) => axes.map((j) => (i === j ? (scale[i] as number) ** 2 : 0)))
  if (name === 'standard') return { mean: [0, 0, 0], covariance: spread([1, 1, 1]) }
  const centre = Array.from(pattern([3], 2, 1.5).data)
  if (name === 'diagonal') return { mean: centre, covariance: spread(pattern([3], 4, 0.5, 1).data) }
  if (name === 'gaussian') return { mean: centre, covariance: outer(lower(3, 3).data) }
  const raw = Array.from(pattern([4], 5, 0.4, 1).data)
  const weights = raw.map((w) => w / raw.reduce((a, b) => a + b))
  const means = [0, 1, 2, 3].map((k) => Array.from(pattern([4, 3], 6, 2).data.subarray(3 * k, 3 * k + 3)))
  const mean = axes.map((i) => weights.reduce((s, w, k) => s + w * (means[k]?.[i] as number), 0))
  const covariance = axes.map((i) =>
    axes.map((j) =>
      weights.reduce((s, w, k) => {
        const [a, b] = [
          (means[k]?.[i] as number) - (mean[i] as number),
          (means[k]?.[j] as number) - (mean[j] as number),
        ]
        return s + w * ((outer(lower(3, 10 + k).data)[i]?.[j] as number) + a * b)
      }, 0),
    ),
  )
  return { mean, covariance }
}

describe("a distribution of one's own", () => {
  const laplace = customDistribution({
    shape: [2],
    parameters: new Map([['scale', tensor([0.5, 2], [2])]]),
    sample: (key, count, stream, p) => {
      const u = ops.uniform(key, [count, 2], stream).sub(0.5)
      return ops.log1p(u.abs().mul(-2)).neg().mul(u.sign()).mul(p('scale'))
    },
    logDensity: (x, p) => x.abs().div(p('scale')).add(p('scale').mul(2).log()).neg().sum(1),
  })

  test('works as the others do', async () => {
    const { points, area } = grid(20, 400)
    const total = (await logDensities(laplace, points)).reduce((sum, l) => sum + Math.exp(l) * area, 0)
    expect(total).toBeCloseTo(1, 2)
    const { covariance } = momentsOf(await draws(laplace, 20_000))
    expect(Math.abs((covariance[0]?.[0] as number) / 0.5 - 1)).toBeLessThan(4.5 * Math.sqrt(5 / 20_000))
  })

  test('is held to its shapes', () => {
    const wrong = customDistribution({ shape: [2], sample: (key, n) => ops.normal(key, [n]), logDensity: (x) => x })
    const key = ops.input('key', [4], 'int32')
    expect(() => wrong.sample(inlineParameters(wrong), key, 3, 0)).toThrow(/sample must give float32\[3,2\]/)
    expect(() => wrong.logDensity(inlineParameters(wrong), ops.zeros([3, 2]))).toThrow(
      /logDensity must give float32\[3\]/,
    )
    expect(() => wrong.logDensity(inlineParameters(wrong), ops.zeros([3]))).toThrow(/float32 \[n,2\]/)
  })
})

test('what cannot be a distribution is refused by name', () => {
  const mean = tensor([0, 0], [2])
  expect(() => gaussian(mean, tensor([1, 0, 0, 0], [2, 2]))).toThrow(/diagonal must be positive.*entry 1 is 0/)
  expect(() => gaussian(mean, tensor([1, 2, 0, 1], [2, 2]))).toThrow(/lower triangular; entry \[0, 1\]/)
  expect(() => gaussian(mean, tensor([1], [1, 1]))).toThrow(/float32\[2,2\].*got float32\[1,1\]/)
  expect(() => diagonalGaussian(mean, tensor([1, -1], [2]))).toThrow(/number 1 is -1/)
  expect(() => uniformBox(mean, tensor([1, 0], [2]))).toThrow(/number 1 has low 0 and high 0/)
  const [means, factors] = [tensor([0, 0], [1, 2]), tensor([1, 0, 0, 1], [1, 2, 2])]
  expect(() => gaussianMixture(tensor([0], [1]), means, factors)).toThrow(/weight 0 is 0/)
  expect(() => gaussianMixture(tensor([1, 1], [2]), means, factors)).toThrow(/weights must be \[k\]/)
  expect(() => inlineParameters(gaussian(mean, tensor([1, 0, 0, 1], [2, 2])))('mena')).toThrow(/mean, factor/)
})
