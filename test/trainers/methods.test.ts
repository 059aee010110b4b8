/**
 * What every training method must do, one case a method: train with finite numbers, resume bit for bit, sample after training and from its run
 * folder alike, refuse a misspelled option. Whether a method learns what it should is tested beside it.
 */
import { describe, expect, test } from 'vitest'
import type { Dataset } from '../../lib/data/dataset.ts'
import { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { methods } from '../../lib/trainers/methods.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { Trainer } from '../../lib/trainers/trainer.ts'
import { blobs, checkpointOf, fitAll, folder, metricsOf, rejection, someDigits } from './tiny.ts'

interface MethodCase {
  readonly title: string
  readonly method: string
  readonly options: Readonly<Record<string, unknown>>
  readonly network: { readonly kind: string } & Readonly<Record<string, unknown>>
  readonly data: () => Dataset | Promise<Dataset>
  /** State tensors that must be in the checkpoint. */
  readonly keeps?: readonly string[]
  /** Metrics that must be in each row. */
  readonly reports?: readonly string[]
  /** Sampling options of the comparison; default 3 samples with few steps. */
  readonly sample?: Readonly<Record<string, unknown>>
}

const plane = { kind: 'mlp', inputs: 2, hidden: [8] }
const energy = () => blobs(64, false)
const convolutional = { kind: 'convEnergy', shape: [1, 8, 8], channels: [4] }
const sgld = { kind: 'sgld', steps: 2, stepSize: 0.1, noise: 0.01 }
const mala = { kind: 'mala', steps: 2, stepSize: 0.01 }

const cases: readonly MethodCase[] = [
  ...[
    { kind: 'exact' },
    { kind: 'sliced', projections: 2, distribution: 'gaussian' },
    { kind: 'finiteDifference', distribution: 'sphere' },
    { kind: 'denoising', sigma: 0.2 },
  ].map((estimator) => ({
    title: `score matching, ${estimator.kind}`,
    method: 'scoreMatching',
    options: { estimator },
    network: plane,
    data: energy,
    reports: ['scoreNorm', 'energyData'],
  })),
  {
    title: 'score matching, multiscale',
    method: 'scoreMatching',
    options: { estimator: { kind: 'multiscale', sigmas: { largest: 1, smallest: 0.1, levels: 3 } } },
    network: { ...plane, sigma: { smallest: 0.1 } },
    data: energy,
  },
  {
    title: 'score matching of images, denoising',
    method: 'scoreMatching',
    options: { estimator: { kind: 'denoising', sigma: 0.3 }, augmentation: { noise: 0.1 } },
    network: convolutional,
    data: () => someDigits(40),
  },
  ...(['data', 'persistent', 'noise'] as const).map((chains) => ({
    title: `contrastive divergence, chains from ${chains}`,
    method: 'contrastiveDivergence',
    options: { chains, sampler: sgld, energyPenalty: 0.1, ...(chains === 'persistent' && { buffer: { size: 40 } }) },
    network: plane,
    data: energy,
    keeps: chains === 'persistent' ? ['chain/buffer'] : [],
    reports: ['energyGap', 'chainDrift'],
  })),
  {
    title: 'contrastive divergence by MALA, more chains than data',
    method: 'contrastiveDivergence',
    options: { sampler: mala, negatives: 12, buffer: { size: 40 } },
    network: plane,
    data: energy,
    reports: ['acceptance'],
  },
  {
    title: 'improved contrastive divergence',
    method: 'contrastiveDivergence',
    options: { sampler: sgld, buffer: { size: 40 }, klTerm: { steps: 1, references: 10 } },
    network: { ...convolutional, spectralNorm: true },
    data: () => someDigits(40),
    keeps: ['chain/buffer'],
    reports: ['klEnergy', 'logDistance'],
  },
  ...(
    [
      [{ kind: 'normal' }, []],
      [{ kind: 'gaussian' }, ['noise/mean']],
      [{ kind: 'mixture', components: 2 }, ['noise/means']],
      [{ kind: 'uniform' }, ['noise/low']],
      [{ kind: 'flow', flow: { kind: 'spline', layers: 2, hidden: [4] }, steps: 4 }, []],
    ] as const
  ).map(([noise, keeps]) => ({
    title: `noise-contrastive estimation, noise ${noise.kind}`,
    method: 'noiseContrastive',
    options: { noise, ratio: 2 },
    network: plane,
    data: energy,
    keeps: ['noise/log_z', ...keeps],
    // Steps that fit the flow report a likelihood instead.
    reports: noise.kind === 'flow' ? [] : ['accuracy', 'logZ'],
  })),
  {
    title: 'flow-contrastive estimation',
    method: 'flowContrastive',
    options: { flow: { kind: 'affineCoupling', layers: 2, hidden: [4] }, likelihoodSteps: 4, threshold: 0.3 },
    network: plane,
    data: energy,
    keeps: ['noise/log_z'],
    sample: { from: 'model', steps: undefined },
  },
  {
    title: 'maximum likelihood of a flow',
    method: 'maximumLikelihood',
    options: {},
    network: { kind: 'flow', flow: { kind: 'spline', inputs: 2, layers: 2, hidden: [4] } },
    data: energy,
    sample: { steps: undefined },
  },
  {
    title: 'adversarial training against a flow',
    method: 'adversarial',
    options: { q: { kind: 'flow', flow: { kind: 'affineCoupling', inputs: 2, layers: 2, hidden: [4] } }, qSteps: 2 },
    network: plane,
    data: energy,
    reports: ['entropy', 'bound', 'energyGap'],
    sample: { from: 'model', steps: undefined },
  },
  {
    title: "adversarial training of a classifier against VERA's generator",
    method: 'adversarial',
    options: { q: { kind: 'generator', latent: 3, samples: 4, network: 'conv', channels: [4] } },
    network: { ...convolutional, classes: 10 },
    data: () => someDigits(40),
    reports: ['entropy', 'energyGap', 'crossEntropy'],
  },
  {
    title: 'SADA-JEM',
    method: 'sadaJem',
    options: { buffer: { size: 40 }, sampler: { kind: 'pyld', outer: 2, inner: 1, stepSize: 0.5 } },
    network: { ...convolutional, classes: 10 },
    data: () => someDigits(40),
    keeps: ['chain/buffer'],
    reports: ['crossEntropy', 'energyGap'],
  },
  {
    title: 'dual adversarial training, over its change of stage',
    method: 'dualAdversarial',
    options: { adversarialEpochs: 0.8, attack: { steps: 2 } },
    network: { ...convolutional, classes: 10 },
    data: () => someDigits(40),
    reports: ['crossEntropy', 'robustAccuracy'],
  },
  {
    title: 'restricted Boltzmann machine',
    method: 'rbm',
    options: { steps: 2 },
    network: { kind: 'rbm', shape: [1, 8, 8], hidden: 6, values: [-1, 1] },
    data: () => someDigits(40),
    keeps: ['chain/buffer'],
  },
  ...['pseudoLikelihood', 'ratioMatching'].map((method) => ({
    title: `${method} of binarised digits`,
    method,
    options: { sites: 3 },
    network: { kind: 'rbm', shape: [1, 8, 8], hidden: 6, values: [-1, 1] },
    data: () => someDigits(40),
  })),
]

const common = { batch: 8, seed: 5, ema: 0.9 }

function make(c: MethodCase, seed = 1): Trainer {
  const definition = methods.get(c.method)
  if (definition === undefined) throw new Error(`no method '${c.method}'`)
  return new Trainer(definition, new Model(buildNetwork(c.network), { seed }), { ...common, ...c.options })
}

const numbers = (rows: readonly Readonly<Record<string, unknown>>[]) =>
  rows.map(({ seconds: _, stepsPerSecond: __, ...row }) => row)

describe.each(cases)('$title', (c) => {
  test('stopped and resumed it ends with the same bits, and samples alike from trainer and folder', async () => {
    const data = await c.data()
    const [whole, parts] = [folder(), folder()]
    const trainer = make(c)
    const { rows } = await fitAll(trainer, data, { steps: 8, out: whole, reportEvery: 2 })
    await fitAll(make(c), data, { steps: 4, out: parts, reportEvery: 2 })
    await fitAll(make(c, 77), data, { steps: 8, out: parts, reportEvery: 2, resume: true })
    const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
    expect(b.bits).toEqual(a.bits)
    expect(a.names).toEqual(expect.arrayContaining([...(c.keeps ?? [])]))
    expect(numbers(metricsOf(parts).rows)).toEqual(numbers(metricsOf(whole).rows))
    expect(rows).toHaveLength(4)
    for (const row of rows) {
      for (const [name, value] of Object.entries(row)) expect(Number.isFinite(value), name).toBe(true)
      expect(Object.keys(row)).toEqual(expect.arrayContaining([...(c.reports ?? [])]))
    }
    const options = { count: 3, steps: 2, seed: 4, ...c.sample }
    const drawn = await trainer.sample(options)
    expect(drawn.shape).toEqual([3, ...data.shape])
    expect(drawn.data.every(Number.isFinite)).toBe(true)
    const opened = await openRun(whole)
    expect((await opened.sample(options)).data).toEqual(drawn.data)
    expect((await opened.sample({ ...options, seed: 5 })).data).not.toEqual(drawn.data)
    trainer.dispose()
  })

  test('a misspelled option names the right one', () => {
    const definition = methods.get(c.method)
    expect(() => make({ ...c, options: { optimiser: { kind: 'sgd' } } })).toThrow(
      /'optimiser'\. Did you mean 'optimizer'/,
    )
    expect(definition?.schema.safeParse({ ...common, ...c.options }).success).toBe(true)
  })
})

test('NUTS, whose steps are not transitions, is refused where steps are counted', async () => {
  const c = cases.find((k) => k.title === 'contrastive divergence, chains from persistent') as MethodCase
  const nuts = make({ ...c, options: { sampler: { kind: 'nuts' }, buffer: { size: 8 } } })
  const error = await rejection(fitAll(nuts, energy(), { steps: 1 }))
  expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(/'nuts'.*Use 'hmc' or 'mala'/) })
})

test('more samples than the buffer has rows go on from the first ones instead of repeating them', async () => {
  const c = cases.find((k) => k.title === 'contrastive divergence, chains from persistent') as MethodCase
  const still = { ...sgld, noise: 0, stepSize: 0.05 }
  const trainer = make({ ...c, options: { ...c.options, sampler: still, buffer: { size: 8, reinit: 0 } } })
  await fitAll(trainer, energy(), { steps: 2 })
  const { data } = await trainer.sample({ count: 16, steps: 1 })
  const rows = new Set(Array.from({ length: 16 }, (_, i) => (data as Float32Array).slice(2 * i, 2 * i + 2).join()))
  expect(rows.size).toBe(16)
  trainer.dispose()
})

test('an option given as undefined is the default', () => {
  const definition = methods.get('scoreMatching')
  const model = new Model(buildNetwork(plane))
  expect(definition && new Trainer(definition, model, { optimizer: undefined } as object).options.optimizer).toEqual({
    kind: 'adam',
    learningRate: 1e-3,
  })
})

test('every method has a case', () => {
  const tested = new Set(cases.map((c) => c.method))
  expect([...methods.keys()].filter((m) => !tested.has(m) && !m.startsWith('jem'))).toEqual([])
})

test('a wrong estimator or start of chains names the nearest', async () => {
  const [sm, , , , , , cd] = cases as [MethodCase, ...MethodCase[]]
  const run = (c: MethodCase, options: object) =>
    fitAll(make({ ...c, options: { ...options } }), energy(), { steps: 1 })
  expect((await rejection(run(sm, { estimator: { kind: 'slices' } }))).message).toMatch(/Did you mean 'sliced'/)
  expect((await rejection(run(cd as MethodCase, { chains: 'noisy' }))).message).toMatch(/Did you mean 'noise'/)
  expect((await rejection(run(sm, { estimator: { kind: 'multiscale', sigmas: [1] } }))).message).toMatch(/sigma/)
})
