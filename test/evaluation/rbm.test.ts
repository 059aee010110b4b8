/** log Z of RBMs: exact sums against PyTorch and brute force; annealed importance sampling, both ways, against the exact value. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { annealedImportanceSampling, bracketLogZ, reverseAnnealedImportanceSampling } from '../../lib/evaluation/ais.ts'
import { enumerateStates } from '../../lib/evaluation/enumerate.ts'
import { quadratureLogZ } from '../../lib/evaluation/quadrature.ts'
import { rbmAnnealing, rbmLogZ } from '../../lib/evaluation/rbm.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { type RbmNetworkOptions, rbm } from '../../lib/nn/rbm.ts'
import { setThreads } from '../../lib/runtime/addon.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { sample } from '../../lib/samplers/sample.ts'
import { pattern } from '../golden/pattern.ts'

setThreads(1)

const golden = JSON.parse(readFileSync(new URL('../golden/rbm.json', import.meta.url), 'utf8'))

async function patterned(options: RbmNetworkOptions, scale = 1.5): Promise<Model> {
  const model = rbm(options)
  const scales: Record<string, number> = { weight: scale, visible_bias: 1, hidden_bias: 1, log_variance: 0.5 }
  await model.setValues(
    new Map(model.network.variables.map((v, i) => [v.name, pattern(v.shape, i + 1, scales[v.name] ?? 1)])),
  )
  return model
}

const gaussian = { visibleKind: 'gaussian', variance: 'learned' } as const

describe('exact log Z', () => {
  test.each(['bernoulli', 'gaussian'] as const)('%s: PyTorch', async (kind) => {
    const model = await patterned({ visible: 5, hidden: 4, ...(kind === 'gaussian' && gaussian) })
    // The golden parameters have the same seeds, in the order weight, visible_bias, hidden_bias, log_variance.
    expect(await rbmLogZ(model)).toBeCloseTo(golden[kind].logZ, 5)
    await model.dispose()
  })

  test('the smaller layer or the larger one, or all of v by its free energy: the same', async () => {
    const wide = await patterned({ visible: 6, hidden: 9 })
    const tall = await patterned({ visible: 9, hidden: 6 })
    for (const model of [wide, tall]) {
      const { logZ } = await enumerateStates(model)
      expect(await rbmLogZ(model)).toBeCloseTo(logZ, 4)
      await model.dispose()
    }
    const signs = await patterned({ visible: 7, hidden: 3, values: [-1, 1] })
    expect(await rbmLogZ(signs)).toBeCloseTo((await enumerateStates(signs, { values: [-1, 1] })).logZ, 4)
  })

  test('Gaussian units: quadrature', async () => {
    const model = await patterned({ visible: 2, hidden: 5, ...gaussian })
    const grid = await quadratureLogZ(model, { low: -14, high: 14, points: 600 })
    expect(await rbmLogZ(model)).toBeCloseTo(grid.logZ, 4)
  })

  test('too many units, or another network', async () => {
    await expect(rbmLogZ(rbm({ visible: 40, hidden: 30 }))).rejects.toThrow(
      /30 sites of 2 values are 2\^30.0 states; at most 2\^22/,
    )
    await expect(rbmLogZ(mlp({ inputs: 3 }))).rejects.toThrow(/needs a restricted Boltzmann machine; got network 'mlp'/)
  })
})

/** Exact draws by enumeration. */
async function exactDraws(model: Model, count: number): Promise<HostTensor> {
  const { probability, states } = await enumerateStates(model)
  const random = new HostRandom(4)
  let sum = 0
  const cumulative = probability.map((p) => {
    sum += p
    return sum
  })
  const picks = Array.from({ length: count }, () => {
    const u = random.uniform() * sum
    return cumulative.findIndex((c) => u < c)
  })
  return states(picks)
}

describe('annealed importance sampling by Gibbs', () => {
  test('Bernoulli, with a base from data or from the biases: within 4 standard errors, bracketed from above', async () => {
    const model = await patterned({ visible: 10, hidden: 7 }, 2)
    const exact = await rbmLogZ(model)
    const samples = await exactDraws(model, 300)
    for (const data of [samples, undefined]) {
      const annealing = rbmAnnealing(model, data === undefined ? {} : { data })
      const b = await bracketLogZ(model, { ...annealing, samples, steps: 300, chains: 300, seed: 3 })
      for (const { logZ, standardError } of [b.forward, b.reverse]) {
        expect(standardError).toBeLessThan(0.1)
        expect(Math.abs(logZ - exact)).toBeLessThan(4 * standardError)
      }
      expect(Math.abs(b.estimate - exact)).toBeLessThan(4 * b.standardError)
      expect(b.standardError).toBeLessThan(b.forward.standardError)
    }
  })

  test('Gaussian: within 4 standard errors', async () => {
    const model = await patterned({ visible: 4, hidden: 6, ...gaussian }, 1.2)
    const exact = await rbmLogZ(model)
    const chains = await sample(model, { sampler: { kind: 'blockGibbs' }, chains: 300, draws: 1, warmup: 300, seed: 5 })
    const data = hostTensor(chains.draws.data, [300, 4])
    for (const options of [{}, { data }]) {
      const r = await annealedImportanceSampling(model, { ...rbmAnnealing(model, options), steps: 300, chains: 300 })
      expect(r.standardError).toBeLessThan(0.1)
      expect(Math.abs(r.logZ - exact)).toBeLessThan(4 * r.standardError)
    }
    const up = await reverseAnnealedImportanceSampling(model, { ...rbmAnnealing(model), samples: data, steps: 300 })
    expect(Math.abs(up.logZ - exact)).toBeLessThan(4 * up.standardError)
  })

  test('weights are unbiased for Z with few temperatures, which a mistaken weight or move would not be', async () => {
    const model = await patterned({ visible: 8, hidden: 5 }, 2)
    const exact = await rbmLogZ(model)
    const ratios: number[] = []
    for (let seed = 0; seed < 8; seed++) {
      const r = await annealedImportanceSampling(model, { ...rbmAnnealing(model), steps: 6, chains: 1000, seed })
      for (const w of r.logWeights) ratios.push(Math.exp(w - exact))
    }
    const mean = ratios.reduce((a, v) => a + v, 0) / ratios.length
    const error = Math.sqrt(ratios.reduce((a, v) => a + (v - mean) ** 2, 0) / ratios.length / ratios.length)
    expect(error).toBeLessThan(0.1)
    expect(Math.abs(mean - 1)).toBeLessThan(4 * error)
    // With so few temperatures log Z itself is underestimated.
    expect(ratios.reduce((a, v) => a + Math.log(v), 0) / ratios.length).toBeLessThan(-0.05)
  })

  test('a machine without weights has weights without spread', async () => {
    const model = await patterned({ visible: 6, hidden: 3 }, 0)
    const r = await annealedImportanceSampling(model, { ...rbmAnnealing(model), steps: 20, chains: 10 })
    expect(r.logZ).toBeCloseTo(await rbmLogZ(model), 4)
    expect(r.standardError).toBeLessThan(1e-4)
  })

  test('data that do not fit', () => {
    const model = rbm({ visible: 3, hidden: 2 })
    expect(() => rbmAnnealing(model, { data: pattern([4, 2], 1) })).toThrow(/data must be float32 \[n,3\]/)
    expect(() => rbmAnnealing(mlp({ inputs: 2 }))).toThrow(/needs a restricted Boltzmann machine/)
  })
})
