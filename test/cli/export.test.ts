/** `langevin export` and `langevin verify`: a run's model, sampler, bundle and model repository; what they say, and what they refuse. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { beforeAll, describe, expect, test } from 'vitest'
import { UsageError } from '../../lib/cli/command.ts'
import { exportCommand } from '../../lib/cli/export.ts'
import { trainCommand } from '../../lib/cli/train.ts'
import { verifyCommand } from '../../lib/cli/verify.ts'
import { readBundle } from '../../lib/export/manifest.ts'
import { ModelProtoSchema } from '../../lib/onnx/gen/onnx_pb.ts'
import { tinyConfig, work, writeJson } from './command.ts'
import { runHere } from './in-process.ts'

const here = work()
const at = (path: string) => join(here, path)
const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((l) => JSON.parse(l) as Record<string, unknown>)

beforeAll(async () => {
  const digits = tinyConfig({
    network: { kind: 'convEnergy', channels: [4] },
    steps: 6,
    reportEvery: 3,
    evaluation: { samples: 0, ood: ['uniform'] },
  })
  const moons = {
    method: 'scoreMatching',
    data: { kind: 'toy', name: 'twoMoons', count: 300, labels: false },
    network: { kind: 'mlp', hidden: [16] },
    trainer: { batch: 50, sampling: { steps: 30 } },
    steps: 5,
    evaluation: { samples: 0, likelihood: false, ood: [] },
  }
  for (const [name, config] of Object.entries({ digits, moons })) {
    const { error } = await runHere(trainCommand, writeJson(here, `${name}.json`, config), '--out', at(name))
    expect(error).toBeUndefined()
  }
}, 60_000)

describe('files', () => {
  test('the model stands in the run folder, with a line for each output and batch', async () => {
    const { out, error } = await runHere(exportCommand, at('digits'))
    expect(error).toBeUndefined()
    expect(out).toMatch(/model\.onnx: logits, .*, score of x; opset 17, \d+ KiB; ONNX Runtime agrees/)
    expect(out).toMatch(/energy +batch 7 +largest relative difference \d\.\de-\d+ \(tolerance 0\.0001\)/)
    expect(existsSync(at('digits/model.onnx'))).toBe(true)
  })

  test('chosen outputs in half precision', async () => {
    const file = at('half.onnx')
    const options = ['--outputs', 'logits,energy', '--precision', 'float16', '--opset', '19', '--out', file, '--json']
    const { out } = await runHere(exportCommand, at('digits'), ...options)
    expect(lines(out)).toMatchObject([
      { event: 'exported', out: file, outputs: ['logits', 'energy'], precision: 'float16', opset: 19 },
    ])
    const typical = await runHere(exportCommand, at('digits'), '--precision', 'float16', '--out', file)
    expect(typical.out).toMatch(/score +batch 7 +typical relative difference \d\.\de-\d+ \(tolerance 0\.03\)/)
  })

  test('the sampler, with what the run itself samples with', async () => {
    const { out, error } = await runHere(exportCommand, at('digits'), '--sampler')
    expect(error).toBeUndefined()
    expect(out).toMatch(/sampler\.onnx: samples, energies of y, step_size, steps, seed; opset 18/)
    expect(out).toMatch(/the run's own settings: steps 20, step_size/)
  })

  test('another sampler, of one class, from given points, with every step', async () => {
    const options = ['--sampler', '--chain', '{"kind":"ula","stepSize":0.01}', '--class', '4', '--start', 'input']
    const more = ['--random', 'noise', '--trajectory', '--out', at('ula.onnx'), '--json']
    const { out, error } = await runHere(exportCommand, at('digits'), ...options, ...more)
    expect(error).toBeUndefined()
    expect(lines(out)).toMatchObject([
      { inputs: ['x0', 'step_size', 'steps', 'noise'], outputs: ['samples', 'energies', 'trajectory', 'energy_trace'] },
    ])
  })
})

describe('a bundle', () => {
  test('is made of the run and its held-out data, and agrees with it', async () => {
    const { out, error } = await runHere(exportCommand, at('digits'), '--bundle', at('bundle'), '--false-alarms', '0.1')
    expect(error).toBeUndefined()
    expect(out).toMatch(/flags 10\.0% of 40 held-out examples, .*% of uniform/)
    const { manifest } = await readBundle(at('bundle'))
    expect(manifest).toMatchObject({
      outOfDistribution: { falseAlarms: 0.1, examples: 40 },
      metrics: { accuracy: expect.any(Number), 'auroc.uniform': expect.any(Number) },
    })
    const checked = await runHere(verifyCommand, at('bundle'), at('digits'), '--batches', '2', '--json')
    expect(checked.error).toBeUndefined()
    expect(lines(checked.out)).toMatchObject([
      { event: 'verified', file: at('bundle/model.onnx'), ok: true },
      { event: 'verified', file: at('bundle/sampler.onnx'), ok: true },
    ])
  })

  test('of a toy has its threshold from points drawn anew', async () => {
    const { error } = await runHere(exportCommand, at('moons'), '--bundle', at('moons-bundle'), '--name', 'moons')
    expect(error).toBeUndefined()
    const { manifest } = await readBundle(at('moons-bundle'))
    expect(manifest).toMatchObject({
      name: 'moons',
      classes: [],
      input: { shape: [2], range: null },
      sampler: { start: { kind: 'classGaussians' }, defaults: { steps: 30, step_size: 0.01 } },
      outOfDistribution: { examples: 300 },
    })
  })

  test('of a run whose data are gone has none, and says so', async () => {
    const config = JSON.parse(readFileSync(at('moons/config.json'), 'utf8')) as { dataSpec: object }
    writeFileSync(at('moons/config.json'), JSON.stringify({ ...config, dataSpec: { kind: 'table', path: 'gone.csv' } }))
    const { out, error } = await runHere(exportCommand, at('moons'), '--bundle', at('no-data'), '--no-verify')
    writeFileSync(at('moons/config.json'), JSON.stringify(config))
    expect(error).toBeUndefined()
    expect(out).toMatch(/note: no threshold, as the run's data are not there \(.*gone\.csv.*give some with --data/)
    expect((await readBundle(at('no-data'))).manifest.outOfDistribution).toBeNull()
  })

  test('becomes a model repository of Triton, in one go or by itself', async () => {
    const both = await runHere(
      exportCommand,
      at('digits'),
      '--bundle',
      at('b'),
      '--triton',
      at('models'),
      '--max-batch',
      '8',
    )
    expect(both.error).toBeUndefined()
    expect(both.out).toMatch(/models: b, b_sampler for Triton; start it with: tritonserver --model-repository=/)
    const alone = await runHere(exportCommand, at('moons'), '--triton', at('models'), '--no-verify')
    expect(alone.error).toBeUndefined()
    expect(readdirSync(at('models')).sort()).toEqual(['b', 'b_sampler', 'moons', 'moons_sampler'])
    for (const name of ['b', 'moons'])
      expect(readFileSync(at(`models/${name}/README.md`), 'utf8')).toContain(`## ${name}_sampler`)
    expect(readFileSync(at('models/b/config.pbtxt'), 'utf8')).toMatch(/max_batch_size: 8\n/)
  })
})

describe('verify', () => {
  test('shows the largest differences, and ends with an error where there are any', async () => {
    const path = at('digits/model.onnx')
    const fine = await runHere(verifyCommand, path, at('digits'), '--batches', '1,3')
    expect(fine.error).toBeUndefined()
    expect(fine.out).toMatch(/model\.onnx: agrees\n +logits +batch 1 /)
    const model = fromBinary(ModelProtoSchema, readFileSync(path))
    const bias = model.graph?.initializer.find((t) => t.name.endsWith('bias'))
    if (bias !== undefined) bias.rawData = Uint8Array.from(bias.rawData).fill(64)
    const damaged = at('damaged.onnx')
    writeFileSync(damaged, toBinary(ModelProtoSchema, model))
    const wrong = await runHere(verifyCommand, damaged, at('digits'))
    expect(wrong.out).toMatch(/damaged\.onnx: DISAGREES[\s\S]*energy .*DISAGREES/)
    expect(wrong.error).toMatchObject({ code: 'E_ONNX', message: expect.stringMatching(/does not compute what/) })
  })

  test('refuses a file of another run’s network, and batch sizes that are none', async () => {
    const other = await runHere(verifyCommand, at('digits/model.onnx'), at('moons'))
    expect(other.error).toMatchObject({ code: 'E_ONNX', message: expect.stringMatching(/of another network/) })
    const wrong = await runHere(verifyCommand, at('digits/model.onnx'), at('digits'), '--batches', '0')
    expect(wrong.error).toBeInstanceOf(UsageError)
  })
})

test.each([
  [['--chain', 'ula'], /--chain goes with --sampler/],
  [['--trajectory'], /--trajectory goes with --sampler/],
  [['--max-batch', '4'], /--max-batch goes with --bundle or --triton/],
  [['--bundle', 'b', '--max-batch', '4'], /--max-batch goes with --triton/],
  [['--bundle', 'b', '--out', 'model.onnx'], /--out is for a file of its own; leave out --bundle/],
  [['--sampler', '--outputs', 'energy'], /--outputs is for models/],
  [['--sampler', '--random', 'sead'], /'sead' is not allowed. Did you mean 'seed'/],
  [['--sampler', '--chain', 'ulla'], /Did you mean 'ula'/],
  [['--precision', 'float8'], /'float8' is not allowed/],
  [['--bundle', 'b', '--false-alarms', '2'], /--false-alarms takes a share in \(0, 1\); got '2'/],
])('%j is refused', async (options, message) => {
  const { error } = await runHere(exportCommand, at('digits'), ...options)
  expect(error).toBeInstanceOf(UsageError)
  expect(error?.message).toMatch(message)
})
