/** Evaluations of models of discrete x: test data at their states, log Z by the sum and by annealing, samplers that would leave the states. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { atStates } from '../../lib/data/discrete.ts'
import { digits } from '../../lib/data/standard.ts'
import { enumerateStates } from '../../lib/evaluation/enumerate.ts'
import { rbmLogZ } from '../../lib/evaluation/rbm.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { ising, potts } from '../../lib/nn/discrete.ts'
import { mlp } from '../../lib/nn/models.ts'
import { rbm } from '../../lib/nn/rbm.ts'
import { sample } from '../../lib/samplers/sample.ts'
import { ContrastiveDivergence } from '../../lib/trainers/contrastive-divergence.ts'
import { evaluate } from '../../lib/trainers/run-folder.ts'

const mean = (v: ArrayLike<number>) => Array.from(v).reduce((a, b) => a + b, 0) / v.length
const machine = () => rbm({ shape: [1, 8, 8], hidden: 6, values: [-1, 1], seed: 3 })
const none = async () => hostTensor(new Float32Array(0), [0])

describe('grey digits and a machine of binary units', () => {
  test('energies and likelihood are of the thresholded digits, log Z the exact sum', async () => {
    const test = (await digits()).take(40)
    const model = machine()
    const e = await evaluate({ model, sample: none }, test, { samples: 0, ood: ['uniform', 'inverted'] })
    const x = test.normalized()
    const black = hostTensor(
      x.data.map((v) => (v > 0 ? 1 : -1)),
      x.shape,
    )
    const energies = await model.energy(black)
    expect(mean(energies)).not.toBeCloseTo(mean(await model.energy(x)), 2)
    expect(e.energies.test?.mean).toBeCloseTo(mean(energies), 4)
    expect(e.likelihood).toMatchObject({ method: 'exact', logZStandardError: 0, count: 40 })
    expect(e.likelihood?.mean).toBeCloseTo(-mean(energies) - (await rbmLogZ(model)), 4)
    // A probability has no units to change.
    expect(e.likelihood).not.toHaveProperty('original')
  })

  test('AIS by Gibbs sweeps finds the exact log Z; a transition of real numbers is refused', async () => {
    const test = (await digits()).take(40)
    const model = machine()
    const run = (likelihood: object) =>
      evaluate({ model, sample: none }, test, { samples: 0, ood: [], likelihood: likelihood as { logZ: 'ais' } })
    const { likelihood } = await run({ logZ: 'ais', chains: 100, steps: 200 })
    expect(Math.abs((likelihood?.logZ ?? 0) - (await rbmLogZ(model)))).toBeLessThan(
      4 * (likelihood?.logZStandardError ?? 0) + 0.02,
    )
    await expect(run({ logZ: 'ais', transition: { kind: 'mala' } })).rejects.toThrow(/Gibbs sweeps; leave 'transition'/)
  })
})

test('a small Ising model is summed over without being asked; AIS names the sum', async () => {
  const model = ising({ shape: [3, 3], field: 'site', seed: 2 })
  const data = new Dataset({
    name: 'spins',
    features: hostTensor(
      Float32Array.from({ length: 90 }, (_, i) => i % 2),
      [10, 3, 3],
    ),
    range: null,
  })
  const e = await evaluate({ model, sample: none }, data, { samples: 0, ood: [] })
  expect(e.likelihood?.method).toBe('exact')
  expect(e.likelihood?.logZ).toBeCloseTo((await enumerateStates(model)).logZ, 8)
  const ais = evaluate({ model, sample: none }, data, { samples: 0, ood: [], likelihood: { logZ: 'ais' } })
  await expect(ais).rejects.toThrow(/'ising' is over discrete ones; use 'exact'/)
  const real = evaluate({ model: mlp({ inputs: 9, hidden: [4] }), sample: none }, flat(data), {
    ...{ samples: 0, ood: [] },
    likelihood: { logZ: 'exact' },
  })
  await expect(real).rejects.toThrow(/'mlp' is an energy of real numbers. Use 'quadrature' or 'ais'/)
})

const flat = (d: Dataset) =>
  new Dataset({ name: d.name, features: hostTensor(d.features.data, [d.count, 9]), range: null })

describe('samplers', () => {
  const draw = (model: Parameters<typeof sample>[0], sampler: object) =>
    sample(model, { sampler: sampler as { kind: 'nuts' }, chains: 4, draws: 1, warmup: 2 })

  test('of real numbers are refused for binary and one-hot energies, in chains and in training', async () => {
    await expect(draw(machine(), { kind: 'nuts' })).rejects.toThrow(
      /sampler nuts: network 'rbm' is an energy of binary x, -1 or 1, .*Use 'blockGibbs'/,
    )
    const spins = potts({ shape: [3], states: 3 })
    await expect(draw(spins, { kind: 'ula' })).rejects.toThrow(/'potts' is an energy of one-hot x/)
    const data = (await digits()).take(64)
    const training = new ContrastiveDivergence(machine(), { batch: 32 }).fit(data, { steps: 1 })
    await expect(training.next()).rejects.toThrow(/sampler sgld: network 'rbm'/)
  })

  test('of the other form or of other values are refused with what fits', async () => {
    await expect(draw(potts({ shape: [3], states: 3 }), { kind: 'gibbsWithGradients' })).rejects.toThrow(
      /set form: 'oneHot'/,
    )
    await expect(draw(machine(), { kind: 'gibbsWithGradients' })).rejects.toThrow(/takes 0 and 1. Use 'blockGibbs'/)
    const { draws } = await draw(machine(), { kind: 'blockGibbs' })
    expect(new Set(draws.data)).toEqual(new Set([-1, 1]))
    const gaussian = rbm({ visible: 3, hidden: 2, visibleKind: 'gaussian' })
    expect((await draw(gaussian, { kind: 'nuts' })).draws.data.every(Number.isFinite)).toBe(true)
  })
})

test('atStates: the nearer value, or by chance in proportion; one-hot by the greatest', () => {
  const x = hostTensor(Float32Array.of(-1, -0.5, 0.5, 1), [1, 4])
  expect([...atStates(x, [-1, 1]).data]).toEqual([-1, -1, 1, 1])
  const grey = hostTensor(new Float32Array(4000).fill(0.5), [1000, 4])
  // p = 0.75, standard deviation of the mean 0.0068
  const share = mean(atStates(grey, [-1, 1], { how: 'stochastic', seed: 1 }).data.map((v) => Number(v > 0)))
  expect(Math.abs(share - 0.75)).toBeLessThan(0.03)
  const soft = hostTensor(Float32Array.of(0.2, 0.7, 0.1, 0.5, 0.1, 0.4), [1, 2, 3])
  expect([...atStates(soft, 'oneHot').data]).toEqual([0, 1, 0, 1, 0, 0])
})
