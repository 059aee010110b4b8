/** Dual adversarial training: the rule by which T grows, the stages, contrastive samples, resume, and that it makes a classifier robust. */

import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { digits } from '../../lib/data/standard.ts'
import { robustAccuracy } from '../../lib/evaluation/robustness.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { linear } from '../../lib/nn/layers.ts'
import { convEnergy, defineEnergy } from '../../lib/nn/models.ts'
import * as ops from '../../lib/ops/index.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { makeProgram } from '../../lib/runtime/program.ts'
import { Recorder, State } from '../../lib/runtime/state.ts'
import { CONTRAST_STEPS, ContrastSchedule } from '../../lib/trainers/contrast-schedule.ts'
import { DualAdversarial, type DualAdversarialOptions } from '../../lib/trainers/dual-adversarial.ts'
import { Jem } from '../../lib/trainers/jem-trainers.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { testDevice } from '../device.ts'
import { pattern } from '../golden/pattern.ts'
import { blobs, checkpointOf, convNet, fitAll, folder, plane, rejection, resNet, someDigits } from './tiny.ts'

const value = (row: Record<string, number | undefined> | undefined, name: string) => row?.[name] as number

/** Cheap settings: two attack steps, a window of two batches. */
const tiny: DualAdversarialOptions = {
  batch: 8,
  ema: 0.9,
  optimizer: { kind: 'sgd', learningRate: 0.05 },
  schedule: { kind: 'constant' },
  attack: { norm: 'l2', epsilon: 0.5, steps: 2, stepSize: 0.25 },
  ascent: { window: 16, most: 5, threshold: 0.6 },
  dual: { optimizer: { kind: 'sgd', learningRate: 0.02, momentum: 0.9 } },
}

/** Uniform noise as the other data set, as bytes. */
function noise(count = 40, shape = [1, 8, 8]): Dataset {
  const random = new HostRandom(9)
  const size = shape.reduce((a, b) => a * b)
  const bytes = Uint8Array.from({ length: count * size }, () => Math.floor(256 * random.uniform()))
  return new Dataset({ name: 'noise', features: hostTensor(bytes, [count, ...shape]) })
}

describe('T', () => {
  test('grows by one each time the mean of a full window reaches the threshold, which then begins anew', async () => {
    const [window, threshold, most] = [4, 0.8, 3]
    const random = new HostRandom(3)
    const aucs = Array.from({ length: 120 }, () => 0.55 + 0.4 * random.uniform())
    const state = new State(testDevice)
    const schedule = new ContrastSchedule({ window, threshold, most, first: 0 })
    await schedule.setup(state)
    state.create('auc', [])
    const r = new Recorder(state)
    const { runningAuc, contrastSteps } = schedule.metrics(r, r.read('auc'))
    r.write('running', runningAuc)
    r.write('steps', contrastSteps)
    schedule.advance(r, r.read('auc'))
    const stage = await r.compile('step')
    const program = makeProgram([{ do: 'run', plan: stage.plan, inputs: stage.inputs, outputs: stage.outputs }])
    let [steps, seen] = [0, [] as number[]]
    const grown: number[] = []
    for (const [i, auc] of aucs.entries()) {
      await state.get('auc').write(hostTensor(Float32Array.of(auc), []))
      await program.run(1)
      expect((await state.get('steps').read()).data[0]).toBe(steps)
      seen = [...seen, auc].slice(-window)
      const mean = seen.reduce((a, b) => a + b) / seen.length
      expect((await state.get('running').read()).data[0]).toBeCloseTo(mean, 5)
      if (seen.length === window && mean >= threshold && steps < most) {
        steps++
        seen = []
        grown.push(i)
      }
      expect((await state.get(CONTRAST_STEPS).read()).data[0]).toBe(steps)
    }
    expect(steps).toBe(most)
    expect(grown.some((g, i) => g - (grown[i - 1] ?? -1) > window)).toBe(true)
    stage.plan.dispose()
    state.dispose()
  })

  test('grows in a run, and never above the most', async () => {
    const trainer = new DualAdversarial(plane(), {
      ...tiny,
      adversarialEpochs: 0,
      ascent: { ...tiny.ascent, threshold: 0.1 },
    })
    const { rows } = await fitAll(trainer, blobs(), { steps: 20, reportEvery: 1 })
    // A window of two steps; an AUC of at least 0.1 every time.
    expect(rows.map((row) => value(row, 'contrastSteps'))).toEqual(
      Array.from({ length: 20 }, (_, i) => Math.min(5, Math.floor(i / 2))),
    )
  })
})

describe('stages', () => {
  test('the second keeps the norms’ statistics of the first, and reports its own metrics', async () => {
    const data = await someDigits(64)
    const [one, both] = [folder(), folder()]
    const options = { ...tiny, adversarialEpochs: 0.5 }
    await fitAll(new DualAdversarial(resNet(), options), data, { steps: 4, out: one })
    const { rows } = await fitAll(new DualAdversarial(resNet(), options), data, { steps: 7, reportEvery: 2, out: both })
    expect(rows.map((row) => row.step)).toEqual([2, 4, 6, 7])
    expect(value(rows[1], 'contrastSteps')).toBeUndefined()
    expect(Object.keys(rows[2] ?? {})).toEqual(
      expect.arrayContaining([
        'robustAccuracy',
        'crossEntropy',
        'attackGain',
        'binaryCrossEntropy',
        'auc',
        'runningAuc',
      ]),
    )
    const [a, b] = [await checkpointOf(one), await checkpointOf(both)]
    const statistics = a.names.filter((n) => n.includes('running_'))
    expect(statistics.length).toBeGreaterThan(5)
    for (const name of statistics) expect(b.bits[name], name).toBe(a.bits[name])
    expect(b.bits['stem.weight']).not.toBe(a.bits['stem.weight'])
    const before = resNet().value('bn.running_mean').data
    expect((await openRun(one)).model.value('bn.running_mean').data).not.toEqual(before)
  })

  test('the loss of the second is the sum of its parts', async () => {
    const weights = { binary: 0.7, crossEntropy: 1.5, gradientPenalty: 0.3 }
    const trainer = new DualAdversarial(convNet(), { ...tiny, adversarialEpochs: 0, weights })
    const { rows } = await fitAll(trainer, await someDigits(), { steps: 3, reportEvery: 1 })
    for (const row of rows) {
      const want =
        0.7 * value(row, 'binaryCrossEntropy') + 1.5 * value(row, 'crossEntropy') + 0.3 * value(row, 'gradientPenalty')
      expect(row.loss).toBeCloseTo(want, 4)
      expect(value(row, 'gradientPenalty')).toBeGreaterThan(0)
    }
  })

  test('learning rates: the second stage’s own', async () => {
    const { rows } = await fitAll(new DualAdversarial(plane(), { ...tiny, adversarialEpochs: 0.5 }), blobs(), {
      steps: 8,
      reportEvery: 4,
    })
    expect(rows.map((r) => r.learningRate)).toEqual([expect.closeTo(0.05, 6), expect.closeTo(0.02, 6)])
  })
})

describe('contrastive samples', () => {
  test('ascend logsumexp f(x) from where they begin; sample draws them so, with the T that was reached', async () => {
    const trainer = new DualAdversarial(convNet(), { ...tiny, adversarialEpochs: 0, contrast: { kind: 'uniform' } })
    const data = await someDigits()
    await fitAll(trainer, data, { steps: 30 })
    const energies = async (steps?: number) =>
      trainer.model.energy(await trainer.sample({ count: 16, seed: 4, ...(steps === undefined ? {} : { steps }) }))
    const [start, some, more] = [await energies(0), await energies(3), await energies(12)]
    some.forEach((e, i) => void expect(e).toBeLessThan(start[i] as number))
    more.forEach((e, i) => void expect(e).toBeLessThan(some[i] as number))
    const reached = value((await fitAll(trainer, data, { steps: 30, reportEvery: 1 })).rows.at(-1), 'contrastSteps')
    expect(reached).toBeGreaterThan(0)
    const [own, same] = [await energies(), await energies(reached)]
    expect([...own]).toEqual([...same])
  })

  test('of a label, as published: sampling is per class, and the AUC is of f(x)[y]', async () => {
    const options: DualAdversarialOptions = { ...tiny, adversarialEpochs: 0, ascent: { ...tiny.ascent, of: 'label' } }
    const row = async (o: DualAdversarialOptions) =>
      (await fitAll(new DualAdversarial(convNet(), o), await someDigits(), { steps: 1, reportEvery: 1 })).rows[0]
    const [label, all] = [await row(options), await row({ ...tiny, adversarialEpochs: 0 })]
    // At T = 0 the samples are the same; only what judges them differs.
    expect(value(label, 'energyNegatives')).toBe(value(all, 'energyNegatives'))
    expect(value(label, 'auc')).not.toBe(value(all, 'auc'))
    const trainer = new DualAdversarial(convNet(), options)
    await fitAll(trainer, await someDigits(), { steps: 10 })
    const samples = await trainer.sample({ count: 20, class: 3, steps: 20 })
    const { data } = await trainer.model.logits(samples)
    const ofClass = (t: ArrayLike<number>) => Array.from({ length: 20 }, (_, i) => t[10 * i + 3] as number)
    const { data: before } = await trainer.model.logits(await trainer.sample({ count: 20, class: 3, steps: 0 }))
    ofClass(data).forEach((v, i) => void expect(v).toBeGreaterThan(ofClass(before)[i] as number))
  })

  test('from another data set, in its own range', async () => {
    const options: DualAdversarialOptions = { ...tiny, adversarialEpochs: 0 }
    const [a, b] = [folder(), folder()]
    const data = await someDigits()
    const { rows } = await fitAll(new DualAdversarial(convNet(), { ...options, contrast: noise() }), data, {
      steps: 4,
      reportEvery: 1,
      out: a,
    })
    const { rows: gaussian } = await fitAll(new DualAdversarial(convNet(), options), data, { steps: 4, reportEvery: 1 })
    expect(value(rows[0], 'energyNegatives')).not.toBe(value(gaussian[0], 'energyNegatives'))
    // A checkpoint keeps the name, not the data; sampling needs neither.
    const run = await openRun(a)
    expect((run.description as { options: unknown }).options).toMatchObject({
      contrast: { kind: 'dataset', name: 'noise', count: 40 },
    })
    const samples = await run.sample({ count: 3 })
    expect(samples.shape).toEqual([3, 1, 8, 8])
    // By description.
    const spec = { kind: 'dataset', spec: { kind: 'digits', limit: 50 } } as const
    await fitAll(new DualAdversarial(convNet(), { ...options, contrast: spec }), data, { steps: 2, out: b })
    expect((await checkpointOf(b)).run.step).toBe(2)
  })
})

describe('resume', () => {
  test('within and across stages, bit for bit, with batch norms and another data set', async () => {
    const data = await someDigits(64)
    const options: DualAdversarialOptions = {
      ...tiny,
      adversarialEpochs: 0.75,
      attack: { ...tiny.attack, randomStart: true },
      augmentation: { data: { noise: 0.05 }, labelled: { pad: 1, noise: 0.02 } },
    }
    const make = () => new DualAdversarial(resNet(), { ...options, contrast: noise() })
    const [whole, parts] = [folder(), folder()]
    await fitAll(make(), data, { steps: 14, out: whole })
    await fitAll(make(), data, { steps: 3, out: parts })
    await fitAll(make(), data, { steps: 9, out: parts, resume: true })
    await fitAll(make(), data, { steps: 14, out: parts, resume: true })
    const [a, b] = [await checkpointOf(whole), await checkpointOf(parts)]
    expect(b.names).toEqual(a.names)
    expect(b.bits).toEqual(a.bits)
    expect(a.names).toEqual(expect.arrayContaining(['contrast/steps', 'contrast/auc', 'contrast/seen', 'rng/train']))
    expect(a.names).not.toContain('rng/')
    const [run, trainer] = [await openRun(whole), make()]
    await fitAll(trainer, data, { steps: 14, out: parts, resume: true })
    expect(await run.sample({ count: 5, seed: 2 })).toEqual(await trainer.sample({ count: 5, seed: 2 }))
  })
})

describe('refused by name', () => {
  const refused = (options: DualAdversarialOptions, data = blobs(), model = plane()) =>
    rejection(fitAll(new DualAdversarial(model, { ...tiny, ...options }), data, { steps: 1 }))

  test('what cannot be', async () => {
    expect(await refused({}, blobs(64, false))).toMatchObject({ code: 'E_DATA' })
    expect(await refused({}, blobs(), plane(0))).toMatchObject({ code: 'E_CONFIG' })
    expect((await refused({ adversarialEpochs: -1 })).message).toMatch(
      /adversarialEpochs must be a finite number ≥ 0; got -1/,
    )
    expect((await refused({ ascent: { of: 'lable' as 'label' } })).message).toMatch(/'lable' is not known.*label/)
    expect((await refused({ ascent: { first: 4, most: 3 } })).message).toMatch(
      /ascent.most must be an integer ≥ 4; got 3/,
    )
    expect((await refused({ ascent: { threshold: 1.2 } })).message).toMatch(/threshold must be in \(0, 1\]; got 1.2/)
    expect((await refused({ attack: { epsilon: -1 } })).message).toMatch(/epsilon must be a finite number ≥ 0; got -1/)
    expect((await refused({ weights: { binary: 0, crossEntropy: 0 } })).message).toMatch(/nothing would be trained/)
    expect((await refused({ contrast: noise(), adversarialEpochs: 0 })).message).toMatch(
      /'noise' has examples of \[1,8,8\].*\[2\]/,
    )
    expect((await refused({ contrast: { kind: 'dataset', name: 'gone' } })).message).toMatch(/'gone' is not there/)
    expect(() => new DualAdversarial(plane(), { atack: {} } as DualAdversarialOptions)).toThrow(
      /unknown key 'atack'.*attack/,
    )
  })
})

describe('any data and network', () => {
  test('a table without a range has no box, and a classifier written in code will do', async () => {
    const features = pattern([64, 2], 1, 8)
    const labels = Int32Array.from({ length: 64 }, (_, i) => ((features.data[2 * i] as number) > 0 ? 1 : 0))
    const data = new Dataset({ name: 'table', features, labels, range: null, classes: 2 })
    const head = linear(2)
    const model = defineEnergy({ shape: [2], seed: 1 }, (x, scope) =>
      head.apply(ops.concat([x, ops.mul(ops.square(x), 0.1)], 1), scope.child('head')),
    )
    const options: DualAdversarialOptions = { ...tiny, adversarialEpochs: 0.5, ascent: { ...tiny.ascent, stepSize: 2 } }
    const trainer = new DualAdversarial(model, options)
    const { rows } = await fitAll(trainer, data, { steps: 40, reportEvery: 10 })
    expect(value(rows.at(-1), 'crossEntropy')).toBeLessThan(value(rows[0], 'crossEntropy'))
    const samples = await trainer.sample({ count: 50 })
    expect(Math.max(...samples.data.map(Math.abs))).toBeGreaterThan(1)
  })

  test('a run that diverges goes back, and gives up with the state of a good step', async () => {
    const out = folder()
    const dual = { optimizer: { kind: 'sgd', learningRate: 1e9 } } as const
    const options: DualAdversarialOptions = {
      ...tiny,
      adversarialEpochs: 1,
      dual,
      recovery: { tries: 1, snapshotEvery: 4 },
    }
    const error = await rejection(fitAll(new DualAdversarial(plane(), options), blobs(), { steps: 40, out }))
    expect(error).toMatchObject({ code: 'E_DIVERGED' })
    const kept = await openRun(out)
    expect(kept.description.step).toBe(8)
    expect(kept.model.value('0.weight').data.every(Number.isFinite)).toBe(true)
  })
})

test('on digits it is far more robust than plain training, and tells digits from noise', async () => {
  const data = await digits()
  const { train, test: held } = data.split({ test: 300 })
  const model = () => convEnergy({ shape: [1, 8, 8], channels: [16, 32], classes: 10, seed: 1 })
  const optimizer = { kind: 'adam', learningRate: 3e-3 } as const
  const plain = new Jem(model(), {
    weights: { px: 0 },
    batch: 64,
    optimizer,
    schedule: { kind: 'constant' },
    buffer: { size: 10, start: { kind: 'uniform' } },
  })
  await fitAll(plain, train, { steps: 1000, reportEvery: 100 })
  const dual = new DualAdversarial(model(), {
    batch: 64,
    ema: 0.98,
    optimizer,
    schedule: { kind: 'constant' },
    attack: { norm: 'l2', epsilon: 1, steps: 5, stepSize: 0.4 },
    adversarialEpochs: 800 / 23,
    dual: { optimizer: { kind: 'adam', learningRate: 5e-4 } },
    contrast: { kind: 'uniform' },
    ascent: { window: 256, most: 10 },
  })
  const { rows } = await fitAll(dual, train, { steps: 1000, reportEvery: 20 })
  const attack = { norm: 'l2', epsilon: 1, steps: 10, stepSize: 0.25, batch: 150 } as const
  const figures = (m: typeof plain.model) => robustAccuracy(m, held.normalized(), held.labels as Int32Array, attack)
  const [a, b] = [await figures(plain.model), await figures(dual.model)]
  expect(a.cleanAccuracy).toBeGreaterThan(0.9)
  expect(b.cleanAccuracy).toBeGreaterThan(0.85)
  expect(b.robustAccuracy).toBeGreaterThan(a.robustAccuracy + 0.1)
  expect(value(rows.at(-1), 'contrastSteps')).toBeGreaterThan(1)
})
