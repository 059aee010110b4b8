/**
 * What the tests of shipped models share: every model of a table with every output that it has is exported with the export's own check (ONNX
 * Runtime in Node against native, batches 1 and 7), then all the files at once go through the ONNX checker and Python's ONNX Runtime.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HostTensor } from '../../lib/graph/host-tensor.ts'
import { GeneratorModel } from '../../lib/nn/generator-model.ts'
import type { Model } from '../../lib/nn/model.ts'
import { inputsOf, outputsOf } from '../../lib/nn/outputs.ts'
import { exportOnnx } from '../../lib/onnx/export-model.ts'
import { generatorFeeds, modelFeeds } from '../../lib/onnx/feeds.ts'
import {
  generatorDescriptionSchema,
  modelDescriptionSchema,
  readEntry,
  readOnnxMetadata,
} from '../../lib/onnx/metadata.ts'
import { type Feeds, openOnnx } from '../../lib/onnx/verify.ts'
import { checkWithPython, python } from './helpers.ts'

export type Models = Readonly<Record<string, () => Model | GeneratorModel>>

export function describeShipped(what: string, models: Models): void {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'langevin-shipped-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const fileOf = (name: string): string => join(folder, `${name}.onnx`)

  describe(what, () => {
    for (const [i, [name, make]] of Object.entries(models).entries()) {
      it(name, async () => {
        const model = make()
        const opset = 17 + (i % 5)
        try {
          if (model instanceof GeneratorModel) {
            const done = await exportOnnx(model, fileOf(name), { opset })
            expect([done.inputs, done.outputs]).toEqual([['z', 'epsilon'], ['sample']])
            expect(done.verification?.outputs.map((o) => o.batch)).toEqual([1, 7])
            return
          }
          const outputs = outputsOf(model.network)
          const level = model.network.conditioned ? { sigma: 'input' as const } : {}
          const done = await exportOnnx(model, fileOf(name), { outputs, opset, ...level })
          expect(done.outputs).toEqual(outputs)
          expect(done.verification?.ok).toBe(true)
          expect(done.verification?.outputs.map((o) => `${o.name} ${o.batch}`)).toEqual(
            [1, 7].flatMap((b) => outputs.map((o) => `${o} ${b}`)),
          )
          const order = ['x', 'y', 'sigma', 'z']
          const needed = new Set<string>(outputs.flatMap((o) => inputsOf(o)))
          if (model.network.conditioned) needed.add('sigma')
          expect(done.inputs).toEqual(order.filter((o) => needed.has(o)))
        } finally {
          await model.dispose()
        }
      })
    }

    it.skipIf(python === undefined)('pass the full checker and give the same numbers in Python', async () => {
      const names = Object.keys(models)
      checkWithPython(names.map((n) => readFileSync(fileOf(n))))
      const cases: { file: string; feeds: object; outputs: object }[] = []
      for (const name of names) {
        const feeds = await feedsOf(fileOf(name), (models[name] as Models[string])())
        const session = await openOnnx(fileOf(name), 1)
        const got = await session.run(feeds)
        await session.release()
        cases.push({ file: fileOf(name), feeds: plain(feeds), outputs: plain(got) })
      }
      const list = join(folder, 'cases.json')
      writeFileSync(list, JSON.stringify(cases))
      const out = execFileSync(python as string, ['-c', runAll, list], { encoding: 'utf8' })
      const errors = JSON.parse(out) as { file: string; output: string; error: number }[]
      expect(errors.length).toBeGreaterThan(3 * names.length)
      expect(errors.filter((e) => !(e.error < 1e-5))).toEqual([])
    })
  })
}

/** What a file is tried with, told by its metadata. */
async function feedsOf(path: string, model: Model | GeneratorModel): Promise<Feeds> {
  const metadata = await readOnnxMetadata(path)
  if (model instanceof GeneratorModel) {
    const description = readEntry(metadata, 'langevin.export', generatorDescriptionSchema, path)
    return generatorFeeds(model.generator, description, 3, 4)
  }
  return modelFeeds(model.network, readEntry(metadata, 'langevin.export', modelDescriptionSchema, path), 3, 4)
}

function plain(tensors: ReadonlyMap<string, HostTensor>): object {
  const number = (v: number): number | string => (Number.isFinite(v) ? v : String(v))
  return Object.fromEntries(
    [...tensors].map(([name, t]) => [name, { dtype: t.dtype, shape: t.shape, data: Array.from(t.data, number) }]),
  )
}

const runAll = `
import json, sys
import numpy as np, onnxruntime as ort
ort.set_default_logger_severity(3)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
def array(t):
    return np.array([float(v) for v in t['data']]).astype(t['dtype']).reshape(t['shape'])
found = []
for case in json.load(open(sys.argv[1])):
    session = ort.InferenceSession(case['file'], options, providers=['CPUExecutionProvider'])
    names = [o.name for o in session.get_outputs()]
    for name, got in zip(names, session.run(names, {k: array(v) for k, v in case['feeds'].items()})):
        want = array(case['outputs'][name])
        assert got.shape == want.shape and got.dtype == want.dtype, (case['file'], name, got.shape, want.shape)
        same = got == want
        error = np.where(same, 0.0, np.abs(np.where(same, 0, got) - np.where(same, 0, want)))
        size = max(1e-6, np.max(np.abs(want[np.isfinite(want)]), initial=0))
        found.append({'file': case['file'], 'output': name, 'error': float(error.max(initial=0) / size)})
print(json.dumps(found))
`
