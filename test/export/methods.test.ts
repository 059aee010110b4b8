/** Every method's run as ONNX files: its model and its way of drawing, checked against the run. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { exportRun, exportRunSampler, verifyRun } from '../../lib/export/run.ts'
import { outputsOf } from '../../lib/nn/outputs.ts'
import { readOnnxMetadata } from '../../lib/onnx/metadata.ts'
import { cases, type MethodCase } from '../trainers/method-cases.ts'
import { folder, rejection } from '../trainers/tiny.ts'
import { jem, trained } from '../trainers/trained.ts'

const all: readonly MethodCase[] = [
  ...cases,
  jem('jem', {}),
  jem('jem', { classConditional: true, chainNorm: 'batch' }),
  jem('jempp', { sampler: { kind: 'pyld', outer: 2, inner: 2 } }),
]

/** What of a case leaves otherwise than as a chain with training's own starts: its title's beginning, and how. */
const different: readonly (readonly [RegExp, 'draws' | 'start' | RegExp])[] = [
  [/^flow-contrastive/, 'draws'],
  [/^maximum likelihood/, 'draws'],
  [/^adversarial/, 'draws'],
  [/noise (mixture|flow)$/, 'start'],
  [/^dual adversarial/, /'normalizedAscent' is an attack/],
]

describe.each(all)('$title', (c) => {
  test('its model leaves, its sampler leaves or says why, and both agree with the run', async () => {
    const run = await trained(c)
    const at = folder()
    const model = await exportRun(run, join(at, 'model.onnx'))
    const has = outputsOf(run.model.network)
    expect(model.outputs).toEqual(has.filter((o) => !['class_score', 'features', 'sample'].includes(o)))
    expect(model.verification).toMatchObject({ ok: true })
    expect(await readOnnxMetadata(model.path)).toMatchObject({
      'langevin.kind': 'model',
      'langevin.method': c.method,
      'langevin.classes': JSON.stringify(run.description.data.classNames),
    })
    const [, how] = different.find(([title]) => title.test(c.title)) ?? []
    const file = join(at, 'sampler.onnx')
    if (how instanceof RegExp) {
      expect(await rejection(exportRunSampler(run, file))).toMatchObject({
        code: 'E_CONFIG',
        message: expect.stringMatching(how),
      })
      return
    }
    const sampler = await exportRunSampler(run, file)
    expect(sampler.verification).toMatchObject({ ok: true })
    expect(sampler.kind).toBe(how === 'draws' ? 'generator' : 'chain')
    expect(sampler.notes.some((n) => n.includes('a file cannot hold'))).toBe(how === 'start')
    if (how === 'draws') expect(sampler.inputs).toContain('z')
    else {
      expect(sampler.inputs).toEqual(expect.arrayContaining(['y', 'steps']))
      expect(sampler.defaults.steps).toBe(run.chain()?.steps)
    }
    expect(await verifyRun(file, run, { batches: [3], seed: 1 })).toMatchObject({ ok: true })
    await run.model.dispose()
  })
})
