/** The names that the documentation speaks of are there, and what is there works together: a model of one's own through a trainer of each family. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as langevin from '../lib/index.ts'
import { methods } from '../lib/trainers/methods.ts'

const trainers = {
  jem: langevin.Jem,
  jempp: langevin.JemPlusPlus,
  sadaJem: langevin.SadaJem,
  dualAdversarial: langevin.DualAdversarial,
  scoreMatching: langevin.ScoreMatching,
  contrastiveDivergence: langevin.ContrastiveDivergence,
  rbm: langevin.Rbm,
  pseudoLikelihood: langevin.PseudoLikelihood,
  ratioMatching: langevin.RatioMatching,
  adversarial: langevin.Adversarial,
  maximumLikelihood: langevin.MaximumLikelihood,
  noiseContrastive: langevin.NoiseContrastive,
  flowContrastive: langevin.FlowContrastive,
}

test('every method of the registry has its public trainer', () => {
  for (const [name, make] of Object.entries(trainers)) {
    expect(make, name).toBeTypeOf('function')
    expect(make.prototype, name).toBeInstanceOf(langevin.Trainer)
  }
  expect([...methods.keys()].sort()).toEqual(Object.keys(trainers).sort())
})

describe('the names', () => {
  const functions: Record<string, readonly string[]> = {
    '': [
      ...['mlp', 'convEnergy', 'wideResNet', 'sequential', 'defineEnergy', 'rbm', 'ising', 'potts'],
      ...[
        'productOfExperts',
        'mixtureOfEnergies',
        'temper',
        'conditional',
        'guided',
        'shifted',
        'withLogZ',
        'restrict',
      ],
      ...['affineCouplingFlow', 'splineFlow', 'imageFlow', 'customFlow', 'mlpGenerator', 'convGenerator'],
      ...['sample', 'energyTarget', 'probabilityFlowLogDensity', 'fromPixels', 'flowOfRun', 'generatorOfRun'],
      ...['openRun', 'evaluate', 'evaluateModel', 'exportOnnx', 'verifyOnnx', 'savePng', 'compileGraph', 'setThreads'],
    ],
    data: ['loadDataset', 'digits', 'banknote', 'toy', 'toyDensity', 'table', 'standardize', 'defaultOod'],
    evaluation: [
      ...['annealedImportanceSampling', 'bracketLogZ', 'quadratureLogZ', 'quadratureKl', 'heldOutLogLikelihood'],
      ...['mmd', 'kid', 'inceptionScore', 'precisionRecall', 'classifierTwoSampleTest', 'kernelSteinDiscrepancy'],
      ...['splitRhat', 'effectiveSampleSize', 'robustAccuracy', 'rbmLogZ', 'densityPicture', 'densitySvg'],
    ],
    autodiff: ['grad', 'jvp', 'hvp'],
    ops: ['normal', 'sum', 'matmul'],
    distributions: ['gaussian', 'gaussianMixture', 'customDistribution'],
  }
  for (const [space, names] of Object.entries(functions)) {
    test(space === '' ? 'of the package' : `of ${space}`, () => {
      const found = (space === '' ? langevin : Reflect.get(langevin, space)) as Record<string, unknown>
      for (const name of names) expect(found[name], name).toBeTypeOf('function')
    })
  }

  test('classes', () => {
    for (const c of [
      langevin.Model,
      langevin.Network,
      langevin.Chains,
      langevin.Dataset,
      langevin.FlowModel,
      langevin.Flow,
    ])
      expect(c).toBeTypeOf('function')
  })

  test('nothing else than exports stands in index.ts', () => {
    const text = readFileSync(new URL('../lib/index.ts', import.meta.url), 'utf8')
    const code = text.replace(/^\/\*\*.*?\*\/\n/s, '').replace(/export (type )?\{[^}]*\} from '[^']*'/g, '')
    expect(code.replace(/export \* as \w+ from '[^']*'/g, '').trim()).toBe('')
  })
})

test('together: a density of one’s own is fitted, sampled and evaluated', async () => {
  const { data, ScoreMatching, mlp, sample, evaluate, evaluation } = langevin
  const train = data.toy('gaussians8', { count: 200, labels: false })
  const trainer = new ScoreMatching(mlp({ inputs: 2, hidden: [8] }), { batch: 50, sampling: { steps: 5 } })
  for await (const row of trainer.fit(train, { steps: 4 })) expect(row.loss).toSatisfy(Number.isFinite)
  const { draws } = await sample(trainer.model, { sampler: { kind: 'mala' }, chains: 4, draws: 10, warmup: 5 })
  expect(evaluation.splitRhat(draws)).toHaveLength(2)
  const figures = await evaluate(trainer, train, { samples: 20 })
  expect(figures.likelihood?.mean).toSatisfy(Number.isFinite)
  trainer.dispose()
})
