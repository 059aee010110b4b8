/**
 * Annealed Langevin, predictor-corrector and probability flow on mixtures whose score at every noise level is known in closed form: weights of the
 * modes, moments within them, determinism, likelihoods, refusals.
 */
import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { mlp } from '../../lib/nn/models.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { Chains } from '../../lib/samplers/chains.ts'
import { probabilityFlowLogDensity } from '../../lib/samplers/flow-density.ts'
import { sigmaLevels } from '../../lib/samplers/levels.ts'
import type { SamplerOptions } from '../../lib/samplers/samplers.ts'
import { energyTarget, type Target } from '../../lib/samplers/target.ts'
import { type Mixture, mixtureTarget, modes, plainMixture } from './multimodal.ts'

/** Unequal weights, six standard deviations and more apart: plain Langevin from a common start would get the weights wrong. */
const mixture: Mixture = {
  weights: [0.7, 0.3],
  means: [
    [-2, 0],
    [2, 1],
  ],
  std: 0.3,
}
const N = 2000

test('a ladder is geometric and holds both ends', () => {
  const levels = sigmaLevels('test', { largest: 8, smallest: 0.5, levels: 5 })
  expect(levels).toHaveLength(5)
  for (const [i, s] of [8, 4, 2, 1, 0.5].entries()) expect(levels[i]).toBeCloseTo(s, 12)
  expect(sigmaLevels('test', [3, 1])).toEqual([3, 1])
})

async function draw(sampler: SamplerOptions, target: Target = mixtureTarget(mixture), seed = 5) {
  const chains = await Chains.start(target, { sampler, chains: N, seed })
  const result = await chains.draw()
  chains.dispose()
  expect(result.draws.shape).toEqual([N, 1, 2])
  expect(result.divergent).toBe(0)
  return result
}

function expectMixture(data: ArrayLike<number>, variance: number, tolerance: { share: number; variance: number }) {
  const found = modes(data, mixture)
  for (const [c, share] of found.shares.entries())
    expect(Math.abs(share - (mixture.weights[c] as number))).toBeLessThan(tolerance.share)
  const error = Math.sqrt(variance / (0.3 * N))
  for (const offset of found.offsets.flat()) expect(Math.abs(offset)).toBeLessThan(5 * error)
  for (const v of found.variances) expect(Math.abs(v / variance - 1)).toBeLessThan(tolerance.variance)
}

/** Four standard errors of a share of 0.7 among N. */
const SHARE = 4 * Math.sqrt(0.21 / N)
/** The noise that Tweedie's last step leaves off N(0, s²) seen through N(0, σ²): variance s⁴/(s² + σ²). */
const afterDenoising = (sigma: number) => 0.3 ** 4 / (0.3 ** 2 + sigma ** 2)

describe('annealed Langevin', () => {
  const sigmas = { largest: 3, smallest: 0.3, levels: 6 }

  test('finds weights and moments of a mixture', async () => {
    const { draws, gradients } = await draw({ kind: 'annealedLangevin', sigmas, stepsPerLevel: 60 })
    expect(gradients).toBe(6 * 60 + 1)
    // Steps of 0.2·σ² leave the variance of the last level a little (2.5%) too large.
    expectMixture(draws.data, afterDenoising(0.3), { share: SHARE + 0.02, variance: 0.15 })
  })

  test('without denoising the last level keeps its own noise', async () => {
    const { draws } = await draw({ kind: 'annealedLangevin', sigmas, stepsPerLevel: 60, denoise: false })
    expectMixture(draws.data, 0.09 + 0.09, { share: SHARE + 0.02, variance: 0.15 })
  })

  test('an energy without levels is annealed by temperature', async () => {
    const options = {
      kind: 'annealedLangevin',
      sigmas: { largest: 0.8, smallest: 0.1, levels: 10 },
      stepsPerLevel: 30,
    } as const
    const { draws } = await draw({ ...options, stepSize: 0.006 }, plainMixture(mixture))
    const { shares, variances } = modes(draws.data, mixture)
    // Annealing by temperature fixes the weights where the modes part, at T > 1: between equal ones and those of the target.
    expect(shares[0]).toBeGreaterThan(0.5 - SHARE)
    expect(shares[0]).toBeLessThan(0.7 + SHARE)
    for (const v of variances) expect(Math.abs(v / 0.09 - 1)).toBeLessThan(0.2)
  })

  test('steps after the end of the schedule change nothing', async () => {
    const sampler = { kind: 'annealedLangevin', sigmas, stepsPerLevel: 2 } as const
    const chains = await Chains.start(mixtureTarget(mixture), { sampler, chains: 20 })
    await chains.advance(12)
    const noisy = await chains.read()
    await chains.advance(1)
    const end = await chains.read()
    await chains.advance(5)
    expect(end.data).not.toEqual(noisy.data)
    expect((await chains.read()).data).toEqual(end.data)
    chains.dispose()
  })
})

describe('predictor-corrector', () => {
  const sigmas = { largest: 8, smallest: 0.05, levels: 60 }

  test.each([0, 1])('finds weights and moments with %i corrector steps', async (correctorSteps) => {
    const { draws, gradients } = await draw({ kind: 'predictorCorrector', sigmas, correctorSteps })
    expect(gradients).toBe(60 * (1 + correctorSteps))
    expectMixture(draws.data, 0.09, { share: SHARE + 0.01, variance: 0.2 })
  })

  test('begins at the noise of the largest level', async () => {
    const chains = await Chains.start(mixtureTarget(mixture), {
      sampler: { kind: 'predictorCorrector', sigmas },
      chains: N,
    })
    const { data } = await chains.read()
    const variance = (data as Float32Array).reduce((s, v) => s + v * v, 0) / data.length
    expect(Math.abs(variance / 64 - 1)).toBeLessThan(4 * Math.sqrt(2 / data.length))
    chains.dispose()
  })
})

describe('probability flow', () => {
  const sigmas = { largest: 8, smallest: 0.05, levels: 40 }

  test.each(['heun', 'rk4'] as const)('%s finds weights and moments', async (method) => {
    const { draws, gradients } = await draw({ kind: 'probabilityFlow', sigmas, method })
    expect(gradients).toBe(40 * (method === 'heun' ? 2 : 4))
    expectMixture(draws.data, 0.09, { share: SHARE, variance: 0.12 })
  })

  test('follows the exact flow of a Gaussian, with the order of its method', async () => {
    // For N(0, s²) the flow is x(σ) = x₁·√((s² + σ²)/(s² + σ₁²)).
    const target = energyTarget((x) => x.square().sum(1), {
      shape: [1],
      energyAt: (x, sigma) => x.square().sum(1).div(sigma.square().add(0.25).mul(2)),
    })
    const start = hostTensor(Float32Array.of(-3, 1, 4), [3, 1])
    const error = async (method: 'heun' | 'rk4', count: number) => {
      const sampler = {
        kind: 'probabilityFlow',
        sigmas: { largest: 4, smallest: 0.1, levels: count },
        method,
        denoise: false,
      } as const
      const chains = await Chains.start(target, { sampler, start })
      const { draws } = await chains.draw()
      chains.dispose()
      const factor = Math.sqrt((0.25 + 0.01) / (0.25 + 16))
      return Math.max(
        ...Array.from(draws.data as Float32Array, (v, i) => Math.abs(v - factor * (start.data[i] as number))),
      )
    }
    const [coarse, fine] = [await error('heun', 11), await error('heun', 21)]
    expect(coarse / fine).toBeGreaterThan(3)
    expect(coarse / fine).toBeLessThan(6)
    expect(await error('rk4', 11)).toBeLessThan(coarse / 10)
  })

  test('is deterministic: the same start gives the same draws whatever the seed, twice over', async () => {
    const start = hostTensor(
      Float32Array.from({ length: 40 }, (_, i) => (i - 20) / 3),
      [20, 2],
    )
    const sampler = { kind: 'probabilityFlow', sigmas } as const
    const runs = []
    for (const seed of [1, 2]) {
      const chains = await Chains.start(mixtureTarget(mixture), { sampler, start, seed })
      runs.push((await chains.draw({ draws: 2 })).draws)
      chains.dispose()
    }
    expect(runs[0]?.data).toEqual(runs[1]?.data)
    const first = runs[0]?.data as Float32Array
    for (let i = 0; i < 20; i++) expect(first.subarray(4 * i, 4 * i + 2)).toEqual(first.subarray(4 * i + 2, 4 * i + 4))
  })
})

describe('log density by the flow', () => {
  const random = new HostRandom(4)
  const x = hostTensor(
    Float32Array.from({ length: 24 }, () => 3 * random.normal()),
    [12, 2],
  )
  /** The base N(0, σ₁²) is off by about |mean|/σ₁ nats. */
  const sigmas = { largest: 400, smallest: 0.05, levels: 100 }

  /** Of the mixture with noise 0.05, in float64. */
  function exact(i: number): number {
    const variance = 0.3 ** 2 + 0.05 ** 2
    const terms = mixture.means.map((m, c) => {
      const square = m.reduce((s, v, j) => s + ((x.data[2 * i + j] as number) - v) ** 2, 0)
      return (mixture.weights[c] as number) * Math.exp(-square / (2 * variance))
    })
    return Math.log(terms.reduce((a, b) => a + b, 0) / (2 * Math.PI * variance))
  }

  test('agrees with the closed form, normaliser included', async () => {
    const { logDensity, latent } = await probabilityFlowLogDensity(mixtureTarget(mixture), x, { sigmas })
    expect(latent.shape).toEqual([12, 2])
    for (const [i, v] of logDensity.entries())
      expect(Math.abs(v - exact(i))).toBeLessThan(0.02 + 0.002 * Math.abs(exact(i)))
  })

  test('does not depend on the batch', async () => {
    const flow = (batch: number) =>
      probabilityFlowLogDensity(mixtureTarget(mixture), x, { sigmas: { ...sigmas, levels: 20 }, batch })
    const [whole, parts] = [await flow(12), await flow(5)]
    expect(parts.logDensity).toEqual(whole.logDensity)
    expect(parts.latent.data).toEqual(whole.latent.data)
  })

  test("Hutchinson's estimate has the exact one as its mean", async () => {
    const flow = (options: object) =>
      probabilityFlowLogDensity(mixtureTarget(mixture), x, {
        sigmas: { ...sigmas, levels: 30 },
        method: 'heun',
        ...options,
      })
    const { logDensity: want } = await flow({})
    const { logDensity: few } = await flow({ trace: 'hutchinson', probes: 1 })
    const { logDensity: many } = await flow({ trace: 'hutchinson', probes: 400 })
    const error = (got: Float32Array) => Math.sqrt(got.reduce((s, v, i) => s + (v - (want[i] as number)) ** 2, 0) / 12)
    expect(error(few)).toBeGreaterThan(0.05)
    expect(error(many)).toBeLessThan(error(few) / 4)
  })

  test('refuses what does not fit, and can be cancelled', async () => {
    const target = mixtureTarget(mixture)
    await expect(probabilityFlowLogDensity(plainMixture(mixture), x)).rejects.toThrow(/conditioned on the noise level/)
    await expect(probabilityFlowLogDensity(target, hostTensor(new Float32Array(3), [1, 3]))).rejects.toThrow(/\[n,2\]/)
    const trace = 'hutchinsn' as 'hutchinson'
    await expect(probabilityFlowLogDensity(target, x, { trace })).rejects.toThrow(/Did you mean 'hutchinson'/)
    await expect(probabilityFlowLogDensity(target, x, { probes: 0 })).rejects.toThrow(RangeError)
    await expect(probabilityFlowLogDensity(target, x, { batch: 0 })).rejects.toThrow(
      /^probabilityFlowLogDensity: batch must be an integer ≥ 1; got 0/,
    )
    const { signal } = { signal: AbortSignal.abort() }
    await expect(probabilityFlowLogDensity(target, x, { signal })).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })
})

describe('networks', () => {
  test('a conditioned network is sampled at all its levels; one without levels is refused', async () => {
    const sampler = { kind: 'probabilityFlow', sigmas: { largest: 1, smallest: 0.1, levels: 5 } } as const
    const conditioned = mlp({ inputs: 2, hidden: [8], sigma: { smallest: 0.1 }, seed: 3 })
    const chains = await Chains.start(conditioned, { sampler, chains: 4, seed: 1 })
    const { draws } = await chains.draw()
    chains.dispose()
    // One Heun step by hand from the model's own scores.
    const begin = await Chains.start(conditioned, { sampler, chains: 4, seed: 1 })
    const x = await begin.read()
    await begin.advance(1)
    const [a, b] = [1, 10 ** -0.25]
    const [h, n] = [Math.log(b / a), x.data.length]
    const rate = (s: ArrayLike<number>, sigma: number, i: number) => -(sigma ** 2) * (s[i] as number)
    const s1 = (await conditioned.score(x, { sigma: a })).data
    const middle = hostTensor(
      Float32Array.from({ length: n }, (_, i) => (x.data[i] as number) + h * rate(s1, a, i)),
      x.shape,
    )
    const s2 = (await conditioned.score(middle, { sigma: b })).data
    const moved = (await begin.read()).data
    begin.dispose()
    for (let i = 0; i < n; i++) {
      expect(moved[i]).toBeCloseTo((x.data[i] as number) + (h / 2) * (rate(s1, a, i) + rate(s2, b, i)), 5)
    }
    expect(draws.data.every(Number.isFinite)).toBe(true)
    const plain = mlp({ inputs: 2, hidden: [8] })
    await expect(Chains.start(plain, { sampler })).rejects.toThrow(
      /sampler probabilityFlow needs an energy that is conditioned/,
    )
  })
})

describe('options', () => {
  const target = mixtureTarget(mixture)
  const start = (sampler: object) => Chains.start(target, { sampler: sampler as SamplerOptions })

  test('impossible ones are refused by name', async () => {
    await expect(start({ kind: 'annealedLangevin', sigmas: [1, 1] })).rejects.toThrow(
      /decrease strictly; got 1 at place 1/,
    )
    await expect(start({ kind: 'annealedLangevin', sigmas: { largest: 1, smallest: 2, levels: 3 } })).rejects.toThrow(
      /largest > smallest > 0/,
    )
    await expect(start({ kind: 'annealedLangevin', stepPerLevel: 3 })).rejects.toThrow(/Did you mean 'stepsPerLevel'/)
    await expect(start({ kind: 'probabilityFlow', method: 'huen' })).rejects.toThrow(/Did you mean 'heun'/)
    await expect(start({ kind: 'probabilityFlow', sigmas: [1] })).rejects.toThrow(/at least 2/)
    await expect(start({ kind: 'predictorCorrector', snr: 0 })).rejects.toThrow(
      /snr must be a positive finite number; got 0/,
    )
    await expect(start({ kind: 'predictorCorrector', correctorSteps: -1 })).rejects.toThrow(/0\.\.500; got -1/)
  })

  test('a schedule takes no warm-up and no thinning', async () => {
    const chains = await Chains.start(target, { sampler: { kind: 'probabilityFlow' }, chains: 2 })
    await expect(chains.warmup(10)).rejects.toMatchObject({ code: 'E_CONFIG' })
    await expect(chains.draw({ draws: 2, thin: 5 })).rejects.toThrow(/whole schedule for each draw/)
    chains.dispose()
  })
})
