/** Flow-contrastive estimation: the two segments, the switching rule, what the value means, exact draws, resume, a Gaussian recovered. */
import { describe, expect, test } from 'vitest'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { buildFlow } from '../../lib/nn/flows.ts'
import { FlowContrastive, type FlowContrastiveOptions } from '../../lib/trainers/flow-contrastive.ts'
import { flowOfRun } from '../../lib/trainers/flow-module.ts'
import { openRun } from '../../lib/trainers/run.ts'
import {
  fitRows,
  gaussianEnergy,
  gaussianEntropy,
  gaussianLogZ,
  gaussianRows,
  metric,
  tinyFlow,
} from './contrastive.ts'
import { blobs, checkpointOf, convNet, folder, plane, rejection, someDigits } from './tiny.ts'

const quick: FlowContrastiveOptions = {
  batch: 8,
  flow: tinyFlow,
  likelihoodSteps: 3,
  seed: 2,
  sampling: { steps: 3, chains: 8 },
}

const weights = (f: FlowModel) => [...f.stateDict().values()].flatMap((t) => [...t.data])

test('a Gaussian: the flow gains likelihood in the first segment, then the energy finds the density and log Z', async () => {
  const model = gaussianEnergy()
  const data = gaussianRows(20_000)
  const trainer = new FlowContrastive(model, {
    batch: 400,
    flow: tinyFlow,
    likelihoodSteps: 150,
    optimizer: { kind: 'adam', learningRate: 0.03 },
    flowOptimizer: { kind: 'adam', learningRate: 0.01 },
    schedule: { kind: 'cosine' },
    ema: 0.98,
  })
  const rows = await fitRows(trainer, data, { steps: 600, reportEvery: 50 })
  const start = rows.filter((r) => r.step <= 150)
  expect(start).toHaveLength(3)
  expect(metric(start[2], 'flowLogLikelihood')).toBeGreaterThan(metric(start[0], 'flowLogLikelihood') + 0.1)
  expect(start[2]).not.toHaveProperty('accuracy')
  const logZ = await trainer.logZ()
  expect(Math.abs(logZ - gaussianLogZ(model))).toBeLessThan(0.08)
  const energies = await model.energy(data.take(2000).normalized())
  expect(Math.abs(energies.reduce((s, e) => s + e, 0) / 2000 + logZ - gaussianEntropy)).toBeLessThan(0.1)
  const flow = await trainer.flow()
  const density = await flow.logDensity(data.take(2000).normalized())
  expect(Math.abs(density.reduce((s, v) => s + v, 0) / 2000 + gaussianEntropy)).toBeLessThan(0.12)
  // Both sides are near the data: V is near -log 4, its divergence near 0, and no one tells them apart.
  const last = rows.at(-1)
  expect(metric(last, 'jensenShannon')).toBeLessThan(0.02)
  expect(Math.abs(metric(last, 'accuracy') - 0.5)).toBeLessThan(0.05)
  trainer.dispose()
})

test('the loss is the logistic loss: V = -loss, 2·JSD = V + log 4, and accuracy is that of both halves', async () => {
  const trainer = new FlowContrastive(plane(0), quick)
  const rows = await fitRows(trainer, blobs(64, false), { steps: 9, reportEvery: 3 })
  for (const row of rows.slice(1)) {
    expect(metric(row, 'value')).toBeCloseTo(-row.loss, 5)
    expect(metric(row, 'jensenShannon')).toBeCloseTo((Math.log(4) - row.loss) / 2, 5)
    expect(metric(row, 'accuracy')).toBeCloseTo((metric(row, 'accuracyData') + metric(row, 'accuracyNoise')) / 2, 5)
  }
  trainer.dispose()
})

describe('the switching rule', () => {
  /** Rows of the contrastive steps and the flow's weights after a run with this threshold. */
  const play = async (threshold: number, steps: number) => {
    const optimizer = { kind: 'adam', learningRate: 0.03 } as const
    const trainer = new FlowContrastive(plane(0), { ...quick, optimizer, threshold })
    const rows = await fitRows(trainer, blobs(64, false), { steps, reportEvery: 1 })
    const flow = await trainer.flow()
    trainer.dispose()
    return { rows: rows.filter((r) => 'flowUpdates' in r), flow: weights(flow) }
  }

  test('above every accuracy the flow stays as maximum likelihood left it, while the energy moves on', async () => {
    const [start, later] = [await play(1, 3), await play(1, 12)]
    expect(later.flow).toEqual(start.flow)
    expect(later.rows).toHaveLength(9)
    for (const row of later.rows) expect(metric(row, 'flowUpdates')).toBe(0)
    expect(metric(later.rows[8], 'energyData')).not.toBe(metric(later.rows[0], 'energyData'))
  })

  test('a step updates the flow exactly when its accuracy is above the threshold', async () => {
    const { rows, flow } = await play(0.6, 40)
    for (const row of rows) expect(metric(row, 'flowUpdates')).toBe(metric(row, 'accuracy') > 0.6 ? 1 : 0)
    expect(new Set(rows.map((r) => metric(r, 'flowUpdates')))).toEqual(new Set([0, 1]))
    const held = await play(1, 40)
    expect(flow).not.toEqual(held.flow)
  })
})

test.each([
  { segment: 'likelihood', at: 2 },
  { segment: 'contrast', at: 6 },
])('stopped in the $segment segment and resumed: the same bits, draws and flow', async ({ at }) => {
  const [whole, parts] = [folder(), folder()]
  const options: FlowContrastiveOptions = { ...quick, ema: 0.9, flowOptimizer: { kind: 'adamw', learningRate: 1e-3 } }
  const data = blobs(64, false)
  const trainer = new FlowContrastive(plane(0), options)
  await fitRows(trainer, data, { steps: 10, out: whole })
  await fitRows(new FlowContrastive(plane(0), options), data, { steps: at, out: parts })
  await fitRows(new FlowContrastive(plane(0), options), data, { steps: 10, out: parts, resume: true })
  const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
  expect(b.bits).toEqual(a.bits)
  expect(a.names).toEqual(expect.arrayContaining(['noise/log_z', 'rng/flow', 'optimizer/updates/flow']))
  const opened = await openRun(whole)
  for (const draw of [{ count: 12 }, { count: 12, from: 'start' }, { count: 5, steps: 2 }] as const) {
    const x = await trainer.sample({ ...draw, seed: 6 })
    expect(x.shape).toEqual([draw.count, 2])
    expect((await opened.sample({ ...draw, seed: 6 })).data).toEqual(x.data)
  }
  expect(weights(await flowOfRun(opened))).toEqual(weights(await trainer.flow()))
  trainer.dispose()
})

test('sample gives the exact draws of the trained flow', async () => {
  const trainer = new FlowContrastive(plane(0), { ...quick, sampling: { chains: 2000 } })
  await fitRows(trainer, gaussianRows(2000), { steps: 20 })
  const [drawn, own] = [
    (await trainer.sample({ count: 2000 })).data,
    (await (await trainer.flow()).sample({ count: 2000, seed: 1 })).x.data,
  ]
  const mean = (x: ArrayLike<number>, column: number) => {
    let sum = 0
    for (let i = column; i < x.length; i += 2) sum += x[i] as number
    return sum / (x.length / 2)
  }
  for (const column of [0, 1]) expect(Math.abs(mean(drawn, column) - mean(own, column))).toBeLessThan(0.1)
  trainer.dispose()
})

test('a FlowModel with weights: no segment of likelihood, and its weights to begin with', async () => {
  const given = new FlowModel(buildFlow(tinyFlow), { seed: 8 })
  const trainer = new FlowContrastive(plane(0), { ...quick, flow: given, likelihoodSteps: 0, threshold: 1 })
  const [row] = await fitRows(trainer, blobs(64, false), { steps: 2, reportEvery: 2 })
  expect(metric(row, 'flowUpdates')).toBe(0)
  expect(weights(await trainer.flow())).toEqual(weights(given))
  trainer.dispose()
})

test('images: the default flow, a convolutional classifier, samples of a class by chains', async () => {
  const flow = { kind: 'image', levels: 1, checkerboards: 1, steps: 1, channels: 4 }
  const trainer = new FlowContrastive(convNet(), { ...quick, flow, batch: 10, augmentation: { noise: 0.05 } })
  const rows = await fitRows(trainer, await someDigits(40), { steps: 6, reportEvery: 1 })
  for (const row of rows) for (const v of Object.values(row)) expect(Number.isFinite(v)).toBe(true)
  expect((await trainer.sample({ count: 3 })).shape).toEqual([3, 1, 8, 8])
  expect((await trainer.sample({ count: 3, class: 1 })).shape).toEqual([3, 1, 8, 8])
  expect(await rejection(trainer.sample({ count: 3, class: 1, from: 'model' }))).toMatchObject({ code: 'E_CONFIG' })
  trainer.dispose()
})

describe('errors', () => {
  const run = (options: FlowContrastiveOptions) =>
    rejection(fitRows(new FlowContrastive(plane(0), { ...quick, ...options }), blobs(32, false), { steps: 1 }))

  test('options out of range, unknown and unfitting flows', async () => {
    expect(await run({ threshold: 1.5 })).toBeInstanceOf(RangeError)
    expect(await run({ likelihoodSteps: -1 })).toBeInstanceOf(RangeError)
    expect(await run({ flow: { kind: 'splines' } })).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining("Did you mean 'spline'"),
    })
    expect(await run({ flow: { kind: 'spline', inputs: 5 } })).toMatchObject({ code: 'E_CONFIG' })
    expect(() => new FlowContrastive(plane(0), { tresholds: 1 } as FlowContrastiveOptions)).toThrow(/'threshold'/)
    expect(() => new FlowContrastive(plane(0), { flow: { kind: 'spline', layer: 1 } })).toThrow(/'layers'/)
  })

  test('the flow before training', async () => {
    expect(await rejection(new FlowContrastive(plane(0)).flow())).toMatchObject({ code: 'E_CONFIG' })
  })
})
