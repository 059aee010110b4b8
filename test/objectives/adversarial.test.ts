/** The variational bound and its two samplers against closed forms: Gaussians, and a linear generator. Values stand in golden.test.ts. */
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import {
  flowGeneratorLoss,
  gradientPenalty,
  pathwiseEnergy,
  variationalBound,
  veraEntropySurrogate,
} from '../../lib/objectives/adversarial.ts'
import * as ops from '../../lib/ops/index.ts'
import { Bench, energy, normalLogDensity } from './cases.ts'
import { estimate, exactly, expectMean } from './monte-carlo.ts'

const [N, D] = [256, 3]
const LOG_2PI = Math.log(2 * Math.PI)
const bowl = (x: Tensor) => ops.mul(ops.sum(ops.square(x), 1), 0.5)

/** A flow N(0, s²) beside the model exp(-½|x|²), whose log Z is ½·D·log 2π. */
function bounds(scale: number) {
  return estimate((b, key) => {
    const logScale = b.numbers(new Array(D).fill(Math.log(scale)), [D])
    const x = ops.mul(ops.normal(key, [N, D], 0), ops.exp(logScale))
    const data = ops.normal(key, [N, D], 1)
    const flow = flowGeneratorLoss({ energy: bowl(x), logDensity: normalLogDensity(x, ops.zeros([D]), logScale) })
    const bound = variationalBound({
      energyData: bowl(data),
      energyModel: bowl(x),
      entropy: flow.metrics.entropy as Tensor,
    })
    return [
      flow.metrics.logZBound as Tensor,
      bound.metrics.bound as Tensor,
      bound.loss,
      grad(flow.loss, [logScale])[0] as Tensor,
    ]
  })
}

test('a flow that is the model gives log Z without noise, the mean log likelihood as bound, and no gradient', async () => {
  const [logZ, bound, loss, slope] = await bounds(1)
  expect(logZ?.[0]?.mean).toBeCloseTo(0.5 * D * LOG_2PI, 4)
  expect(logZ?.[0]?.variance).toBeLessThan(1e-9)
  expectMean(bound?.[0], -0.5 * D * (1 + LOG_2PI))
  expect(loss?.[0]?.mean).toBeCloseTo(-(bound?.[0]?.mean as number), 4)
  for (const s of slope ?? []) expect(Math.abs(s.mean)).toBeLessThan(1e-5 + 4 * s.error)
})

test('any other flow bounds log Z from below, by its divergence from the model', async () => {
  const [logZ, bound, , slope] = await bounds(1.5)
  const divergence = D * (0.5 * (1.5 ** 2 - 1) - Math.log(1.5))
  expectMean(logZ?.[0], 0.5 * D * LOG_2PI - divergence)
  expectMean(bound?.[0], -0.5 * D * (1 + LOG_2PI) + divergence)
  for (const s of slope ?? []) expectMean(s, 1.5 ** 2 - 1)
})

test('the pathwise energy moves what makes x and not what judges it', () => {
  const b = new Bench()
  const e = energy(b).plain
  const x = b.data([4, 4], 20)
  const moved = pathwiseEnergy(e, x)
  const [gx, gw, plain] = exactly(
    b,
    ...grad(moved, [x, b.trained.get('w') as Tensor]),
    grad(ops.mean(e(x)), [x])[0] as Tensor,
  )
  expect(gx).toEqual(plain)
  expect(gw?.every((v) => v === 0)).toBe(true)
  const [value, want] = exactly(b, moved, ops.mean(e(x)))
  expect(value).toEqual(want)
})

test('the gradient penalty of a quadratic is its mean squared slope', () => {
  const b = new Bench()
  const x = b.numbers([1, 2, 2, 3, 0, 4], [2, 3])
  const { loss, metrics } = gradientPenalty(bowl, x, 0.5)
  expect(exactly(b, loss, metrics.gradientPenalty as Tensor)).toEqual([[8.5], [17]])
  expect(() => gradientPenalty(bowl, x, -1)).toThrow(RangeError)
})

describe('the entropy of a linear generator x = W z + σε, a Gaussian', () => {
  const L = 2
  const W = [0.75, -0.25, 0.5, 0.5, -0.125, 1]
  const sigma = 0.5
  const at = (i: number, j: number) => W[i * L + j] as number
  /** WᵀW/σ². */
  const gram = [0, 1].map((j) =>
    [0, 1].map((k) => [0, 1, 2].reduce((s, i) => s + at(i, j) * at(i, k), 0) / sigma ** 2),
  ) as [[number, number], [number, number]]
  /** M = I + WᵀW/σ², the precision of z given x; H = ½ log det(2πe (WWᵀ + σ²I)) = ½(D(1 + log 2π) + log det M) + D log σ. */
  const M = [
    [gram[0][0] + 1, gram[0][1]],
    [gram[1][0], gram[1][1] + 1],
  ] as const
  const det = M[0][0] * M[1][1] - M[0][1] * M[1][0]
  const inverse = [
    [M[1][1] / det, -M[0][1] / det],
    [-M[1][0] / det, M[0][0] / det],
  ] as const
  const entropy = 0.5 * (D * (1 + LOG_2PI) + Math.log(det)) + D * Math.log(sigma)
  /** ∂H/∂W = W M⁻¹/σ². */
  const byW = [0, 1, 2].flatMap((i) =>
    [0, 1].map((j) => (at(i, 0) * (inverse[0][j] as number) + at(i, 1) * (inverse[1][j] as number)) / sigma ** 2),
  )
  /** ∂H/∂σ = D/σ - tr(M⁻¹(M - I))/σ = (D - L + tr M⁻¹)/σ. */
  const bySigma = (D - L + inverse[0][0] + inverse[1][1]) / sigma
  /** The best diagonal proposal around z₀: η² = 1/diag M. */
  const bestEta = [1 / Math.sqrt(M[0][0]), 1 / Math.sqrt(M[1][1])]

  const run = (samples: number, eta: readonly number[], sharedSamples = 0) =>
    estimate((b, key) => {
      const [w, s, h] = [b.numbers(W, [D, L]), b.numbers([sigma]), b.numbers(eta, [L])]
      const generator = (z: Tensor) => ops.matmul(z, w, { transposeB: true })
      const z0 = ops.normal(key, [N, L], 10)
      const x = ops.add(generator(z0), ops.mul(ops.normal(key, [N, D], 11), s))
      const v = veraEntropySurrogate({
        generator,
        x,
        z0,
        eta: h,
        sigma: s,
        noise: { key, stream: 0 },
        samples,
        sharedSamples,
      })
      const { elbo, effectiveSamples } = v.metrics as { elbo: Tensor; effectiveSamples: Tensor }
      return [...grad(v.surrogate, [w, s]), grad(v.posteriorLoss, [h])[0] as Tensor, v.entropy, elbo, effectiveSamples]
    })

  test('the surrogate has its gradient, to a bias that 256 samples make small', async () => {
    const [gw, gs, , h, elbo, effective] = await run(256, [0.9, 0.9])
    gw?.forEach((g, i) => {
      expectMean(g, byW[i] as number, 0.01)
    })
    expectMean(gs?.[0], bySigma, 0.02 * bySigma)
    expectMean(h?.[0], entropy, 0.02 * entropy)
    expect(elbo?.[0]?.mean).toBeLessThan(-entropy)
    expect(effective?.[0]?.mean).toBeGreaterThan(20)
    expect(effective?.[0]?.mean).toBeLessThan(256)
  })

  test('so it has with samples that are shared, and the posterior loss does not change', async () => {
    const [gw, gs, posterior, h] = await run(64, [0.9, 0.9], 192)
    gw?.forEach((g, i) => {
      expectMean(g, byW[i] as number, 0.02)
    })
    expectMean(gs?.[0], bySigma, 0.02 * bySigma)
    expectMean(h?.[0], entropy, 0.02 * entropy)
    const alone = (await run(64, [0.9, 0.9]))[2]
    posterior?.forEach((g, i) => {
      expect(g.mean).toBeCloseTo(alone?.[i]?.mean as number, 5)
    })
  })

  test('few samples make the entropy too high, by a bias that falls with their number', async () => {
    const values = []
    for (const samples of [2, 8, 32]) values.push((await run(samples, [0.9, 0.9]))[3]?.[0]?.mean as number)
    const biases = values.map((v) => v - entropy)
    expect(biases[0]).toBeGreaterThan(2 * (biases[1] as number))
    expect(biases[1]).toBeGreaterThan(2 * Math.abs(biases[2] as number))
  })

  test('the posterior loss is stationary at the best diagonal proposal, and leads towards it', async () => {
    const best = (await run(32, bestEta))[2]
    for (const g of best ?? []) expectMean(g, 0)
    const wide = (
      await run(
        32,
        bestEta.map((e) => 1.5 * e),
      )
    )[2]
    for (const g of wide ?? []) expect(g.mean).toBeGreaterThan(10 * g.error)
  })

  test('shapes that do not fit are refused', () => {
    const key = ops.input('key', [4], 'int32')
    const base = {
      generator: (z: Tensor) => z,
      x: ops.input('x', [4, 3]),
      z0: ops.input('z', [4, 2]),
      eta: ops.input('eta', [2]),
      sigma: ops.input('sigma', []),
      noise: { key, stream: 0 },
    }
    expect(() => veraEntropySurrogate(base)).toThrow(/the generator must map latents \[80,2\] to \[80,3\]/)
    expect(() => veraEntropySurrogate({ ...base, eta: ops.input('eta', [3]) })).toThrow(/eta must be a scalar or \[2\]/)
    expect(() => veraEntropySurrogate({ ...base, z0: ops.input('z', [3, 2]) })).toThrow(/z0 must be \[4, latent\]/)
    expect(() => veraEntropySurrogate({ ...base, samples: 0 })).toThrow(RangeError)
  })
})

describe('a generator that folds, x = |z| + σε', () => {
  const sigma = 0.3
  /** H(a) of x = a|z| + σε and its slope at a = 1, by the midpoint rule. */
  const entropyAt = (a: number): number => {
    const h = 0.01
    const grid = (low: number, high: number) =>
      Array.from({ length: Math.round((high - low) / h) }, (_, i) => low + (i + 0.5) * h)
    const normal = (x: number, s: number) => Math.exp(-0.5 * (x / s) ** 2) / (s * Math.sqrt(2 * Math.PI))
    const halves = grid(0, 6).map((z) => [a * z, 2 * normal(z, 1) * h] as const)
    return grid(-2, 8).reduce((sum, x) => {
      const p = halves.reduce((q, [m, w]) => q + w * normal(x - m, sigma), 0)
      return p > 0 ? sum - p * Math.log(p) * h : sum
    }, 0)
  }
  const entropy = entropyAt(1)
  const slope = (entropyAt(1.01) - entropyAt(0.99)) / 0.02

  const run = (sharedSamples: number) =>
    estimate((b, key) => {
      const [a, s, eta] = [b.numbers([1]), b.numbers([sigma]), b.numbers([0.3], [1])]
      const generator = (z: Tensor) => ops.mul(ops.abs(z), a)
      const z0 = ops.normal(key, [N, 1], 10)
      const x = ops.add(generator(z0), ops.mul(ops.normal(key, [N, 1], 11), s))
      const noise = { key, stream: 0 }
      const v = veraEntropySurrogate({ generator, x, z0, eta, sigma: s, noise, samples: 64, sharedSamples })
      return [v.entropy, grad(v.surrogate, [a])[0] as Tensor]
    })

  test('seems to have more entropy than it has to samples about z₀ alone, by about log 2; shared ones see both sides', async () => {
    const [alone] = await run(0)
    expect(alone?.[0]?.mean).toBeGreaterThan(entropy + 0.4)
    const [h, g] = await run(256)
    expectMean(h?.[0], entropy, 0.02)
    expectMean(g?.[0], slope, 0.02)
  })
})
