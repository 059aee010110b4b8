/** Restricted Boltzmann machines by CD and PCD: the gradient, what training does to the exact likelihood, options, resuming, sampling. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import { parseConfig } from '../../lib/cli/config.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { binarized } from '../../lib/data/discrete.ts'
import { digits } from '../../lib/data/standard.ts'
import { annealedImportanceSampling } from '../../lib/evaluation/ais.ts'
import { heldOutLogLikelihood } from '../../lib/evaluation/likelihood.ts'
import { rbmAnnealing, rbmLogZ } from '../../lib/evaluation/rbm.ts'
import { type HostTensor, hostTensor } from '../../lib/graph/host-tensor.ts'
import type { Model } from '../../lib/nn/model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { RbmNetwork, rbm } from '../../lib/nn/rbm.ts'
import { Variables } from '../../lib/nn/variables.ts'
import { evaluateReference, type RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { readSafetensors } from '../../lib/runtime/safetensors.ts'
import { Rbm, type RbmOptions } from '../../lib/trainers/rbm.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { pattern } from '../golden/pattern.ts'
import { blobs, checkpointOf, fitAll, folder, metricsOf, rejection, someDigits } from './tiny.ts'

const golden = JSON.parse(readFileSync(new URL('../golden/rbm.json', import.meta.url), 'utf8'))

/** Bars and stripes on 3x3 (MacKay 2003): each row, or each column, on or off: 14 pictures, all off and all on twice as often as others. */
function bars(): Dataset {
  const rows: number[] = []
  for (let code = 0; code < 8; code++) {
    for (const across of [false, true])
      for (let i = 0; i < 9; i++) rows.push((code >> (across ? i % 3 : Math.floor(i / 3))) & 1)
  }
  const features = hostTensor(Float32Array.from(rows), [16, 9])
  return new Dataset({ name: 'bars', features, range: null })
}
/** Mean log p of the best model there is: minus the entropy. */
const BEST = (12 / 16) * Math.log(1 / 16) + (4 / 16) * Math.log(2 / 16)

async function exactLogLikelihood(model: Model, x: HostTensor): Promise<number> {
  const energy = await model.energy(x)
  return -energy.reduce((a, e) => a + e, 0) / energy.length - (await rbmLogZ(model))
}

test('with exact chains the gradient is that of the exact log-likelihood, in float64', () => {
  const { x, likelihoodGradient } = golden.bernoulli
  const network = new RbmNetwork({ visible: 5, hidden: 4 })
  const variables = new Variables()
  const energy = (v: Float64Array) => {
    const data = ops.constant(Float32Array.from(v), [v.length / 5, 5])
    return network.energy(data, { variables, norm: 'running' })
  }
  const all = energy(Float64Array.from({ length: 32 * 5 }, (_, i) => (Math.floor(i / 5) >> (i % 5)) & 1))
  const p = ops.stopGradient(ops.softmax(ops.neg(all)))
  const loss = ops.sub(ops.mean(energy(Float64Array.from(x))), ops.sum(ops.mul(p, all)))
  const seeds: Record<string, HostTensor> = {
    weight: pattern([4, 5], 1, 1.5),
    visible_bias: pattern([5], 2),
    hidden_bias: pattern([4], 3),
  }
  const feeds = new Map(
    Object.entries(seeds).map(([name, t]) => [
      variables.tensor(name),
      { shape: t.shape, data: Float64Array.from(t.data) } as RefArray,
    ]),
  )
  const names = Object.keys(seeds)
  const gradients = evaluateReference(
    grad(
      loss,
      names.map((n) => variables.tensor(n)),
    ),
    feeds,
  )
  names.forEach((name, i) => {
    gradients[i]?.data.forEach((g, k) => {
      expect(g).toBeCloseTo(likelihoodGradient[name][k], 10)
    })
  })
})

describe('a step', () => {
  test('is ⟨σ(c + Wv) vᵀ⟩ of the data less that of the particles after the sweep, by plain SGD', async () => {
    const out = folder()
    const data = bars()
    const options: RbmOptions = {
      batch: 16,
      particles: 7,
      optimizer: { kind: 'sgd', learningRate: 0.5, momentum: 0 },
      visibleBias: 'model',
    }
    const model = rbm({ visible: 9, hidden: 4 })
    await model.setValues(new Map(model.network.variables.map((v, i) => [v.name, pattern(v.shape, i)])))
    const before = new Map([...model.stateDict()].map(([name, t]) => [name, Float64Array.from(t.data)]))
    const { rows } = await fitAll(new Rbm(model, options), data, { steps: 1, reportEvery: 1, out })
    const { tensors } = await readSafetensors(`${out}/checkpoint.safetensors`)
    const particles = tensors.get('chain/buffer') as HostTensor
    expect(particles.shape).toEqual([7, 9])
    const W = before.get('weight') as Float64Array
    const c = before.get('hidden_bias') as Float64Array
    const correlation = (v: ArrayLike<number>, n: number, j: number, i: number) => {
      let sum = 0
      for (let r = 0; r < n; r++) {
        let a = c[j] as number
        for (let k = 0; k < 9; k++) a += (W[9 * j + k] as number) * (v[9 * r + k] as number)
        sum += (v[9 * r + i] as number) / (1 + Math.exp(-a)) / n
      }
      return sum
    }
    const after = model.value('weight').data
    for (let j = 0; j < 4; j++) {
      for (let i = 0; i < 9; i++) {
        const step = 0.5 * (correlation(data.features.data, 16, j, i) - correlation(particles.data, 7, j, i))
        expect(after[9 * j + i]).toBeCloseTo((W[9 * j + i] as number) + step, 5)
      }
    }
    expect(rows[0]).toMatchObject({
      loss: expect.any(Number),
      energyGap: expect.any(Number),
      reconstruction: expect.any(Number),
      hiddenActivity: expect.any(Number),
      pseudoLogLikelihood: expect.any(Number),
    })
    expect(rows[0]?.loss).toBeCloseTo(-(rows[0]?.energyGap as number), 6)
  })

  test('weight decay and sparsity add what they say', async () => {
    const of = async (options: RbmOptions) => {
      const model = rbm({ visible: 9, hidden: 4 })
      await model.setValues(new Map(model.network.variables.map((v, i) => [v.name, pattern(v.shape, i)])))
      const { rows } = await fitAll(new Rbm(model, { batch: 16, ...options }), bars(), { steps: 1, reportEvery: 1 })
      return rows[0]?.loss as number
    }
    const plain = await of({})
    const squares = Array.from(pattern([4, 9], 0).data).reduce((a, v) => a + v * v, 0)
    expect((await of({ weightDecay: 0.1 })) - plain).toBeCloseTo(0.05 * squares, 4)
    const some = (await of({ sparsity: { target: 0.1, weight: 1 } })) - plain
    expect(some).toBeGreaterThan(0)
    expect((await of({ sparsity: { target: 0.1, weight: 3 } })) - plain).toBeCloseTo(3 * some, 4)
  })

  test('biases begin at the log odds of the means, unless the model has its own', async () => {
    const data = binarized(await someDigits(), { threshold: 0.6 })
    const model = rbm({ shape: [1, 8, 8], hidden: 2 })
    await fitAll(new Rbm(model), data, { steps: 0 })
    const bias = model.value('visible_bias').data.slice()
    for (const i of [0, 20, 36]) {
      const on = Array.from({ length: 100 }, (_, r) => data.features.data[64 * r + i] as number).reduce(
        (a, v) => a + v,
        0,
      )
      expect(bias[i]).toBeCloseTo(Math.log((on + 0.5) / (100 - on + 0.5)), 4)
    }
    model.value('visible_bias').data.fill(0.25)
    await fitAll(new Rbm(model), data, { steps: 0 })
    expect(model.value('visible_bias').data.every((v) => v === 0.25)).toBe(true)
    await fitAll(new Rbm(model, { visibleBias: 'data' }), data, { steps: 0 })
    expect(model.value('visible_bias').data[20]).toBeCloseTo(bias[20] as number, 6)
  })
})

describe('the exact log-likelihood rises', () => {
  const optimizer = { kind: 'sgd', learningRate: 0.1, momentum: 0.5 } as const

  test.each([
    ['PCD', { particles: 64, schedule: { kind: 'cosine' } }, 6000, 0.35],
    ['CD-10', { chains: 'data', steps: 10 }, 3000, 0.6],
    ['CD-1', { chains: 'data' }, 3000, 2],
  ] as const)('%s on bars and stripes', async (_, options, steps, gap) => {
    const data = bars()
    const model = rbm({ visible: 9, hidden: 10, seed: 1 })
    const before = await exactLogLikelihood(model, data.normalized())
    const { rows } = await fitAll(new Rbm(model, { batch: 16, optimizer, ...options }), data, {
      steps,
      reportEvery: steps / 2,
    })
    const after = await exactLogLikelihood(model, data.normalized())
    // -9 log 2 before; no model is better than -2.60.
    expect(before).toBeCloseTo(-9 * Math.LN2, 1)
    expect(after).toBeLessThan(BEST)
    expect(after).toBeGreaterThan(BEST - gap)
    // The pseudo-likelihood tells of it, unlike the loss.
    expect(rows[1]?.pseudoLogLikelihood).toBeGreaterThan(-4)
  })

  test('Gaussian units with learned variances find clusters that a single Gaussian does not', async () => {
    const random = new HostRandom(3)
    const centres = [
      [-2, -1],
      [2, -1],
      [0, 2],
    ]
    const numbers = Float32Array.from(
      { length: 1200 },
      (_, i) => (centres[Math.floor(i / 2) % 3]?.[i % 2] as number) + 0.4 * random.normal(),
    )
    const data = new Dataset({ name: 'clusters', features: hostTensor(numbers, [600, 2]), range: null })
    const model = rbm({ visible: 2, hidden: 6, visibleKind: 'gaussian', variance: 'learned', seed: 2 })
    const options: RbmOptions = {
      batch: 100,
      particles: 200,
      optimizer: { kind: 'adam', learningRate: 0.01 },
      steps: 5,
      schedule: { kind: 'cosine' },
    }
    const { rows } = await fitAll(new Rbm(model, options), data, { steps: 3000, reportEvery: 1000 })
    const x = data.normalized()
    // One Gaussian with the data's variances has -3.77, the true density -2.10.
    const reached = await exactLogLikelihood(model, x)
    expect(reached).toBeGreaterThan(-2.4)
    expect(reached).toBeLessThan(-2.05)
    expect(rows[0]).not.toHaveProperty('pseudoLogLikelihood')
    for (const v of model.value('log_variance').data) expect(Math.exp(v)).toBeLessThan(1)
  })
})

test('held-out digits: AIS gives the exact log-likelihood of a machine small enough to know it, above that of independent pixels', async () => {
  const { train, test: held } = (await digits()).split({ test: 360 })
  const [data, heldOut] = [binarized(train), binarized(held)]
  const model = rbm({ shape: [1, 8, 8], hidden: 12, seed: 1 })
  const x = data.normalized()
  const none = new Rbm(model)
  await fitAll(none, data, { steps: 0 })
  const independent = await exactLogLikelihood(model, heldOut.normalized())
  await fitAll(new Rbm(model, { particles: 100, schedule: { kind: 'cosine' } }), data, { steps: 2500 })
  const exact = await exactLogLikelihood(model, heldOut.normalized())
  const ais = await annealedImportanceSampling(model, { ...rbmAnnealing(model, { data: x }), chains: 100, steps: 500 })
  const estimate = await heldOutLogLikelihood(model, heldOut.normalized(), { logZ: ais.logZ })
  expect(ais.standardError).toBeLessThan(0.06)
  expect(Math.abs(estimate.mean - exact)).toBeLessThan(4 * ais.standardError)
  // Nats an image: about -24.1 and -19.5.
  expect(independent).toBeGreaterThan(-24.5)
  expect(independent).toBeLessThan(-23.5)
  expect(exact).toBeGreaterThan(-20.5)
})

describe('runs', () => {
  const digitsOptions: RbmOptions = {
    batch: 20,
    particles: 30,
    steps: 2,
    binarize: 'stochastic',
    ema: 0.9,
    weightDecay: 1e-3,
    sparsity: { target: 0.2, weight: 0.1 },
    seed: 3,
  }
  const machine = (seed = 1) => rbm({ shape: [1, 8, 8], hidden: 12, values: [-1, 1], seed })

  test.each([
    ['persistent', digitsOptions],
    ['from data', { ...digitsOptions, chains: 'data', ema: null }],
  ] as const)('%s: resumed bit for bit', async (_, options) => {
    const data = await someDigits()
    const [whole, parts] = [folder(), folder()]
    await fitAll(new Rbm(machine(), options), data, { steps: 30, out: whole, reportEvery: 5 })
    await fitAll(new Rbm(machine(), options), data, { steps: 15, out: parts, reportEvery: 5 })
    await fitAll(new Rbm(machine(8), options), data, { steps: 30, out: parts, reportEvery: 5, resume: true })
    const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
    expect(b.bits).toEqual(a.bits)
    expect(a.names.includes('chain/buffer')).toBe(!('chains' in options))
    const plain = (out: string) => metricsOf(out).rows.map(({ seconds: _s, stepsPerSecond: _p, ...row }) => row)
    expect(plain(parts)).toEqual(plain(whole))
  })

  test('samples of the trainer and of the opened run are the same, of the two values, from particles and anew', async () => {
    const out = folder()
    const trainer = new Rbm(machine(), digitsOptions)
    await fitAll(trainer, await someDigits(), { steps: 20, out })
    const run = await openRun(out)
    for (const options of [
      { count: 40, seed: 2 },
      { count: 10, from: 'start', steps: 5 },
    ] as const) {
      const drawn = await trainer.sample(options)
      expect(drawn.shape).toEqual([options.count, 1, 8, 8])
      expect([...new Set(drawn.data)].sort()).toEqual([-1, 1])
      expect(await run.sample(options)).toEqual(drawn)
    }
    expect(run.model.network).toBeInstanceOf(RbmNetwork)
    expect(run.description).toMatchObject({ method: 'rbm', network: { kind: 'rbm', hidden: 12 } })
    trainer.dispose()
  })

  test('a configuration', () => {
    const config = {
      method: 'rbm',
      data: { kind: 'digits', test: 360 },
      network: { kind: 'rbm', hidden: 16 },
      trainer: { steps: 1, particles: 100, binarize: 'threshold', weightDecay: 1e-4, chains: 'persistent' },
    }
    expect(parseConfig(config, 'c.json')).toEqual(config)
    const wrong = { ...config, trainer: { particels: 100, chains: 'persistant' } }
    expect(() => parseConfig(wrong, 'c.json')).toThrow(/particles/)
    expect(() => parseConfig(wrong, 'c.json')).toThrow(/persistent/)
  })
})

describe('refusals', () => {
  test('another network, other values, data that are not binary, options that do not fit', async () => {
    expect(() => new Rbm(mlp({ inputs: 3 }))).toThrow(/Rbm needs a restricted Boltzmann machine; got network 'mlp'/)
    const digits = await someDigits()
    const tried = (model: Model, options: object, data: Dataset) =>
      rejection(fitAll(new Rbm(model, options as RbmOptions), data, { steps: 1 }))
    expect((await tried(rbm({ shape: [1, 8, 8], hidden: 2 }), {}, digits)).message).toMatch(
      /Build it with values: \[-1, 1\]/,
    )
    const points = new Dataset({ name: 'points', features: blobs().features, range: null })
    expect(await tried(rbm({ visible: 2, hidden: 2 }), { batch: 8 }, points)).toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(/row 0 holds -0.\d+; expected between 0 and 1/),
    })
    const gaussian = rbm({ visible: 2, hidden: 2, visibleKind: 'gaussian' })
    expect((await tried(gaussian, { batch: 8, binarize: 'threshold' }, points)).message).toMatch(
      /belongs to Bernoulli units/,
    )
    expect(
      (await tried(rbm({ visible: 9, hidden: 2 }), { batch: 8, sparsity: { target: 1, weight: 1 } }, bars())).message,
    ).toMatch(/sparsity.target must be in \(0, 1\); got 1/)
    const misspelt = await tried(rbm({ visible: 9, hidden: 2 }), { batch: 8, chains: 'persistant' }, bars())
    expect(misspelt.message).toMatch(/chains 'persistant' is not known.*persistent/)
  })
})
