import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  type AisOptions,
  annealedImportanceSampling,
  bracketLogZ,
  reverseAnnealedImportanceSampling,
} from '../../lib/evaluation/ais.ts'
import { makeBase } from '../../lib/evaluation/ais-base.ts'
import { annealingSchedule } from '../../lib/evaluation/ais-run.ts'
import type { AnnealingTransition } from '../../lib/evaluation/ais-transition.ts'
import { bennettLogZ, logMeanExp, logSumExp, summarizeLogWeights } from '../../lib/evaluation/log-weights.ts'
import { quadratureLogZ } from '../../lib/evaluation/quadrature.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { convEnergy, defineEnergy, mlp } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { Recorder, runStage } from '../../lib/runtime/state.ts'
import { customDistribution } from '../../lib/samplers/distributions.ts'
import { pattern } from '../golden/pattern.ts'
import { normals, uniforms } from './random.ts'

const halfLogTau = 0.5 * Math.log(2 * Math.PI)

/** E = ½‖(x - 1)/0.5‖² - 3 in d dimensions, and its log Z. */
function gaussianModel(d: number): { model: Model; logZ: number; draw: (n: number, seed: number) => HostTensor } {
  const model = defineEnergy({ shape: [d] }, (x) => x.sub(1).div(0.5).square().sum(-1).mul(0.5).sub(3))
  return {
    model,
    logZ: d * (Math.log(0.5) + halfLogTau) + 3,
    draw(n, seed) {
      const next = normals(seed)
      return hostTensor(
        Float32Array.from({ length: n * d }, () => 1 + 0.5 * next()),
        [n, d],
      )
    },
  }
}

describe('log Z of Gaussians', () => {
  const cases: [number, AisOptions['transition'] & object][] = [
    [2, { kind: 'hmc' }],
    [2, { kind: 'mala' }],
    [10, { kind: 'hmc' }],
    [10, { kind: 'mala' }],
    [10, { kind: 'hmc', leapfrog: 2, stepSize: 0.4 }],
  ]
  test.each(cases)('d = %i, %j: within four standard errors', async (d, transition) => {
    const { model, logZ } = gaussianModel(d)
    const r = await annealedImportanceSampling(model, { steps: 400, chains: 400, transition, seed: 1 })
    expect(r.standardError).toBeLessThan(0.06)
    expect(Math.abs(r.logZ - logZ)).toBeLessThan(4 * r.standardError)
    expect(r.acceptance).toBeGreaterThan(0.5)
    expect(r.acceptance).toBeLessThan(0.99)
    expect(r.effectiveSampleSize).toBeGreaterThan(150)
    expect(r.logWeights).toHaveLength(400)
    // The chains end at the model: mean 1, variance 0.25.
    const mean = Array.from(r.samples.data).reduce((s, v) => s + v, 0) / r.samples.data.length
    expect(Math.abs(mean - 1)).toBeLessThan(0.1)
  })

  test('weights are unbiased for Z even with few temperatures: the mean over seeds', async () => {
    const { model, logZ } = gaussianModel(2)
    const ratios: number[] = []
    for (let seed = 0; seed < 12; seed++) {
      const r = await annealedImportanceSampling(model, {
        steps: 8,
        chains: 500,
        seed,
        transition: { kind: 'mala', stepSize: 0.6 },
      })
      ratios.push(...[...r.logWeights].map((w) => Math.exp(w - logZ)))
    }
    const mean = ratios.reduce((s, v) => s + v, 0) / ratios.length
    const sd = Math.sqrt(ratios.reduce((s, v) => s + (v - mean) ** 2, 0) / ratios.length)
    expect(Math.abs(mean - 1)).toBeLessThan((4 * sd) / Math.sqrt(ratios.length))
    // With so few temperatures log Z itself is underestimated.
    const meanLog = ratios.reduce((s, v) => s + Math.log(v), 0) / ratios.length
    expect(meanLog).toBeLessThan(-0.1)
  })

  test('a base that is the model has weights without spread, also over many temperatures', async () => {
    const model = defineEnergy({ shape: [3] }, (x) => x.square().sum(-1).mul(0.5).sub(1000))
    const r = await annealedImportanceSampling(model, { steps: 500, chains: 20 })
    expect(r.standardError).toBeLessThan(1e-4)
    expect(r.logZ).toBeCloseTo(1000 + 3 * halfLogTau, 2)
    expect(r.effectiveSampleSize).toBeCloseTo(20, 4)
  })
})

describe('other energies', () => {
  test('two modes of unequal weight: the log of the sum of their integrals', async () => {
    const well = (x: Tensor, at: number, s: number) =>
      x
        .sub(at)
        .square()
        .sum(-1)
        .mul(-0.5 / (s * s))
    const model = defineEnergy({ shape: [2] }, (x) =>
      ops.neg(ops.logsumexp(ops.stack([well(x, 2, 0.5), well(x, -2, 0.7).add(0.5)], 1), 1)),
    )
    const want = 2 * halfLogTau + Math.log(0.25 + Math.exp(0.5) * 0.49)
    const base = { kind: 'normal', std: 2.5 } as const
    const r = await annealedImportanceSampling(model, { steps: 400, chains: 400, base })
    expect(Math.abs(r.logZ - want)).toBeLessThan(4 * r.standardError)
    expect(r.standardError).toBeLessThan(0.06)
    const grid = await quadratureLogZ(model, { low: -7, high: 7 })
    expect(grid.logZ).toBeCloseTo(want, 5)
  })

  test('an MLP over a box agrees with quadrature, and is bracketed from both sides', async () => {
    const model = mlp({ inputs: 2, hidden: [16, 16], seed: 5 })
    for (const v of model.network.variables)
      for (let i = 0; i < model.value(v.name).data.length; i++) model.value(v.name).data[i]! *= 3
    const box = { low: -2, high: 2 }
    const want = (await quadratureLogZ(model, { ...box, rule: 'simpson', points: 401 })).logZ
    const base = { kind: 'uniform', ...box } as const
    const r = await annealedImportanceSampling(model, { steps: 300, chains: 400, base, seed: 2 })
    expect(Math.abs(r.logZ - want)).toBeLessThan(4 * r.standardError)
    expect(r.standardError).toBeLessThan(0.05)
    expect(Math.max(...r.samples.data.map(Math.abs))).toBeLessThanOrEqual(2)
    // Exact draws by rejection.
    const energies = async (n: number, seed: number) => {
      const u = uniforms(seed)
      const x = hostTensor(
        Float32Array.from({ length: 2 * n }, () => 4 * u() - 2),
        [n, 2],
      )
      return { x, e: await model.energy(x) }
    }
    const { x, e } = await energies(20000, 3)
    const least = Math.min(...e)
    const u = uniforms(4)
    const kept = [...e].flatMap((v, i) => (u() < Math.exp(least - v) ? [x.data[2 * i]!, x.data[2 * i + 1]!] : []))
    const samples = hostTensor(Float32Array.from(kept.slice(0, 800)), [400, 2])
    const b = await bracketLogZ(model, { steps: 300, samples, base, seed: 7 })
    expect(Math.abs(b.estimate - want)).toBeLessThan(4 * b.standardError)
    expect(Math.abs(b.upper - want)).toBeLessThan(4 * b.reverse.standardError + 0.02)
    expect(Math.abs(b.upper - b.lower)).toBeLessThan(0.2)
    expect(b.forward.logWeights).toHaveLength(400)
  })

  test('convolutional energy on images, with a fitted diagonal base', async () => {
    const model = convEnergy({ shape: [1, 8, 8], channels: [4, 8], seed: 1 })
    const base = { kind: 'fitted', data: pattern([50, 1, 8, 8], 3), form: 'diagonal' } as const
    const samples = pattern([20, 1, 8, 8], 4)
    const r = await annealedImportanceSampling(model, { steps: 30, chains: 16, base })
    expect(r.samples.shape).toEqual([16, 1, 8, 8])
    expect(Number.isFinite(r.logZ)).toBe(true)
    const back = await reverseAnnealedImportanceSampling(model, { steps: 30, samples, base })
    expect(back.samples.shape).toEqual([20, 1, 8, 8])
  })
})

describe('forward below, reverse above', () => {
  test('on average over seeds, with few temperatures; Bennett between them is nearer', async () => {
    const { model, logZ, draw } = gaussianModel(4)
    const lower: number[] = []
    const upper: number[] = []
    const middle: number[] = []
    for (let seed = 0; seed < 10; seed++) {
      const transition = { kind: 'mala', stepSize: 0.5 } as const
      const b = await bracketLogZ(model, { steps: 12, samples: draw(60, seed + 50), transition, seed })
      lower.push(b.lower)
      upper.push(b.upper)
      middle.push(b.estimate)
    }
    const mean = (v: number[]) => v.reduce((s, w) => s + w, 0) / v.length
    expect(mean(lower)).toBeLessThan(logZ)
    expect(mean(upper)).toBeGreaterThan(logZ)
    expect(mean(upper) - mean(lower)).toBeGreaterThan(0.1)
    expect(Math.abs(mean(middle) - logZ)).toBeLessThan(Math.max(logZ - mean(lower), mean(upper) - logZ))
    expect(Math.abs(mean(middle) - logZ)).toBeLessThan(0.15)
  })

  test('both close in as temperatures grow', async () => {
    const { model, logZ, draw } = gaussianModel(4)
    const b = await bracketLogZ(model, {
      steps: 600,
      samples: draw(200, 9),
      base: { kind: 'fitted', data: draw(500, 10) },
    })
    expect(Math.abs(b.lower - logZ)).toBeLessThan(0.02)
    expect(Math.abs(b.upper - logZ)).toBeLessThan(0.02)
    expect(b.reverse.acceptance).toBeGreaterThan(0.5)
  })
})

describe('running', () => {
  const { model } = gaussianModel(2)

  test('the same seed gives the same weights, another one others', async () => {
    const run = async (seed: number) =>
      (await annealedImportanceSampling(model, { steps: 20, chains: 8, seed })).logWeights
    const first = await run(3)
    expect(await run(3)).toEqual(first)
    expect(await run(4)).not.toEqual(first)
  })

  test('several transitions at a temperature help', async () => {
    const options = { steps: 15, chains: 200, transition: { kind: 'mala', stepSize: 0.5 } } as const
    const one = await annealedImportanceSampling(model, options)
    const five = await annealedImportanceSampling(model, { ...options, transitions: 5 })
    expect(five.standardError).toBeLessThan(0.8 * one.standardError)
  })

  test('progress counts the pilot and ends at the total', async () => {
    const seen: [number, number][] = []
    await annealedImportanceSampling(model, {
      steps: 100,
      chains: 4,
      onProgress: (done, total) => seen.push([done, total]),
    })
    expect(seen.at(-1)).toEqual([200, 200])
    expect(seen.length).toBeGreaterThan(20)
    expect(seen.every(([done], i) => i === 0 || done > seen[i - 1]![0])).toBe(true)
  })

  test('aborting ends it with E_CANCELLED', async () => {
    const controller = new AbortController()
    const run = annealedImportanceSampling(model, {
      steps: 20000,
      chains: 8,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(run).rejects.toMatchObject({ code: 'E_CANCELLED' })
  })

  test('a distribution of the caller serves as base', async () => {
    const base = customDistribution({
      shape: [2],
      sample: (key, count, stream) => ops.normal(key, [count, 2], stream).mul(0.8).add(0.5),
      logDensity: (x) =>
        x
          .sub(0.5)
          .div(0.8)
          .square()
          .sum(1)
          .mul(-0.5)
          .sub(2 * (halfLogTau + Math.log(0.8))),
    })
    const r = await annealedImportanceSampling(model, { base, steps: 200, chains: 300 })
    expect(Math.abs(r.logZ - gaussianModel(2).logZ)).toBeLessThan(4 * r.standardError)
  })
})

describe('discrete x', () => {
  const d = 6
  const coupling = pattern([d, d], 21, 0.8)
  const model = defineEnergy({ shape: [d] }, (x) =>
    ops
      .matmul(x, ops.constant(coupling.data, [d, d]))
      .mul(x)
      .sum(-1)
      .neg(),
  )
  const base = customDistribution({
    shape: [d],
    sample: (key, count, stream) => ops.uniform(key, [count, d], stream).lt(0.5).cast('float32'),
    logDensity: (x) =>
      x
        .sum(-1)
        .mul(0)
        .sub(d * Math.LN2),
  })
  /** Metropolis flips of one random site: leaves π_β invariant on {0, 1}^d. */
  const flips: AnnealingTransition = {
    stepSize: 1,
    init(r, path, x) {
      r.write('ais/logModel', path.logModel(r, x))
      r.write('ais/logBase', path.logBase(r, x))
      r.write('ais/acceptance', ops.constant(0))
    },
    async record(state, path) {
      const r = new Recorder(state)
      const [x, key] = [r.read('ais/x'), r.read('ais/key')]
      const n = x.shape[0] as number
      const site = ops.randomInt(key, [n], { bound: d, stream: 1 })
      const chosen = ops.oneHot(site, d)
      const trial = x.add(chosen.mul(ops.sub(1, x.mul(2))))
      const [model, base] = [path.logModel(r, trial), path.logBase(r, trial)]
      const change = model.sub(r.read('ais/logModel')).mul(r.read('ais/beta'))
      const probability = change.minimum(0).exp()
      const accept = ops.lt(ops.uniform(key, [n], 2), probability)
      r.write('ais/x', ops.select(accept.unsqueeze(1), trial, x))
      r.write('ais/logModel', ops.select(accept, model, r.read('ais/logModel')))
      r.write('ais/logBase', ops.select(accept, base, r.read('ais/logBase')))
      r.write('ais/acceptance', probability.mean())
      r.write('ais/key', ops.nextKey(key))
      const stage = await r.compile('flip')
      return { stages: [stage], code: [runStage(stage)] }
    },
  }

  test('an Ising model, by a transition of the caller, against the sum over all states', async () => {
    const states = Float32Array.from({ length: 64 * d }, (_, i) => (Math.floor(i / d) >> (i % d)) & 1)
    const energies = await model.energy(hostTensor(states, [64, d]))
    const want = logSumExp(energies.map((e) => -e))
    const r = await annealedImportanceSampling(model, {
      base,
      transition: flips,
      steps: 200,
      transitions: 3,
      chains: 300,
    })
    expect(Math.abs(r.logZ - want)).toBeLessThan(4 * r.standardError)
    expect(r.standardError).toBeLessThan(0.03)
    expect(r.acceptance).toBeGreaterThan(0.2)
    expect([...new Set(r.samples.data)].sort()).toEqual([0, 1])
  })
})

describe('fitted base', () => {
  test('keeps mean and covariance, widened', async () => {
    const next = normals(3)
    const data = Float32Array.from({ length: 4000 }, () => 0)
    for (let i = 0; i < 2000; i++) {
      const [a, b] = [next(), next()]
      data[2 * i] = 3 + a
      data[2 * i + 1] = -1 + 0.8 * a + 0.6 * b
    }
    const base = await makeBase({ kind: 'fitted', data: hostTensor(data, [2000, 2]), inflate: 2 }, [2])
    const factor = base.parameters.get('factor')!.data
    expect(base.parameters.get('mean')!.data[0]).toBeCloseTo(3, 0)
    expect(factor[0]).toBeCloseTo(2, 0)
    expect(factor[1]).toBe(0)
    expect(factor[2]! / 2).toBeCloseTo(0.8, 1)
    expect(factor[3]! / 2).toBeCloseTo(0.6, 1)
  })

  test('data with a constant column still has a density', async () => {
    const data = hostTensor(Float32Array.of(1, 5, 2, 5, 3, 5, 4, 5), [4, 2])
    const base = await makeBase({ kind: 'fitted', data }, [2])
    expect(base.parameters.get('factor')!.data[3]).toBeGreaterThan(0)
  })
})

describe('log weights', () => {
  test('sums and means of exponentials do not overflow', () => {
    expect(logSumExp([1000, 1000])).toBeCloseTo(1000 + Math.LN2, 10)
    expect(logMeanExp([-2000, -2000, -2000])).toBeCloseTo(-2000, 10)
    expect(logSumExp([-Infinity, -Infinity])).toBe(-Infinity)
  })

  test('standard error by the delta method and effective sample size', () => {
    const w = Float64Array.of(Math.log(1), Math.log(3), Math.log(2), Math.log(2))
    const s = summarizeLogWeights('test', w)
    expect(s.value).toBeCloseTo(Math.log(2), 12)
    expect(s.standardError).toBeCloseTo(Math.sqrt(2 / 3) / 2 / 2, 12)
    expect(s.effectiveSampleSize).toBeCloseTo(64 / 18, 12)
  })

  test("Bennett's equation as scipy solves it", () => {
    const golden = JSON.parse(readFileSync(new URL('../golden/diagnostics.json', import.meta.url), 'utf8'))
    const w = Float64Array.from(pattern([30], 11, 1.5, 0.2).data)
    const v = Float64Array.from(pattern([20], 12, 1.2, 0.9).data)
    const both = bennettLogZ(w, v)
    expect(both.value).toBeCloseTo(golden.bennett, 9)
    expect(both.standardError).toBeGreaterThan(0.01)
  })

  test('of directions that do not overlap at all is the middle of their bounds, give or take half the gap', () => {
    const both = bennettLogZ(Float64Array.of(-3000, -3000), Float64Array.of(1000, 1000))
    expect(both.value).toBeCloseTo(-1000, 8)
    expect(both.standardError).toBeCloseTo(2000, 8)
  })

  test('weights that are not numbers are refused', () => {
    expect(() => summarizeLogWeights('AIS', Float64Array.of(0, Number.NaN))).toThrow(
      expect.objectContaining({ code: 'E_DIVERGED' }),
    )
    expect(() => summarizeLogWeights('AIS', Float64Array.of(-Infinity, -Infinity))).toThrow(/2 are -infinite/)
  })
})

describe('schedules', () => {
  test.each(['sigmoid', 'linear'] as const)('%s rises from above 0 to exactly 1', (kind) => {
    const betas = annealingSchedule(kind, 50)
    expect(betas[0]).toBeGreaterThan(0)
    expect(betas.at(-1)).toBe(1)
    for (let i = 1; i < 50; i++) expect(betas[i]).toBeGreaterThan(betas[i - 1]!)
  })

  test('one of the caller is checked', () => {
    expect([...annealingSchedule([0.1, 0.5, 1], 3)]).toEqual([0.1, 0.5, 1])
    expect(() => annealingSchedule([0.5, 0.1, 1], 3)).toThrow(RangeError)
    expect(() => annealingSchedule([0.5, 0.9], 2)).toThrow(/to exactly 1/)
    expect(() => annealingSchedule('sigmod' as 'sigmoid', 3)).toThrow(/Did you mean 'sigmoid'/)
  })
})

describe('bad input', () => {
  const { model, draw } = gaussianModel(2)
  const refused = (options: object) => annealedImportanceSampling(model, { steps: 4, chains: 4, ...options })

  test.each([
    [{ chains: 1 }, /chains must be an integer ≥ 2/],
    [{ steps: 0 }, /steps must be an integer ≥ 1/],
    [{ transitions: 0 }, /transitions must be/],
    [{ seed: -1 }, /seed must be/],
    [{ base: { kind: 'normel' } }, /Did you mean 'normal'/],
    [{ base: { kind: 'normal', std: 0 } }, /std must be a positive finite number/],
    [{ base: { kind: 'uniform', low: 1, high: 0 } }, /low must be below high/],
    [{ base: { kind: 'fitted', data: hostTensor(new Float32Array(6), [2, 3]) } }, /data must be float32 \[n,2\]/],
    [{ transition: { kind: 'mela' } }, /Did you mean 'mala'/],
    [{ transition: { kind: 'hmc', leapfrog: 0 } }, /leapfrog must be/],
    [{ transition: { kind: 'hmc', stepSize: -1 } }, /stepSize must be a positive number/],
  ])('%j', async (options, message) => {
    await expect(refused(options)).rejects.toThrow(message)
  })

  test('samples of another shape, or outside the base', async () => {
    const wrong = reverseAnnealedImportanceSampling(model, {
      samples: hostTensor(new Float32Array(6), [2, 3]),
      steps: 3,
    })
    await expect(wrong).rejects.toMatchObject({ code: 'E_SHAPE' })
    const base = { kind: 'uniform', low: -0.1, high: 0.1 } as const
    const outside = reverseAnnealedImportanceSampling(model, { samples: draw(10, 1), base, steps: 3 })
    await expect(outside).rejects.toThrow(/begin outside the base's support/)
  })

  test('an energy that is NaN is named as the reason', async () => {
    const broken = defineEnergy({ shape: [2] }, (x) => x.sum(-1).log())
    const run = annealedImportanceSampling(broken, { steps: 4, chains: 8, transition: { kind: 'mala', stepSize: 0.1 } })
    await expect(run).rejects.toMatchObject({ code: 'E_DIVERGED' })
  })
})
