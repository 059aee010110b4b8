/** Contrastive divergence beyond what every method must do: the noise of unrolled steps, and where chains begin in training and after it. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import { rbm } from '../../lib/nn/rbm.ts'
import { ContrastiveDivergence, type ContrastiveDivergenceOptions } from '../../lib/trainers/contrastive-divergence.ts'
import { PseudoLikelihood } from '../../lib/trainers/discrete.ts'
import { DualAdversarial } from '../../lib/trainers/dual-adversarial.ts'
import { Rbm } from '../../lib/trainers/rbm.ts'
import { ScoreMatching } from '../../lib/trainers/score-matching.ts'
import type { Trainer } from '../../lib/trainers/trainer.ts'
import { blobs, fitAll, plane } from './tiny.ts'

/** E(x) = w·Σx with w = 1 that does not learn, so that the energy of the chains is the sum of their noise. */
const sums = () =>
  defineEnergy({ shape: [2] }, (x, scope) => x.sum(1).mul(scope.parameter('w', [], { kind: 'constant', value: 1 })))

const unrolled: ContrastiveDivergenceOptions = {
  batch: 8,
  chains: 'noise',
  start: { kind: 'normal', std: 1e-6 },
  optimizer: { kind: 'sgd', learningRate: 0 },
  sampler: { kind: 'sgld', steps: 2, stepSize: 0, noise: 1 },
  klTerm: { steps: 2, entropyWeight: 0 },
}

describe('unrolled steps', () => {
  const run = async (options: ContrastiveDivergenceOptions) => {
    const { rows } = await fitAll(new ContrastiveDivergence(sums(), options), blobs(), { steps: 200, reportEvery: 1 })
    return rows.map((r) => r.energyNegatives as number)
  }

  test('draw new noise in every step of training, and in each of their own', async () => {
    const energies = await run(unrolled)
    expect(new Set(energies).size).toBe(energies.length)
    // The mean over 8 chains of the sum of 2 numbers, each the sum of two independent normals: variance 2·2/8. (Equal ones: twice that.)
    const variance = energies.reduce((s, e) => s + e * e, 0) / energies.length
    expect(variance).toBeGreaterThan(0.36)
    expect(variance).toBeLessThan(0.66)
  })

  test('go with sharpness-aware minimisation', async () => {
    const energies = await run({ ...unrolled, sam: { rho: 0.05 } })
    expect(energies.every(Number.isFinite)).toBe(true)
  })
})

describe('sampling.start', () => {
  const far = { start: { kind: 'normal', mean: 50, std: 0.1 } } as const
  const begun = async (trainer: Trainer, data = blobs()) => {
    await fitAll(trainer, data, { steps: 2, reportEvery: 1 })
    const { data: x } = await trainer.sample({ count: 20, from: 'start', steps: 0 })
    trainer.dispose()
    return Array.from(x)
  }
  const bits = new Dataset({ name: 'bits', features: hostTensor(new Uint8Array(64).fill(1), [16, 4]), range: null })

  test.each<[string, (sampling: object) => Trainer, Dataset?]>([
    ['persistent', (sampling) => new ContrastiveDivergence(plane(0), { batch: 8, sampling }) as unknown as Trainer],
    [
      'class Gaussians in training',
      (sampling) => {
        const start = { kind: 'classGaussians' } as const
        return new ContrastiveDivergence(plane(0), { batch: 8, chains: 'noise', start, sampling }) as unknown as Trainer
      },
    ],
    ['rbm', (sampling) => new Rbm(rbm({ visible: 4, hidden: 3 }), { batch: 8, sampling }) as unknown as Trainer, bits],
    [
      'dual adversarial',
      (sampling) =>
        new DualAdversarial(plane(2), {
          batch: 8,
          adversarialEpochs: 0,
          attack: { steps: 1 },
          ascent: { first: 1 },
          sampling,
        }) as unknown as Trainer,
    ],
  ])('says where samples begin, and leaves training as it is: %s', async (_, make, data = blobs()) => {
    const losses = async (sampling: object) => {
      const trainer = make(sampling)
      const { rows } = await fitAll(trainer, data, { steps: 3, reportEvery: 1 })
      trainer.dispose()
      return rows.map((r) => r.loss)
    }
    expect(await losses(far)).toEqual(await losses({}))
    // Attacks and ascents keep to the box of the data.
    const least = Math.min(...(await begun(make(far), data)))
    expect(least).toBeGreaterThan(49)
  })

  test('comes before the sampler’s own', async () => {
    const model = mlp({ inputs: 2, hidden: [8], sigma: { smallest: 0.1 } })
    const sampler = { kind: 'predictorCorrector', sigmas: { largest: 1, smallest: 0.1, levels: 3 } } as const
    const own = new ScoreMatching(model, { batch: 8, sampling: { ...far, sampler } }) as unknown as Trainer
    expect(Math.min(...(await begun(own)))).toBeGreaterThan(49)
    const usual = new ScoreMatching(model, { batch: 8, sampling: { sampler } }) as unknown as Trainer
    expect(Math.max(...(await begun(usual)))).toBeLessThan(10)
  })
})

test('samples of a class by a discrete method are of that class', async () => {
  const labels = Int32Array.from({ length: 32 }, (_, i) => i % 2)
  const numbers = Uint8Array.from({ length: 4 * 32 }, (_, i) => Math.floor(i / 4) % 2)
  const data = new Dataset({ name: 'bits', features: hostTensor(numbers, [32, 4]), labels, range: null })
  const model = mlp({ inputs: 4, hidden: [8], classes: 2 })
  // The same seed: without a class of its own each would give the same draws.
  const trainer = new PseudoLikelihood(model, { batch: 16, optimizer: { kind: 'sgd', learningRate: 0 } })
  await fitAll(trainer, data, { steps: 1 })
  const [zero, one] = [await trainer.sample({ count: 64, class: 0 }), await trainer.sample({ count: 64, class: 1 })]
  expect(zero.data).not.toEqual(one.data)
  trainer.dispose()
})
