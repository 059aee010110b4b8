/** A tiny run of every training method, for tests that hold for all of them. */
import type { Dataset } from '../../lib/data/dataset.ts'
import { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { methods } from '../../lib/trainers/methods.ts'
import { Trainer } from '../../lib/trainers/trainer.ts'
import { blobs, someDigits } from './tiny.ts'

export interface MethodCase {
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

export const plane = { kind: 'mlp', inputs: 2, hidden: [8] }
export const energy = () => blobs(64, false)
const convolutional = { kind: 'convEnergy', shape: [1, 8, 8], channels: [4] }
export const sgld = { kind: 'sgld', steps: 2, stepSize: 0.1, noise: 0.01 }
const mala = { kind: 'mala', steps: 2, stepSize: 0.01 }

export const cases: readonly MethodCase[] = [
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

export const common = { batch: 8, seed: 5, ema: 0.9 }

export function make(c: MethodCase, seed = 1): Trainer {
  const definition = methods.get(c.method)
  if (definition === undefined) throw new Error(`no method '${c.method}'`)
  return new Trainer(definition, new Model(buildNetwork(c.network), { seed }), { ...common, ...c.options })
}
