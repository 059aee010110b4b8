/** What an evaluation of a run says of likelihood, divergence, samples and chains, on densities that are known. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../lib/data/dataset.ts'
import { standardize } from '../../lib/data/standardize.ts'
import { toy, toyDensity } from '../../lib/data/toys.ts'
import { frechetBetween } from '../../lib/evaluation/frechet.ts'
import { inceptionScore } from '../../lib/evaluation/inception.ts'
import { kid } from '../../lib/evaluation/kid.ts'
import { LangevinError } from '../../lib/graph/errors.ts'
import { hostTensor } from '../../lib/graph/host-tensor.ts'
import { shifted } from '../../lib/nn/compose.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow } from '../../lib/nn/flows.ts'
import { Model } from '../../lib/nn/model.ts'
import { defineEnergy, mlp } from '../../lib/nn/models.ts'
import { HostRandom } from '../../lib/runtime/host-random.ts'
import { evaluate } from '../../lib/trainers/run-folder.ts'
import type { SampleOptions } from '../../lib/trainers/sampling.ts'
import { temporaryFolder } from '../dist.ts'
import { tinyOnnx } from '../evaluation/tiny-onnx.ts'

const density = toyDensity('gaussians8', { noise: 0.5 })
const truth = density.logDensity
/** The toy's own density, but for a constant. */
const exact = shifted(new Model(density.network), 3)
const held = toy('gaussians8', { count: 400, seed: 9, labels: false, noise: 0.5 })
const fresh = toy('gaussians8', { count: 400, seed: 10, labels: false, noise: 0.5 }).features
/** Draws that are the toy's, so that the model's samples are known to be right. */
const trained = { model: exact, sample: async ({ count = 0 }: SampleOptions = {}) => rows(fresh, count) }

const rows = (x: typeof fresh, n: number) => hostTensor(x.data.slice(0, 2 * n), [n, 2])
const meanLog = async (model: Model) => {
  const e = await model.energy(held.normalized())
  return -e.reduce((a, b) => a + b, 0) / e.length
}

describe('a model that is the truth', () => {
  test('log Z by quadrature, likelihood, divergence 0, tests that find nothing', async () => {
    const e = await evaluate(trained, held, { samples: 250, truth, ood: [] })
    expect(e.likelihood).toMatchObject({ method: 'quadrature', reachesEdge: false, count: 400 })
    expect(e.likelihood?.logZ).toBeCloseTo(-3, 3)
    expect(e.likelihood?.mean).toBeCloseTo(await meanLog(new Model(density.network)), 3)
    expect(e.likelihood).not.toHaveProperty('original')
    expect(e.divergence?.forward).toBeCloseTo(0, 4)
    expect(e.divergence?.reverse).toBeCloseTo(0, 4)
    const { mmd, nearestNeighbour, classifier, stein, precisionRecall } = e.quality as NonNullable<typeof e.quality>
    for (const t of [mmd, nearestNeighbour, classifier, stein]) expect(t?.pValue).toBeGreaterThan(0.01)
    expect(precisionRecall?.density).toBeGreaterThan(0.8)
    expect(precisionRecall?.coverage).toBeGreaterThan(0.8)
    expect(e.notes).toBeUndefined()
  })

  test('log Z by annealed importance sampling lies between its bounds', async () => {
    const likelihood = { logZ: 'ais', steps: 100, chains: 64 } as const
    const e = await evaluate(trained, held, { samples: 64, likelihood, quality: false, ood: [] })
    const { logZ = 0, logZLower = 0, logZUpper = 0, logZStandardError = 0 } = e.likelihood ?? {}
    expect(Math.abs(logZ + 3)).toBeLessThan(4 * logZStandardError + 0.02)
    expect(logZLower).toBeLessThan(-3 + 0.3)
    expect(logZUpper).toBeGreaterThan(-3 - 0.3)
    expect(e.quality).toBeUndefined()
  })

  test('chains of another sampler are summed up', async () => {
    const wide = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).mul(0.5))
    const sampled = { model: wide, sample: trained.sample }
    const chains = { sampler: { kind: 'nuts' }, chains: 4, draws: 150 } as const
    const e = await evaluate(sampled, held, { samples: 0, likelihood: false, chains, ood: [] })
    expect(e.chains).toMatchObject({ sampler: 'nuts', chains: 4, draws: 150, divergences: 0 })
    expect(e.chains?.acceptance).toBeGreaterThan(0.6)
    expect(e.chains?.rhat).toBeLessThan(1.1)
    expect(e.chains?.essBulk).toBeGreaterThan(50)
  })
})

describe('a model that is not', () => {
  test('has a divergence, and tests tell its samples', async () => {
    const wrong = defineEnergy({ shape: [2] }, (x) => x.sub(1).square().sum(-1).mul(2))
    const random = new HostRandom(4)
    const draws = Float32Array.from({ length: 800 }, () => 1 + 0.5 * random.normal())
    const model = { model: wrong, sample: async () => hostTensor(draws, [400, 2]) }
    const e = await evaluate(model, held, { samples: 250, truth, ood: [] })
    expect(e.likelihood?.logZ).toBeCloseTo(Math.log(Math.PI / 2), 4)
    expect(e.divergence?.forward).toBeGreaterThan(0.5)
    expect((e.divergence?.forward ?? 0) - 0).toBeCloseTo(
      meanGap(await meanLog(new Model(density.network)), e.likelihood?.mean),
      0,
    )
    const { mmd, nearestNeighbour, classifier, stein } = e.quality as NonNullable<typeof e.quality>
    for (const t of [mmd, nearestNeighbour, classifier]) expect(t?.pValue).toBeLessThan(0.01)
    expect(stein?.pValue).toBeGreaterThan(0.01)
  })

  test('an energy that does not grow: the box ends at mass, and the figures say so', async () => {
    const flat = defineEnergy({ shape: [2] }, (x) => x.sum(-1).mul(0))
    const e = await evaluate({ model: flat, sample: trained.sample }, held, { samples: 0, truth, ood: [] })
    expect(e.likelihood?.reachesEdge).toBe(true)
    expect(e.divergence?.reachesEdge).toBe(true)
  })

  test('samples that all coincide are noted, not compared', async () => {
    const model = { model: exact, sample: async () => hostTensor(new Float32Array(200), [100, 2]) }
    const constant = new Dataset({ name: 'zeros', features: hostTensor(new Float32Array(200), [100, 2]), range: null })
    const e = await evaluate(model, constant, { samples: 100, ood: [] })
    expect(e.quality).toBeUndefined()
    expect(e.notes?.[0]).toMatch(/no sample quality: /)
  })
})

const meanGap = (a: number, b = Number.NaN) => a - b

test('a feature network gives Frechet and kernel distance, a classifier the inception score', async () => {
  const path = join(temporaryFolder(), 'negated.onnx')
  const nodes = [{ op: 'Neg', inputs: ['x'], output: 'y' }]
  writeFileSync(path, tinyOnnx({ x: ['n', 2] }, nodes, { y: ['n', 2] }))
  const options = {
    samples: 100,
    ood: [],
    quality: false,
    likelihood: false,
    features: path,
    classifier: path,
  } as const
  const e = await evaluate(trained, held, options)
  const drawn = rows(fresh, 100)
  // Distances do not know that both were turned round.
  expect(e.frechet?.features).toBeCloseTo(frechetBetween(drawn, held.normalized()), 4)
  const turned = (x: typeof fresh) => hostTensor(x.data.map((v) => -v) as Float32Array, x.shape)
  expect(e.kid).toEqual(await kid(turned(drawn), turned(held.normalized())))
  expect(e.inception).toEqual(inceptionScore(turned(drawn)))
})

describe('defaults', () => {
  test('flows are normalised; standardised tables are told in their own units too', async () => {
    const flow = new FlowModel(affineCouplingFlow({ inputs: 2, layers: 2, hidden: [8] }))
    const wide = toy('banana', { count: 200 })
    const { train } = standardize({ train: wide, test: undefined })
    const e = await evaluate({ model: flow, sample: trained.sample }, train, { samples: 0, ood: [] })
    expect(e.likelihood).toMatchObject({ method: 'given', logZ: 0, logZStandardError: 0 })
    expect(e.likelihood?.original).toBeCloseTo((e.likelihood?.mean ?? 0) + train.logDeterminant, 9)
    const log = await flow.logDensity(train.normalized())
    expect(e.likelihood?.mean).toBeCloseTo(log.reduce((a, b) => a + b, 0) / 200, 4)
  })

  test('a run that cannot draw is evaluated without samples, unless they were asked for', async () => {
    const refuse = async (): Promise<never> => {
      throw new LangevinError('E_CONFIG', 'chains start at data')
    }
    const e = await evaluate({ model: exact, sample: refuse }, held, { ood: [] })
    expect(e.notes).toEqual(['no samples: chains start at data'])
    expect(e.likelihood?.logZ).toBeCloseTo(-3, 3)
    await expect(evaluate({ model: exact, sample: refuse }, held, { samples: 5 })).rejects.toThrow(
      'chains start at data',
    )
  })

  test('in more dimensions there is no likelihood unless it is asked for; what is asked for wrongly is refused', async () => {
    const model = mlp({ inputs: 3, hidden: [4] })
    const data = new Dataset({
      name: 'three',
      features: hostTensor(
        new Float32Array(30).map((_, i) => i % 7),
        [10, 3],
      ),
      range: null,
    })
    const three = { model, sample: trained.sample }
    expect((await evaluate(three, data, { samples: 0, ood: [] })).likelihood).toBeUndefined()
    const wrong = { logZ: 'quadratur' } as unknown as { logZ: 'quadrature' }
    await expect(evaluate(three, data, { samples: 0, ood: [], likelihood: wrong })).rejects.toThrow(
      /Did you mean 'quadrature'/,
    )
    const bracket = { logZ: 'ais', bracket: true } as const
    await expect(evaluate(three, data, { samples: 0, ood: [], likelihood: bracket })).rejects.toThrow(/needs samples/)
  })
})

test('test data of one class out of several are noted: the data were sorted', async () => {
  const labelled = (label: (i: number) => number) =>
    new Dataset({
      name: 'sorted',
      features: held.features,
      labels: Int32Array.from({ length: 400 }, (_, i) => label(i)),
      classNames: ['real', 'forged'],
      range: null,
    })
  const model = mlp({ inputs: 2, hidden: [4], classes: 2 })
  const run = (d: Dataset) => evaluate({ model, sample: trained.sample }, d, { samples: 0, likelihood: false, ood: [] })
  expect((await run(labelled(() => 1))).notes?.[0]).toMatch(/every test example of 'sorted' is of class 'forged'/)
  expect((await run(labelled((i) => i % 2))).notes).toBeUndefined()
})
