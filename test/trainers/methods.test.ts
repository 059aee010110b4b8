/**
 * What every training method must do, one case a method: train with finite numbers, resume bit for bit, sample after training and from its run
 * folder alike, refuse a misspelled option. Whether a method learns what it should is tested beside it.
 */
import { describe, expect, test } from 'vitest'
import { Model } from '../../lib/nn/model.ts'
import { buildNetwork } from '../../lib/nn/networks.ts'
import { methods } from '../../lib/trainers/methods.ts'
import { openRun } from '../../lib/trainers/run.ts'
import { Trainer } from '../../lib/trainers/trainer.ts'
import { cases, common, energy, type MethodCase, make, plane, sgld } from './method-cases.ts'
import { checkpointOf, fitAll, folder, metricsOf, rejection } from './tiny.ts'

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
