/** Maximum likelihood of flows and other normalised energies: the entropy is reached, draws are exact, others are refused. */
import { expect, test } from 'vitest'
import { customFlow, flowNetwork } from '../../lib/nn/flow.ts'
import { actNorm, luLinear } from '../../lib/nn/flow-bijectors.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { buildFlow, imageFlow } from '../../lib/nn/flows.ts'
import { Model } from '../../lib/nn/model.ts'
import { flowOfRun } from '../../lib/trainers/flow-module.ts'
import { MaximumLikelihood, type MaximumLikelihoodOptions } from '../../lib/trainers/maximum-likelihood.ts'
import { openRun } from '../../lib/trainers/run.ts'
import {
  fitRows,
  gaussianEnergy,
  gaussianEntropy,
  gaussianFactor,
  gaussianMean,
  gaussianRows,
  metric,
  tinyFlow,
} from './contrastive.ts'
import { blobs, checkpointOf, folder, plane, rejection, someDigits } from './tiny.ts'

const options: MaximumLikelihoodOptions = {
  batch: 500,
  optimizer: { kind: 'adam', learningRate: 0.03 },
  schedule: { kind: 'cosine' },
}

/** Mean and covariance of rows in the plane. */
function moments(x: ArrayLike<number>) {
  const n = x.length / 2
  const at = (i: number, j: number) => x[2 * i + j] as number
  const over = (f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i)).reduce((a, b) => a + b, 0) / n
  const mean = [over((i) => at(i, 0)), over((i) => at(i, 1))] as const
  const pairs = [[0, 0] as const, [0, 1] as const, [1, 1] as const]
  return { mean, covariance: pairs.map(([j, k]) => over((i) => (at(i, j) - mean[j]) * (at(i, k) - mean[k]))) }
}

test('an affine flow reaches the entropy of a Gaussian, and draws it', async () => {
  const model = new FlowModel(customFlow([2], [actNorm([2]), luLinear([2])]))
  const trainer = new MaximumLikelihood(model, { ...options, sampling: { chains: 5000 } })
  const data = gaussianRows(20_000)
  const rows = await fitRows(trainer, data, { steps: 400, reportEvery: 200 })
  expect(metric(rows.at(-1), 'logLikelihood')).toBeCloseTo(-(rows.at(-1)?.loss as number), 6)
  const energies = await model.energy(data.normalized())
  const mean = energies.reduce((sum, e) => sum + e, 0) / energies.length
  // The mean energy of 20 000 rows has a standard error of 1/√20000 nats.
  expect(Math.abs(mean - gaussianEntropy)).toBeLessThan(0.03)
  const drawn = moments((await trainer.sample({ count: 20_000, seed: 2 })).data)
  const [a, b, c] = gaussianFactor
  for (const i of [0, 1] as const) expect(Math.abs(drawn.mean[i] - gaussianMean[i])).toBeLessThan(0.05)
  for (const [i, v] of [a * a, a * b, b * b + c * c].entries())
    expect(Math.abs((drawn.covariance[i] as number) - v)).toBeLessThan(0.05)
  trainer.dispose()
})

test('a normalised energy of one own: refused, unless said to be one; samples by chains', async () => {
  const data = gaussianRows(20_000)
  const error = await rejection(fitRows(new MaximumLikelihood(gaussianEnergy(true), options), data, { steps: 1 }))
  expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(/normalized: true/) })
  const model = gaussianEnergy(true)
  const trainer = new MaximumLikelihood(model, { ...options, normalized: true, sampling: { steps: 3 } })
  await fitRows(trainer, data, { steps: 400 })
  const energies = await model.energy(data.normalized())
  expect(Math.abs(energies.reduce((sum, e) => sum + e, 0) / energies.length - gaussianEntropy)).toBeLessThan(0.03)
  expect((await trainer.sample({ count: 4 })).shape).toEqual([4, 2])
  expect(await rejection(trainer.sample({ from: 'model' }))).toMatchObject({ code: 'E_CONFIG' })
  trainer.dispose()
})

test('a network with an unknown log Z is refused with what to do instead', async () => {
  const error = await rejection(fitRows(new MaximumLikelihood(plane(0), { batch: 8 }), blobs(), { steps: 1 }))
  expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringMatching(/'mlp'.*FlowModel/) })
})

test('stopped and resumed: the same bits; the run folder draws as the trainer does', async () => {
  const [whole, parts] = [folder(), folder()]
  const make = (seed: number) =>
    new MaximumLikelihood(new FlowModel(buildFlow(tinyFlow), { seed }), { batch: 8, ema: 0.9, seed: 4 })
  const data = blobs(64, false)
  const trainer = make(1)
  await fitRows(trainer, data, { steps: 10, out: whole })
  await fitRows(make(1), data, { steps: 5, out: parts })
  await fitRows(make(2), data, { steps: 10, out: parts, resume: true })
  expect((await checkpointOf(parts)).bits).toEqual((await checkpointOf(whole)).bits)
  const opened = await openRun(whole)
  expect(opened.model).toBeInstanceOf(FlowModel)
  expect(await flowOfRun(opened)).toBe(opened.model)
  for (const draw of [{ count: 300 }, { count: 3, steps: 2 }]) {
    const x = await trainer.sample({ ...draw, seed: 3 })
    expect((await opened.sample({ ...draw, seed: 3 })).data).toEqual(x.data)
  }
  trainer.dispose()
})

test('a flow written in code draws exactly as a FlowModel, and says so as a plain Model', async () => {
  const make = () => customFlow([2], [actNorm([2]), luLinear([2])], 'mine')
  const out = folder()
  const trainer = new MaximumLikelihood(new FlowModel(make()), { batch: 8 })
  await fitRows(trainer, blobs(32, false), { steps: 2, out })
  const draw = { count: 4, seed: 1 }
  const opened = await openRun(out, { model: new FlowModel(make()) })
  expect((await opened.sample(draw)).data).toEqual((await trainer.sample(draw)).data)
  const plain = await openRun(out, { model: new Model(flowNetwork(make())) })
  expect(await rejection(plain.sample(draw))).toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining('mine'),
  })
  expect((await plain.sample({ ...draw, steps: 2 })).shape).toEqual([4, 2])
  trainer.dispose()
})

test('images', async () => {
  const flow = imageFlow({ shape: [1, 8, 8], levels: 1, checkerboards: 1, steps: 1, channels: 4 })
  const trainer = new MaximumLikelihood(new FlowModel(flow), { batch: 20, augmentation: { noise: 0.05 } })
  const rows = await fitRows(trainer, await someDigits(), { steps: 40, reportEvery: 20 })
  expect(rows[1]?.loss).toBeLessThan(rows[0]?.loss as number)
  expect((await trainer.sample({ count: 2 })).shape).toEqual([2, 1, 8, 8])
  trainer.dispose()
})
