/** What contrastive estimation settles at: normalised true densities, log Z, and equal players. Values stand in golden.test.ts. */
import { expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { klTerm, logNearest } from '../../lib/objectives/contrastive-divergence.ts'
import { flowContrastive } from '../../lib/objectives/flow-contrastive.ts'
import { noiseContrastive } from '../../lib/objectives/noise-contrastive.ts'
import * as ops from '../../lib/ops/index.ts'
import { Bench, normalLogDensity } from './cases.ts'
import { estimate, exactly, expectMean } from './monte-carlo.ts'

const [N, D] = [512, 2]
/** log Z of E(x) = ½|x|²/s², in D dimensions. */
const logZ = (s: number) => D * Math.log(s * Math.sqrt(2 * Math.PI))

/** Gradient by c and by the energy's precision, of data N(0, 0.8²) against noise N(0, 1.25²) at ratio 2. */
function slopesAt(c: number, precision: number) {
  return estimate((b, key) => {
    const trained = [b.numbers([c]), b.numbers([precision])] as const
    const model = (x: Tensor) =>
      ops.neg(ops.add(ops.mul(ops.sum(ops.square(x), 1), ops.mul(trained[1], 0.5)), trained[0]))
    const data = ops.mul(ops.normal(key, [N, D], 0), 0.8)
    const noise = ops.mul(ops.normal(key, [2 * N, D], 1), 1.25)
    const base = (x: Tensor) => normalLogDensity(x, ops.zeros([D]), ops.full([D], Math.log(1.25)))
    const terms = noiseContrastive({
      logModelData: model(data),
      logModelNoise: model(noise),
      logNoiseData: base(data),
      logNoiseNoise: base(noise),
      ratio: 2,
    })
    return [...grad(terms.loss, trained), terms.metrics.accuracy as Tensor, terms.metrics.accuracyNoise as Tensor]
  })
}

test('noise-contrastive estimation: the true energy with c = log Z is stationary, other values of c are not', async () => {
  const [c, precision, accuracy] = await slopesAt(logZ(0.8), 1 / 0.64)
  expectMean(c?.[0], 0)
  expectMean(precision?.[0], 0)
  // Two noise examples to one of data, and far from each other: better than the share of noise.
  expect(accuracy?.[0]?.mean).toBeGreaterThan(2 / 3)
  const [higher] = await slopesAt(logZ(0.8) + 0.3, 1 / 0.64)
  expect(higher?.[0]?.mean).toBeGreaterThan(10 * (higher?.[0]?.error as number))
  const [lower, broad] = await slopesAt(logZ(0.8) - 0.3, 1 / 0.64 - 0.3)
  expect(lower?.[0]?.mean).toBeLessThan(-10 * (lower?.[0]?.error as number))
  expect(broad?.[0]?.mean).toBeLessThan(-10 * (broad?.[0]?.error as number))
})

/** Flow-contrastive terms of data N(0, 1), model N(0, 1) and flow N(shift, 1), all normalised, in one dimension. */
function game(shift: number) {
  return estimate((b, key) => {
    const mu = b.numbers([shift], [1])
    const density = (x: Tensor, mean: Tensor) => normalLogDensity(x, mean, ops.zeros([1]))
    const data = ops.normal(key, [4 * N, 1], 0)
    const made = ops.add(mu, ops.normal(key, [4 * N, 1], 1))
    const terms = flowContrastive({
      logModelData: density(data, ops.zeros([1])),
      logModelNoise: density(made, ops.zeros([1])),
      logNoiseData: density(data, mu),
      logNoiseNoise: density(made, mu),
    })
    const { jensenShannon, entropy } = terms.metrics as { jensenShannon: Tensor; entropy: Tensor }
    return [
      terms.value,
      grad(terms.flowLoss, [mu])[0] as Tensor,
      jensenShannon,
      entropy,
      ops.add(terms.value, terms.energyLoss),
    ]
  })
}

/** ½ KL(p ‖ m) + ½ KL(q ‖ m) of N(0, 1) and N(shift, 1), by the trapezoid rule. */
function jensenShannon(shift: number): number {
  let total = 0
  for (let i = -4000; i <= 4000; i++) {
    const x = i / 250 + shift / 2
    const [p, q] = [0, shift].map((m) => Math.exp(-0.5 * (x - m) ** 2) / Math.sqrt(2 * Math.PI)) as [number, number]
    const m = (p + q) / 2
    total += (0.5 * (p * Math.log(p / m) + q * Math.log(q / m))) / 250
  }
  return total
}

test('flow-contrastive estimation: V is -log 4 and stationary where flow, model and data agree', async () => {
  const [value, slope, , entropy] = await game(0)
  expect(value?.[0]?.mean).toBeCloseTo(-Math.log(4), 5)
  expectMean(slope?.[0], 0)
  expectMean(entropy?.[0], 0.5 * Math.log(2 * Math.PI * Math.E))
})

test('flow-contrastive estimation measures the Jensen-Shannon divergence, and the flow descends it', async () => {
  const [, slope, divergence, , sum] = await game(1.5)
  expectMean(divergence?.[0], jensenShannon(1.5))
  const numeric = (jensenShannon(1.501) - jensenShannon(1.499)) / 0.002
  // V = 2·JSD - log 4 at the best energy, whose own change is of second order.
  expectMean(slope?.[0], 2 * numeric)
  expect(sum?.[0]?.mean).toBe(0)
})

test('misfitting densities are refused', () => {
  const four = ops.input('four', [4])
  const eight = ops.input('eight', [8])
  const all = { logModelData: four, logModelNoise: eight, logNoiseData: four, logNoiseNoise: eight }
  expect(() => noiseContrastive({ ...all, ratio: 3 })).toThrow(/ratio 3 times the 4 data/)
  expect(() => noiseContrastive({ ...all, ratio: 0 })).toThrow(RangeError)
  expect(() => flowContrastive(all)).toThrow(/ratio 1 times/)
  expect(() => noiseContrastive({ ...all, logNoiseData: eight, ratio: 2 })).toThrow(/logNoiseData must be float32\[4\]/)
})

test('the nearest distance ignores what is farther, and stands a chain on a reference', () => {
  const b = new Bench()
  const x = b.numbers([0, 0, 1, 1], [2, 2])
  const references = b.numbers([3, 4, 30, 40, 1, 1], [3, 2])
  const near = logNearest(x, ops.slice(references, [0, 0], [2, 2]))
  const onTop = logNearest(x, references)
  const [g] = grad(ops.sum(onTop), [x])
  const [a, c, slope] = exactly(b, near, onTop, g as Tensor) as [number[], number[], number[]]
  expect(a[0]).toBeCloseTo(Math.log(5), 6)
  expect(a[1]).toBeCloseTo(Math.log(Math.sqrt(13)), 6)
  expect(c[1]).toBeCloseTo(Math.log(1e-6), 5)
  expect(slope.slice(2)).toEqual([0, 0])
  expect(() => klTerm({ energy: (t) => ops.sum(t, 1), chain: x, references: ops.input('r', [3, 5]) })).toThrow(
    /references must hold examples/,
  )
})
