/** Configurations: every fault is named with its place, its value and the nearest right word. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseConfig, readConfig } from '../../lib/cli/config.ts'
import { methods } from '../../lib/trainers/methods.ts'
import { shipped, tinyConfig } from './command.ts'

/** Sets a value at a dotted place; undefined removes it. */
function changed(place: string, value: unknown): Record<string, unknown> {
  const config = structuredClone(tinyConfig())
  const keys = place.split('.')
  const last = keys.pop() as string
  let at: Record<string, unknown> = config
  for (const k of keys) {
    at[k] ??= {}
    at = at[k] as Record<string, unknown>
  }
  if (value === undefined) delete at[last]
  else at[last] = value
  return config
}

function fault(config: unknown): string {
  try {
    parseConfig(config, 'c.json')
  } catch (error) {
    expect(error).toMatchObject({ code: 'E_CONFIG' })
    return (error as Error).message
  }
  return 'no fault'
}

describe('a configuration', () => {
  test('that is right is taken as it is', () => {
    expect(parseConfig(tinyConfig(), 'c.json')).toEqual(tinyConfig())
  })

  test('the shipped ones are right', async () => {
    const files = readdirSync(shipped, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.json'))
    expect(files.length).toBeGreaterThan(5)
    for (const f of files) expect([...methods.keys()]).toContain((await readConfig(join(shipped, f))).config.method)
  })

  const cases: [place: string, value: unknown, message: string][] = [
    ['method', 'jemp', "method: 'jemp' is not allowed. Did you mean 'jem'?"],
    ['method', undefined, 'method: is missing; give one of jem, jempp'],
    ['data', undefined, 'data: is missing; expected object'],
    ['data', { kind: 'digit' }, "data.kind: 'digit' is not allowed. Did you mean 'digits'?"],
    ['data', { kind: 'idx' }, 'data.images: is missing; expected string'],
    ['data.limt', 3, "data: unknown key 'limt'. Did you mean 'limit'?"],
    ['data.test', { kind: 'digis' }, "data.test.kind: 'digis' is not allowed. Did you mean 'digits'?"],
    ['epoch', 3, "unknown key 'epoch'. Did you mean 'epochs'?"],
    ['steps', -1, 'steps: expected a number ≥ 1; got -1'],
    ['steps', 1.5, 'steps: expected int; got 1.5'],
    ['network.kind', 'wideResnet', "network.kind: 'wideResnet' is not allowed. Did you mean 'wideResNet'?"],
    ['network.kind', undefined, 'network.kind: is missing; give one of wideResNet, convEnergy, mlp'],
    ['network.widht', 1, "network: unknown key 'widht'. Did you mean 'width'?"],
    ['network.depth', '10', 'network.depth: expected number; got "10"'],
    ['network.activation', 'rulu', "network.activation: 'rulu' is not allowed. Did you mean 'relu'?"],
    [
      'network',
      { kind: 'mlp', sigma: { smalest: 0.1 } },
      "network.sigma: unknown key 'smalest'. Did you mean 'smallest'?",
    ],
    ['network', { kind: 'mlp', spectralNorm: { iteration: 2 } }, "Did you mean 'iterations'?"],
    ['network', { kind: 'mlp', init: 'xavir' }, "network.init: 'xavir' is not allowed. Did you mean 'xavier'?"],
    [
      'network',
      { kind: 'flow', flow: { kind: 'splin' } },
      "network.flow.kind: 'splin' is not allowed. Did you mean 'spline'?",
    ],
    [
      'network',
      { kind: 'flow', flow: { kind: 'image', level: 2 } },
      "network.flow: unknown key 'level'. Did you mean 'levels'?",
    ],
    ['network', { kind: 'rbm' }, 'network.hidden: is missing'],
    ['network', { kind: 'rbm', hidden: 4, visibleKind: 'gausian' }, "Did you mean 'gaussian'?"],
    ['network', { kind: 'ising', coupling: 'sharde' }, "Did you mean 'shared'?"],
    [
      'trainer.sampler',
      { kind: 'mala', stepsize: 1 },
      "trainer.sampler: unknown key 'stepsize'. Did you mean 'stepSize'?",
    ],
    [
      'evaluation.likelihood',
      { logZ: 'ais', chain: 3 },
      "evaluation.likelihood: unknown key 'chain'. Did you mean 'chains'?",
    ],
    [
      'evaluation.likelihood',
      { logZ: 'as' },
      "evaluation.likelihood.logZ: 'as' is not allowed. Did you mean 'ais'? Or a number.",
    ],
    [
      'evaluation.chains',
      { sampler: { kind: 'annealedLangevin', sigmas: 'many' } },
      'evaluation.chains.sampler.sigmas: expected object; got "many"',
    ],
    ['evaluation.likelihood', {}, 'evaluation.likelihood.logZ: is missing; give one of quadrature, exact, ais'],
    [
      'evaluation.chains',
      { sampler: { kind: 'nutss' } },
      "evaluation.chains.sampler.kind: 'nutss' is not allowed. Did you mean 'nuts'?",
    ],
    ['evaluation.qualty', true, "evaluation: unknown key 'qualty'. Did you mean 'quality'?"],
    ['network', 5, 'network: expected object; got 5'],
    ['trainer.batch', 0, 'trainer.batch: expected a number ≥ 1; got 0'],
    ['trainer.batch', null, 'trainer.batch: expected number; got null'],
    ['trainer.bacth', 8, "trainer: unknown key 'bacth'. Did you mean 'batch'?"],
    ['trainer.sampler.kind', 'pyle', "trainer.sampler.kind: 'pyle' is not allowed. Did you mean 'pyld'?"],
    ['trainer.sampler.outr', 3, "trainer.sampler: unknown key 'outr'. Did you mean 'outer'?"],
    [
      'trainer.sampler',
      { kind: 'sgld', noise: 'langevn' },
      "trainer.sampler.noise: 'langevn' is not allowed. Did you mean 'langevin'?",
    ],
    ['trainer.sampler.bounds', [1], 'trainer.sampler.bounds: expected array to have ≥ 2 items; got [1]'],
    ['trainer.optimizer', { kind: 'adm' }, "trainer.optimizer.kind: 'adm' is not allowed. Did you mean 'adam'?"],
    ['trainer.optimizer', { kind: 'adam', lr: 1 }, "trainer.optimizer: unknown key 'lr'. Known: kind, learningRate"],
    ['trainer.schedule', { kind: 'step' }, 'trainer.schedule.milestones: is missing; expected array'],
    [
      'trainer.buffer.start',
      { kind: 'mixtur' },
      "trainer.buffer.start.kind: 'mixtur' is not allowed. Did you mean 'mixture'?",
    ],
    ['trainer.buffer.start', { kind: 'uniform', lo: 1 }, "trainer.buffer.start: unknown key 'lo'. Did you mean 'low'?"],
    [
      'trainer.buffer.start',
      { kind: 'mixture', parts: [{ share: 1, start: { kind: 'normal', sdt: 1 } }] },
      "trainer.buffer.start.parts.0.start: unknown key 'sdt'. Did you mean 'std'?",
    ],
    ['trainer.augmentation.data', { flp: true }, "trainer.augmentation.data: unknown key 'flp'. Did you mean 'flip'?"],
    ['trainer.recovery', { trys: 1 }, "trainer.recovery: unknown key 'trys'. Did you mean 'tries'?"],
    ['evaluation.ood', ['unifrm'], "evaluation.ood.0: 'unifrm' is not allowed. Did you mean 'uniform'?"],
    ['evaluation.ood', [{ kind: 'dgits' }], "evaluation.ood.0.kind: 'dgits' is not allowed. Did you mean 'digits'?"],
  ]
  for (const [place, value, message] of cases) {
    test(`${place} = ${JSON.stringify(value)}`, () => {
      const text = fault(changed(place, value))
      expect(text).toContain('c.json is not a valid configuration:\n')
      expect(text).toContain(message)
    })
  }

  test('with several faults: all are told', () => {
    const text = fault({ ...tinyConfig(), epoch: 1, steps: 0, method: 'gan' })
    expect(text.split('\n')).toHaveLength(4)
  })

  test('that is no object', () => {
    for (const value of [[], 5, null, 'x']) expect(fault(value)).toMatch(/the configuration: expected object; got/)
  })
})
