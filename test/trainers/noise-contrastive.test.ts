/** Noise-contrastive estimation: recovers log Z and density of a Gaussian, for every kind of noise; flows as noise; typed errors. */
import { describe, expect, test } from 'vitest'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { customFlow } from '../../lib/nn/flow.ts'
import { actNorm, luLinear } from '../../lib/nn/flow-bijectors.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { buildFlow } from '../../lib/nn/flows.ts'
import { mlp } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { customDistribution } from '../../lib/samplers/distributions.ts'
import { flowOfRun } from '../../lib/trainers/flow-module.ts'
import { NoiseContrastive, type NoiseContrastiveOptions } from '../../lib/trainers/noise-contrastive.ts'
import type { NoiseOptions } from '../../lib/trainers/noise-distribution.ts'
import { openRun } from '../../lib/trainers/run.ts'
import {
  fitRows,
  gaussianEnergy,
  gaussianEntropy,
  gaussianFactor,
  gaussianLogZ,
  gaussianMean,
  gaussianRows,
  metric,
  tinyFlow,
} from './contrastive.ts'
import { blobs, checkpointOf, convNet, folder, plane, rejection, someDigits } from './tiny.ts'

/** The logistic distribution in each dimension: a custom noise with a parameter of its own. */
const logistic = (width = 0.8) =>
  customDistribution({
    shape: [2],
    parameters: new Map([['width', hostTensor(Float32Array.of(width), [])]]),
    sample(key, count, stream, tensor) {
      const u = ops.uniform(key, [count, 2], stream)
      return ops.mul(ops.sub(ops.log(u), ops.log1p(ops.neg(u))), tensor('width'))
    },
    logDensity(x, tensor) {
      const z = ops.div(x, tensor('width'))
      const each = ops.neg(ops.add(ops.add(ops.softplus(z), ops.softplus(ops.neg(z))), ops.log(tensor('width'))))
      return ops.sum(each, [1])
    },
  })

const kinds: readonly NoiseOptions[] = [
  { kind: 'normal' },
  { kind: 'gaussian' },
  { kind: 'mixture', components: 3 },
  { kind: 'uniform', margin: 0.2 },
  { kind: 'flow', flow: { kind: 'affineCoupling', layers: 2, hidden: [8] }, steps: 4 },
  { kind: 'custom', distribution: logistic() },
]

const quick: NoiseContrastiveOptions = { batch: 8, ratio: 2, seed: 5, ema: 0.9, sampling: { steps: 3, chains: 8 } }

describe('a Gaussian', () => {
  test.each(kinds.filter((k) => k.kind !== 'flow'))('with $kind noise: log Z and every parameter', async (noise) => {
    const model = gaussianEnergy()
    const data = gaussianRows(20_000)
    const trainer = new NoiseContrastive(model, {
      noise,
      ratio: 4,
      batch: 500,
      logZ: 0.5,
      optimizer: { kind: 'adam', learningRate: 0.03 },
      schedule: { kind: 'cosine' },
      ema: 0.98,
    })
    const rows = await fitRows(trainer, data, { steps: 600, reportEvery: 300 })
    const logZ = await trainer.logZ()
    expect(Math.abs(logZ - gaussianLogZ(model))).toBeLessThan(0.06)
    // The inverse of L = [[a, 0], [b, c]] is [[1/a, 0], [-b/(a c), 1/c]] = diag(s) [[1, 0], [off, 1]].
    const [a, b, c] = gaussianFactor
    const [s0, s1] = model.value('logDiagonal').data as Float32Array
    expect(Math.abs((s0 as number) + Math.log(a))).toBeLessThan(0.08)
    expect(Math.abs((s1 as number) + Math.log(c))).toBeLessThan(0.08)
    expect(Math.abs((model.value('off').data[0] as number) + b / a)).toBeLessThan(0.08)
    for (const [i, m] of gaussianMean.entries())
      expect(Math.abs((model.value('m').data[i] as number) - m)).toBeLessThan(0.06)
    // -mean E - log Z is the log likelihood.
    const energies = await model.energy(data.normalized(Int32Array.from({ length: 2000 }, (_, i) => i)))
    const mean = energies.reduce((sum, e) => sum + e, 0) / energies.length
    expect(Math.abs(mean + logZ - gaussianEntropy)).toBeLessThan(0.1)
    expect(metric(rows.at(-1), 'logZ')).toBeCloseTo(logZ, 1)
    trainer.dispose()
  })

  test('noise that is the data: the loss is that of guessing, and accuracy is the share of the more frequent', async () => {
    // Energy and log Z of the exact density, learning rate 0: G = -log ν everywhere.
    const model = gaussianEnergy()
    const [a, b, c] = gaussianFactor
    const f = (...v: number[]) => hostTensor(Float32Array.from(v), [v.length])
    const exact = new Map([
      ['m', f(...gaussianMean)],
      ['logDiagonal', f(-Math.log(a), -Math.log(c))],
      ['off', f(-b / a)],
    ])
    await model.setValues(exact)
    const distribution = customDistribution({
      shape: [2],
      sample: (key, count, stream) => {
        const z = ops.normal(key, [count, 2], stream)
        return ops.add(
          ops.matmul(z, ops.constant([a, 0, b, c], [2, 2]), { transposeB: true }),
          ops.constant(gaussianMean, [2]),
        )
      },
      logDensity: (x) => {
        const y = ops.sub(x, ops.constant(gaussianMean, [2]))
        const z = ops.matmul(y, ops.constant([1 / a, 0, -b / (a * c), 1 / c], [2, 2]), { transposeB: true })
        return ops.sub(ops.mul(ops.sum(ops.square(z), [1]), -0.5), Math.log(2 * Math.PI * a * c))
      },
    })
    const trainer = new NoiseContrastive(model, {
      noise: { kind: 'custom', distribution },
      ratio: 3,
      batch: 200,
      logZ: gaussianLogZ(model),
      optimizer: { kind: 'adam', learningRate: 0 },
    })
    const [row] = await fitRows(trainer, gaussianRows(1000), { steps: 5, reportEvery: 5 })
    expect(metric(row, 'loss')).toBeCloseTo(4 * Math.log(4) - 3 * Math.log(3), 4)
    expect(metric(row, 'logitData')).toBeCloseTo(-Math.log(3), 4)
    expect(metric(row, 'accuracyData')).toBe(0)
    expect(metric(row, 'accuracyNoise')).toBe(1)
    expect(metric(row, 'accuracy')).toBeCloseTo(0.75, 6)
    trainer.dispose()
  })
})

describe.each(kinds)('$kind noise', (noise) => {
  test('stopped and resumed: the same bits; the run folder samples as the trainer does', async () => {
    const [whole, parts] = [folder(), folder()]
    const make = (seed: number) => new NoiseContrastive(mlp({ inputs: 2, hidden: [8], seed }), { ...quick, noise })
    const data = blobs(64, false)
    const trainer = make(1)
    const rows = await fitRows(trainer, data, { steps: 10, out: whole, reportEvery: 2 })
    await fitRows(make(1), data, { steps: 5, out: parts, reportEvery: 2 })
    await fitRows(make(9), data, { steps: 10, out: parts, reportEvery: 2, resume: true })
    const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
    expect(b.bits).toEqual(a.bits)
    expect(a.names).toEqual(expect.arrayContaining(['noise/log_z', 'ema/noise/log_z']))
    for (const row of rows) for (const v of Object.values(row)) expect(Number.isFinite(v)).toBe(true)
    expect(metric(rows.at(-1), 'accuracy')).toBeGreaterThan(0)

    const opened = await openRun(whole, noise.kind === 'custom' ? { options: { noise } } : {})
    const drawn = await trainer.sample({ count: 5, seed: 3 })
    expect(drawn.shape).toEqual([5, 2])
    expect((await opened.sample({ count: 5, seed: 3 })).data).toEqual(drawn.data)
    expect(opened.moduleValues('noise').get('log_z')?.data[0]).toBe(await trainer.logZ())
    trainer.dispose()
  })
})

test('the chains of sample begin at the noise', async () => {
  const data = gaussianRows(4000)
  const trainer = new NoiseContrastive(plane(0), { batch: 50, noise: { kind: 'gaussian' } })
  await fitRows(trainer, data, { steps: 1 })
  const { data: x } = await trainer.sample({ count: 4000, steps: 0, from: 'start' })
  let [m0, m1] = [0, 0]
  for (let i = 0; i < 4000; i++) {
    m0 += (x[2 * i] as number) / 4000
    m1 += (x[2 * i + 1] as number) / 4000
  }
  expect(Math.abs(m0 - gaussianMean[0])).toBeLessThan(0.06)
  expect(Math.abs(m1 - gaussianMean[1])).toBeLessThan(0.06)
  trainer.dispose()
})

test('images: a convolutional classifier, whose energy is that of its logits, against fitted Gaussian noise; samples of a class', async () => {
  const trainer = new NoiseContrastive(convNet(), {
    batch: 20,
    ratio: 1,
    noise: { kind: 'gaussian', jitter: 0.01 },
    sampling: { steps: 2, chains: 4 },
  })
  const rows = await fitRows(trainer, await someDigits(), { steps: 30, reportEvery: 15 })
  expect(metric(rows.at(-1), 'loss')).toBeLessThan(metric(rows[0], 'loss'))
  expect((await trainer.sample({ count: 3, class: 2 })).shape).toEqual([3, 1, 8, 8])
  trainer.dispose()
})

describe('a flow as noise', () => {
  test('its own segment raises its likelihood, and then it is held', async () => {
    const data = gaussianRows(4000)
    const trainer = new NoiseContrastive(plane(0), {
      batch: 200,
      noise: { kind: 'flow', flow: tinyFlow, steps: 150, optimizer: { kind: 'adam', learningRate: 0.01 } },
      ratio: 1,
    })
    const rows = await fitRows(trainer, data, { steps: 160, reportEvery: 30 })
    // A report ends with the segment.
    expect(rows.map((r) => r.step)).toEqual([30, 60, 90, 120, 150, 160])
    const likelihoods = rows.slice(0, 5).map((row) => metric(row, 'flowLogLikelihood'))
    expect(likelihoods[4]).toBeGreaterThan((likelihoods[0] as number) + 0.2)
    expect(likelihoods[4]).toBeGreaterThan(-gaussianEntropy - 0.15)
    expect(metric(rows[0], 'loss')).toBeCloseTo(-(likelihoods[0] as number), 6)
    expect(rows[5]).not.toHaveProperty('flowLogLikelihood')
    const flow = await trainer.flow()
    const likelihood = await flow.logDensity(data.normalized())
    const mean = likelihood.reduce((sum, v) => sum + v, 0) / likelihood.length
    expect(mean).toBeGreaterThan(-gaussianEntropy - 0.1)
    const drawn = await trainer.sample({ count: 10, from: 'model' })
    expect(drawn.shape).toEqual([10, 2])
    trainer.dispose()
  })

  test('a FlowModel stays as it is, and the run folder gives it back', async () => {
    const given = new FlowModel(buildFlow(tinyFlow), { seed: 4 })
    const out = folder()
    const trainer = new NoiseContrastive(plane(0), { batch: 8, noise: { kind: 'flow', flow: given } })
    await fitRows(trainer, blobs(32, false), { steps: 3, out })
    const again = await flowOfRun(await openRun(out))
    for (const [name, value] of given.stateDict()) {
      expect((await trainer.flow()).value(name).data).toEqual(value.data)
      expect(again.value(name).data).toEqual(value.data)
    }
    trainer.dispose()
  })

  test('a flow written in code must be given to openRun', async () => {
    const make = () => customFlow([2], [actNorm([2]), luLinear([2])], 'mine')
    const out = folder()
    const noise: NoiseOptions = { kind: 'flow', flow: make(), steps: 2 }
    const trainer = new NoiseContrastive(plane(0), { batch: 8, noise })
    await fitRows(trainer, blobs(32, false), { steps: 3, out })
    expect(await rejection(openRun(out))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/'mine'.*code/),
    })
    const opened = await openRun(out, { options: { noise: { kind: 'flow', flow: make() } } })
    const options = { count: 4, from: 'model' } as const
    expect((await opened.sample(options)).data).toEqual((await trainer.sample(options)).data)
    expect((await flowOfRun(opened, make())).flow.config).toEqual({ kind: 'custom', name: 'mine' })
    trainer.dispose()
  })
})

describe('errors', () => {
  const run = (options: NoiseContrastiveOptions) =>
    rejection(fitRows(new NoiseContrastive(plane(0), { batch: 8, ...options }), blobs(32, false), { steps: 1 }))

  test('an unknown noise names the nearest', async () => {
    const error = await run({ noise: { kind: 'gausian' } as unknown as NoiseOptions })
    expect(error).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining("Did you mean 'gaussian'") })
  })

  test('options out of range', async () => {
    expect(await run({ ratio: 0 })).toBeInstanceOf(RangeError)
    expect(await run({ ratio: 0.01 })).toBeInstanceOf(RangeError)
    expect(await run({ logZ: Number.NaN })).toBeInstanceOf(RangeError)
    expect(await run({ noise: { kind: 'mixture', components: 0 } })).toBeInstanceOf(RangeError)
    expect(await run({ noise: { kind: 'uniform', margin: -1 } })).toBeInstanceOf(RangeError)
    expect(await run({ noise: { kind: 'uniform', low: [0, 0, 0] } })).toBeInstanceOf(RangeError)
    expect(await run({ noise: { kind: 'flow', steps: -1 } })).toBeInstanceOf(RangeError)
  })

  test('noise of another shape', async () => {
    const distribution = customDistribution({
      shape: [3],
      sample: (key, count, stream) => ops.normal(key, [count, 3], stream),
      logDensity: (x) => ops.sum(x, [1]),
    })
    expect(await run({ noise: { kind: 'custom', distribution } })).toMatchObject({ code: 'E_CONFIG' })
    const flow = { kind: 'spline', inputs: 3 }
    expect(await run({ noise: { kind: 'flow', flow } })).toMatchObject({ code: 'E_CONFIG' })
  })

  test('a custom noise is needed again where chains begin at it, and nowhere else', async () => {
    const out = folder()
    const trainer = new NoiseContrastive(plane(0), { batch: 8, noise: { kind: 'custom', distribution: logistic() } })
    await fitRows(trainer, blobs(32, false), { steps: 2, out })
    const opened = await openRun(out)
    expect((await opened.model.energy(blobs(4).normalized())).length).toBe(4)
    expect(await rejection(opened.sample({ count: 2 }))).toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/customDistribution.*openRun/),
    })
    trainer.dispose()
  })

  test('exact draws and flow() without a flow', async () => {
    const trainer = new NoiseContrastive(plane(0), { batch: 8 })
    expect(await rejection(trainer.logZ())).toMatchObject({ code: 'E_CONFIG', message: expect.stringContaining('fit') })
    await fitRows(trainer, blobs(32, false), { steps: 1 })
    expect(await rejection(trainer.flow())).toMatchObject({ code: 'E_CONFIG' })
    expect(await rejection(trainer.sample({ from: 'model' }))).toMatchObject({ code: 'E_CONFIG' })
    trainer.dispose()
  })
})
