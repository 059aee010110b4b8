/** Attacks as part of a run's evaluation: options, evaluation.json, the printed lines, the report, configurations. */
import { expect, test } from 'vitest'
import { parseConfig } from '../../lib/cli/config.ts'
import { showEvaluation } from '../../lib/cli/finish.ts'
import { Dataset } from '../../lib/data/dataset.ts'
import { renderReport } from '../../lib/evaluation/report.ts'
import { Jem } from '../../lib/trainers/jem-trainers.ts'
import { evaluate } from '../../lib/trainers/run-folder.ts'
import { pattern } from '../golden/pattern.ts'
import { blobs, fitAll, plane, rejection, small } from './tiny.ts'

test('figures of each attack, in lines and in the report', async () => {
  const trainer = new Jem(plane(), { ...small, weights: { px: 0 }, optimizer: { kind: 'adam', learningRate: 0.02 } })
  await fitAll(trainer, blobs(), { steps: 150 })
  const refine = { sampler: { kind: 'sgld', stepSize: 0.02, noise: 0.01 }, steps: 2, draws: 2 } as const
  const stages = new Set<string>()
  const evaluation = await evaluate(trainer, blobs(40), {
    samples: 0,
    ood: ['uniform'],
    attacks: [
      { norm: 'linf', epsilon: 0.02, restarts: 2 },
      { norm: 'l2', epsilon: 0.5, units: 'pixels', examples: 20 },
      { epsilon: 0.1, refine },
    ],
    onProgress: ({ stage }) => void stages.add(stage),
  })
  const [weak, strong, refined] = evaluation.attacks ?? []
  expect(weak).toMatchObject({ norm: 'linf', restarts: 2, count: 40, cleanAccuracy: evaluation.accuracy })
  expect(weak?.robustAccuracy).toBeGreaterThan(0.9)
  // The blobs are √2 apart: no classifier of theirs withstands a move of 1.
  expect(strong).toMatchObject({ norm: 'l2', epsilon: 1, count: 20, robustAccuracy: 0 })
  expect(refined?.refine).toEqual({ sampler: 'sgld', steps: 2, draws: 2, attack: 'identity' })
  expect([...stages]).toEqual(expect.arrayContaining(['attack 1 of 3', 'attack 3 of 3']))
  expect(JSON.parse(JSON.stringify(evaluation.attacks))).toEqual(evaluation.attacks)
  const lines = showEvaluation(evaluation)
  expect(lines).toMatch(/accuracy under l2 1.0000 \(20 steps, 1 restarts\) 0.0000 {3}unattacked 1.0000/)
  expect(lines).toMatch(/refined by 2 steps of sgld/)
  const page = renderReport({ title: 'blobs', metrics: [], events: [], environment: {}, evaluation })
  expect(page).toContain('Accuracy under attack (PGD)')
  expect(page).toContain('2 steps of sgld, attack identity')
  trainer.dispose()
})

test('without labels, classes or sense they are refused; data without a range have no box', async () => {
  const trainer = new Jem(plane(), small)
  await fitAll(trainer, blobs(), { steps: 1 })
  const at = (data: Dataset, attack = { epsilon: 0.1 }) =>
    evaluate(trainer, data, { samples: 0, ood: [], attacks: [attack] })
  expect(await rejection(at(blobs(32, false)))).toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringMatching(/labels/),
  })
  expect((await rejection(at(blobs(), { epsilon: -1 }))).message).toMatch(/epsilon must be a finite number ≥ 0; got -1/)
  const wide = new Dataset({
    name: 'wide',
    features: pattern([20, 2], 1, 9),
    range: null,
    labels: new Int32Array(20),
    classes: 2,
  })
  expect((await at(wide)).attacks?.[0]?.count).toBe(20)
  trainer.dispose()
})

test('in a configuration', () => {
  const config = (attack: object) => ({
    method: 'sadaJem',
    data: { kind: 'digits' },
    network: { kind: 'wideResNet', depth: 10, width: 1 },
    evaluation: { attacks: [attack] },
  })
  const good = { norm: 'linf', epsilon: 0.05, units: 'pixels', restarts: 3, refine: { sampler: { kind: 'sgld' } } }
  expect(parseConfig(config(good), 'c')).toMatchObject({ evaluation: { attacks: [good] } })
  expect(() => parseConfig(config({ epsilon: 0.1, nrom: 'l2' }), 'c')).toThrow(/evaluation.attacks.0.*'nrom'.*norm/)
  expect(() => parseConfig(config({ norm: 'l2' }), 'c')).toThrow(/evaluation.attacks.0.epsilon: is missing/)
})
