/** Runs of other kinds through the commands: a binary machine, and an energy of many noise levels; what each refuses and remembers. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { exportCommand } from '../../lib/cli/export.ts'
import { evaluateCommand } from '../../lib/cli/run-commands.ts'
import { sampleCommand } from '../../lib/cli/sample.ts'
import { trainCommand } from '../../lib/cli/train.ts'
import { readNpy } from '../../lib/data/npy.ts'
import { work, writeJson } from './command.ts'
import { type Outcome, runHere } from './in-process.ts'

const here = work()
const at = (path: string) => join(here, path)
const json = (path: string) => JSON.parse(readFileSync(at(path), 'utf8')) as Record<string, unknown>

const machine = {
  method: 'rbm',
  data: { kind: 'digits', limit: 200, test: 60 },
  network: { kind: 'rbm', hidden: 30 },
  trainer: { batch: 20, binarize: 'stochastic' },
  steps: 20,
  evaluation: { quality: false, samples: 60, ood: ['uniform'], likelihood: { logZ: 'ais', chains: 20, steps: 50 } },
}

const levels = {
  method: 'scoreMatching',
  data: { kind: 'toy', name: 'gaussians8', count: 300, labels: false },
  network: { kind: 'mlp', hidden: [16], sigma: { smallest: 0.1 } },
  trainer: { batch: 50, estimator: { kind: 'multiscale', sigmas: { largest: 2, smallest: 0.1, levels: 4 } } },
  steps: 5,
  evaluation: { samples: 0, likelihood: false, ood: [] },
}

let rbm: Outcome
let ladder: Outcome

beforeAll(async () => {
  rbm = await runHere(trainCommand, writeJson(here, 'rbm.json', machine), '--out', at('rbm'))
  ladder = await runHere(trainCommand, writeJson(here, 'levels.json', levels), '--out', at('levels'))
}, 60_000)

describe('a restricted Boltzmann machine on grey digits', () => {
  test('has a likelihood by Gibbs annealing; evaluate does again what the configuration asked, and what is asked beside it', async () => {
    expect(rbm.error).toBeUndefined()
    expect(rbm.out).toMatch(/log Z \d.* \(ais, from below/)
    expect(rbm.out).toMatch(/held-out log likelihood -\d/)
    expect(rbm.out).not.toMatch(/in the data's units/)
    const first = json('rbm/evaluation.json') as { likelihood: { mean: number } }
    const again = await runHere(evaluateCommand, at('rbm'), '--ood', 'uniform,inverted')
    expect(again.error).toBeUndefined()
    const second = json('rbm/evaluation.json') as typeof first & { ood: object }
    expect(second.likelihood).toEqual(first.likelihood)
    expect(Object.keys(second.ood)).toEqual(['uniform', 'inverted'])
  })

  test('samples of a sampler that moves in real numbers are refused; Gibbs sweeps give black and white', async () => {
    const nuts = await runHere(sampleCommand, at('rbm'), '--sampler', 'nuts')
    expect(nuts.error?.message).toMatch(/sampler nuts: network 'rbm' is an energy of binary x, -1 or 1.*'blockGibbs'/)
    const { error } = await runHere(
      ...([sampleCommand, at('rbm'), '--sampler', 'blockGibbs', '--warmup', '5'] as const),
      ...['--count', '8', '--out', at('gibbs.npy')],
    )
    expect(error).toBeUndefined()
    const { data } = await readNpy(at('gibbs.npy'))
    expect(new Set(Array.from(data as Float32Array))).toEqual(new Set([-1, 1]))
  })
})

describe('an energy of many noise levels', () => {
  test('is sampled down the levels of its training, unless others are given', async () => {
    expect(ladder.error).toBeUndefined()
    const draw = (name: string, sampler: object) =>
      runHere(sampleCommand, at('levels'), '--count', '6', '--sampler', JSON.stringify(sampler), '--out', at(name))
    const kind = 'predictorCorrector'
    const { sigmas } = levels.trainer.estimator
    for (const [name, sampler] of [
      ['own.npy', { kind }],
      ['same.npy', { kind, sigmas }],
      ['other.npy', { kind, sigmas: { ...sigmas, levels: 9 } }],
    ] as const)
      expect((await draw(name, sampler)).error).toBeUndefined()
    const own = readFileSync(at('own.npy'))
    expect(own.equals(readFileSync(at('same.npy')))).toBe(true)
    expect(own.equals(readFileSync(at('other.npy')))).toBe(false)
  })

  test('is exported at a level, or with the level as an input', async () => {
    const input = await runHere(exportCommand, at('levels'), '--sigma', 'input', '--out', at('levels.onnx'))
    expect(input.error).toBeUndefined()
    expect(readFileSync(at('levels.onnx')).includes('sigma')).toBe(true)
    const wrong = await runHere(exportCommand, at('levels'), '--sigma', '-1')
    expect(wrong.error?.message ?? '').toMatch(/--sigma/)
  })
})

test('JEM’s samplers say that they do not draw from p(x); annealing without levels says what to do', async () => {
  const plain = { ...levels, network: { kind: 'mlp', hidden: [8] }, trainer: { batch: 50 } }
  await runHere(trainCommand, writeJson(here, 'plain.json', plain), '--out', at('plain'))
  const draw = (sampler: string) =>
    runHere(sampleCommand, at('plain'), '--count', '4', '--warmup', '2', '--sampler', sampler)
  expect((await draw('sgld')).out).toMatch(/Note: sgld with these settings .* does not draw from p\(x\); ula/)
  expect((await draw('{"kind":"sgld","stepSize":0.01,"noise":"langevin"}')).out).not.toMatch(/Note/)
  const ula = await draw('ula')
  expect(ula.out).toMatch(/chains of ula, 0 divergences\n/)
  expect((await draw('mala')).out).toMatch(/acceptance [01]\./)
  const annealed = await runHere(sampleCommand, at('plain'), '--sampler', 'annealedLangevin')
  expect(annealed.error?.message).toMatch(/give sigmas in units of x: .*parallelTempering/)
})

test('files that the evaluation names are looked for before training, from the configuration’s folder', async () => {
  const train = (name: string, evaluation: object) =>
    runHere(trainCommand, writeJson(here, `${name}.json`, { ...levels, evaluation }), '--out', at(name))
  const missing = await train('missing', { features: 'net.onnx' })
  expect(missing.error?.code).toBe('E_IO')
  expect(missing.error?.message).toContain(at('net.onnx'))
  expect(missing.error?.message).toContain('evaluation.features')
  expect(missing.out).toBe('')
  const foreign = await train('foreign', { ood: [{ kind: 'table', path: 'none.csv' }] })
  expect(foreign.error?.message).toContain(at('none.csv'))
  expect(foreign.out).toBe('')
  writeFileSync(at('net.onnx'), 'no network')
  expect((await train('there', { features: 'net.onnx', samples: 0, likelihood: false, ood: [] })).error).toBeUndefined()
})
