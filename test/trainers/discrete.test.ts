/** Discrete energies: true couplings found again by every method, any network on binary data, grey and one-hot data, runs, refusals. */
import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../lib/cli/config.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { binarized, drawnFrom, oneHot } from '../../lib/data/discrete.ts'
import { enumerateStates } from '../../lib/evaluation/enumerate.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { ising, potts } from '../../lib/nn/discrete.ts'
import type { Model } from '../../lib/nn/model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { ContrastiveDivergence } from '../../lib/trainers/contrastive-divergence.ts'
import { type DiscreteOptions, PseudoLikelihood, RatioMatching } from '../../lib/trainers/discrete.ts'
import { openRun } from '../../lib/trainers/run.ts'
import type { Trainer } from '../../lib/trainers/trainer.ts'
import { pattern } from '../golden/pattern.ts'
import { blobs, checkpointOf, fitAll, folder, rejection, someDigits } from './tiny.ts'

const quick: DiscreteOptions = {
  batch: 500,
  optimizer: { kind: 'adam', learningRate: 0.02 },
  schedule: { kind: 'cosine' },
}
/** By name, with a batch for the model. */
const methods: Record<string, (model: Model, rows: number) => Trainer> = {
  'pseudo-likelihood': (model, batch) => new PseudoLikelihood(model, { ...quick, batch }) as unknown as Trainer,
  'ratio matching': (model, batch) => new RatioMatching(model, { ...quick, batch }) as unknown as Trainer,
  'contrastive divergence': (model, batch) =>
    new ContrastiveDivergence(model, {
      ...quick,
      batch,
      negatives: 400,
      buffer: { size: 400, reinit: 0 },
      sampler: { kind: 'blockGibbs', steps: 2 },
    }) as unknown as Trainer,
}

const values = (model: Model, name: string) => Array.from(model.value(name).data)

describe.each(Object.keys(methods))('true couplings, by %s', (method) => {
  const make = methods[method] as (model: Model, rows: number) => Trainer

  test('one for all of an Ising lattice', async () => {
    const truth = ising({ shape: [4, 4], initial: { coupling: 0.3, field: 0.1 } })
    const data = await drawnFrom(truth, { count: 2000, steps: 100, seed: 1 })
    const model = ising({ shape: [4, 4] })
    await fitAll(make(model, 250), data, { steps: 300 })
    // 32 bonds and 16 sites in each of 2000 draws: standard errors of about 0.006 and 0.005.
    expect(Math.abs((values(model, 'coupling')[0] as number) - 0.3)).toBeLessThan(0.03)
    expect(Math.abs((values(model, 'field')[0] as number) - 0.1)).toBeLessThan(0.025)
  })

  test('every pair and field of a Boltzmann machine of six units', async () => {
    const truth = ising({ shape: [6], coupling: 'full' })
    await truth.setValues(new Map(truth.network.variables.map((v) => [v.name, pattern(v.shape, 4, 0.5)])))
    const data = await drawnFrom(truth, { count: 4000, steps: 60, seed: 2 })
    const model = ising({ shape: [6], coupling: 'full' })
    await fitAll(make(model, 1000), data, { steps: 250 })
    for (const name of ['coupling', 'field']) {
      const errors = values(model, name).map((v, i) => v - (values(truth, name)[i] as number))
      const rms = Math.sqrt(errors.reduce((a, e) => a + e * e, 0) / errors.length)
      // 1/√4000 = 0.016 for a spin that is free.
      expect(rms, name).toBeLessThan(0.04)
    }
    // What counts in the end: the distribution itself.
    const [p, q] = [(await enumerateStates(truth)).probability, (await enumerateStates(model)).probability]
    const kl = p.reduce((a, v, i) => a + v * Math.log(v / (q[i] as number)), 0)
    expect(kl).toBeGreaterThan(0)
    expect(kl).toBeLessThan(0.01)
  })

  test('of a Potts lattice of three colours', async () => {
    const truth = potts({ shape: [3, 3], states: 3, boundary: 'open', initial: { coupling: 0.6 } })
    const data = await drawnFrom(truth, { count: 1000, steps: 100, seed: 3 })
    const model = potts({ shape: [3, 3], states: 3, boundary: 'open' })
    await fitAll(make(model, 125), data, { steps: 250 })
    // 12 bonds in each of 1000 draws: a standard error of about 0.02.
    expect(Math.abs((values(model, 'coupling')[0] as number) - 0.6)).toBeLessThan(0.08)
  })
})

describe('any network', () => {
  test.each([
    ['all sites', {}],
    ['two random sites a step', { sites: 2 }],
  ] as const)('an MLP learns three couplings at once, which no pairwise model has, from %s', async (_, options) => {
    // p ∝ exp(1.2 s₀s₁s₂ + 0.5 s₃)
    const bits = Array.from({ length: 16 }, (_, i) => [0, 1, 2, 3].map((j) => (i >> j) & 1))
    const spin = (b: number[], j: number) => 2 * (b[j] as number) - 1
    const weight = bits.map((b) => Math.exp(1.2 * spin(b, 0) * spin(b, 1) * spin(b, 2) + 0.5 * spin(b, 3)))
    const total = weight.reduce((a, v) => a + v, 0)
    const rows = bits.flatMap((b, i) =>
      Array.from({ length: Math.round(((weight[i] as number) / total) * 2000) }, () => b),
    )
    const data = new Dataset({
      name: 'three',
      features: hostTensor(Float32Array.from(rows.flat()), [rows.length, 4]),
      range: null,
    })
    const model = mlp({ inputs: 4, hidden: [32], seed: 1 })
    const { rows: metrics } = await fitAll(new PseudoLikelihood(model, { ...quick, batch: 200, ...options }), data, {
      steps: 800,
      reportEvery: 400,
    })
    const { probability, states } = await enumerateStates(model)
    const all = states(probability.map((_, i) => i)).data
    const code = (r: number) => [0, 1, 2, 3].reduce((c, j) => c + (all[4 * r + j] as number) * 2 ** j, 0)
    const kl = probability.reduce((a, q, r) => {
      const p = (weight[code(r)] as number) / total
      return a + p * Math.log(p / q)
    }, 0)
    expect(kl).toBeLessThan(0.02)
    expect(metrics[1]).toMatchObject({
      conditional: expect.any(Number),
      accuracy: expect.any(Number),
      energyData: expect.any(Number),
    })
    expect(metrics[1]?.accuracy).toBeGreaterThan(0.7)
  })
})

describe('data', () => {
  test('binarized: above the middle, or by chance in proportion; labels stay', async () => {
    const digits = await someDigits()
    const data = binarized(digits)
    expect(data.range).toBe(null)
    expect([...data.features.data]).toEqual(Array.from(digits.features.data, (v) => (v > 8 ? 1 : 0)))
    expect(data.labels).toEqual(digits.labels)
    const random = binarized(digits, { how: 'stochastic', seed: 1 })
    const [on, grey] = [random, digits].map((d) => Array.from(d.features.data).reduce((a, v) => a + v, 0)) as [
      number,
      number,
    ]
    // The variance of each of 6400 is at most 1/4.
    expect(Math.abs(on - grey / 16)).toBeLessThan(4 * Math.sqrt(1600))
    expect(binarized(digits, { how: 'stochastic', seed: 1 }).features.data).toEqual(random.features.data)
    expect(() => binarized(digits, { threshold: 1 })).toThrow(/threshold must be in \(0, 1\); got 1/)
    const points = new Dataset({ name: 'points', features: blobs().features, range: null })
    expect(() => binarized(points)).toThrow(/row 0 .* outside \[0, 1\]/)
  })

  test('oneHot: a site for each number', () => {
    const numbers = new Dataset({ name: 'n', features: hostTensor(Uint8Array.of(0, 2, 1, 1), [2, 2]), range: null })
    const data = oneHot(numbers, 3)
    expect(data.shape).toEqual([2, 3])
    expect([...data.features.data]).toEqual([1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0])
    expect(() => oneHot(numbers, 2)).toThrow(/row 0 of 'n'.* holds 2; expected whole numbers 0..1/)
  })
})

describe('runs', () => {
  const options: DiscreteOptions = { batch: 10, sites: 3, binarize: 'stochastic', seed: 2, ema: 0.9 }
  const net = (seed = 1) => mlp({ shape: [1, 8, 8], hidden: [8], seed })

  test('resumed bit for bit; grey digits become -1 and 1, and so do samples', async () => {
    const data = await someDigits()
    const [whole, parts] = [folder(), folder()]
    const trainer = new PseudoLikelihood(net(), options)
    await fitAll(trainer, data, { steps: 12, out: whole })
    await fitAll(new PseudoLikelihood(net(), options), data, { steps: 6, out: parts })
    await fitAll(new PseudoLikelihood(net(5), options), data, { steps: 12, out: parts, resume: true })
    expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
    const run = await openRun(whole)
    const drawn = await trainer.sample({ count: 6, steps: 4 })
    expect(drawn.shape).toEqual([6, 1, 8, 8])
    expect([...new Set(drawn.data)].sort()).toEqual([-1, 1])
    expect(await run.sample({ count: 6, steps: 4 })).toEqual(drawn)
  })

  test('samples of a trained Ising lattice and of one-hot data have the data’s means', async () => {
    const truth = ising({ shape: [3, 3], initial: { coupling: 0.2, field: 0.4 } })
    const data = await drawnFrom(truth, { count: 1000, steps: 50 })
    const trainer = new RatioMatching(ising({ shape: [3, 3] }), quick)
    await fitAll(trainer, data, { steps: 300 })
    const mean = (x: ArrayLike<number>) => Array.from(x).reduce((a, v) => a + v, 0) / x.length
    const drawn = await trainer.sample({ count: 1000, steps: 30 })
    expect(Math.abs(mean(drawn.data) - mean(data.features.data))).toBeLessThan(0.04)
    const hot = potts({ shape: [4], states: 3, coupling: 'full' })
    const rows = Uint8Array.from({ length: 400 }, (_, i) => (i % 7 < 4 ? 0 : i % 3))
    const colours = oneHot(new Dataset({ name: 'c', features: hostTensor(rows, [100, 4]), range: null }), 3)
    const second = new PseudoLikelihood(hot, {
      ...quick,
      batch: 100,
      sampling: { sampler: { kind: 'gibbsWithGradients', form: 'oneHot' } },
    })
    await fitAll(second, colours, { steps: 60 })
    const x = (await second.sample({ count: 300, steps: 200 })).data
    const shares = [0, 1, 2].map((k) => mean(Array.from(x).filter((_, i) => i % 3 === k)))
    expect(shares.reduce((a, v) => a + v, 0)).toBeCloseTo(1, 6)
    const want = [0, 1, 2].map((k) => rows.filter((v) => v === k).length / 400)
    for (const [k, share] of shares.entries()) expect(Math.abs(share - (want[k] as number))).toBeLessThan(0.1)
  })

  test('configurations', () => {
    const config = {
      method: 'pseudoLikelihood',
      data: { kind: 'digits' },
      network: { kind: 'ising', coupling: 'bond' },
      trainer: { sites: 8, binarize: 'threshold' },
    }
    expect(parseConfig(config, 'c.json')).toEqual(config)
    expect(() => parseConfig({ ...config, trainer: { sites: 0 } }, 'c.json')).toThrow(/trainer.sites/)
    expect(parseConfig({ ...config, method: 'ratioMatching' }, 'c.json').method).toBe('ratioMatching')
  })
})

describe('refusals', () => {
  test('data that are neither binary nor one-hot, values and kinds that do not fit', async () => {
    const fail = async (model: Model, options: object, data: Dataset) =>
      (await rejection(fitAll(new PseudoLikelihood(model, options as DiscreteOptions), data, { steps: 1 }))).message
    const digits = await someDigits()
    const points = new Dataset({ name: 'points', features: blobs().features, range: null })
    expect(await fail(ising({ shape: [1, 8, 8] }), { batch: 8 }, digits)).toMatch(/Build it with values: \[-1, 1\]/)
    expect(await fail(mlp({ inputs: 2 }), { batch: 8 }, points)).toMatch(
      /row 0 holds .* expected between 0 and 1 .*binarized/,
    )
    expect(await fail(mlp({ shape: [1, 8, 8] }), { batch: 8, kind: 'oneHot' }, digits)).toMatch(
      /one-hot examples must be/,
    )
    expect(await fail(mlp({ inputs: 2 }), { batch: 8, kind: 'onehot' }, points)).toMatch(
      /kind 'onehot' is not known.*oneHot/,
    )
    const two = new Dataset({ name: 'two', features: hostTensor(new Float32Array(24).fill(1), [4, 2, 3]), range: null })
    expect(await fail(potts({ shape: [2], states: 3 }), { batch: 2 }, two)).toMatch(/row 0 has a site with 3 ones/)
    expect(await fail(potts({ shape: [2], states: 3 }), { batch: 2, binarize: 'threshold' }, two)).toMatch(/not grey/)
    expect(await fail(mlp({ shape: [1, 8, 8] }), { batch: 8, sites: 65 }, digits)).toMatch(
      /sites must not exceed the 64/,
    )
  })
})
